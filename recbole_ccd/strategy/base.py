"""What every strategy is: its checks, and stages in which models are made or found as they were left."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color

from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.door import at_the_door, training_begins
from recbole_ccd.model.growth import build, learns_by_steps, rebuild
from recbole_ccd.seeding import alone, seed_stage
from recbole_ccd.strategy.loop import BlockLoop
from recbole_ccd.strategy.stage import BaseModels, Learned, Learner, Lesson, Stage, StageName, go_through
from recbole_ccd.trainer.base import LossError, StageTrainer

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.state import RunDirectory


class Strategy(BlockLoop):
    """How a model follows a stream.

    A subclass says what happens when a block arrives (:meth:`follow`) and what cannot work
    (:meth:`check_models`); this class and the loop do the rest: stages, evaluation after every block,
    tables, result.json and checkpoints.
    """

    def __init__(
        self,
        config: CCDConfig,
        run_directory: RunDirectory | None = None,
        base_models: BaseModels | None = None,
    ) -> None:
        """Prepares the strategy; nothing is trained yet.

        Args:
            config: the run's configuration.
            run_directory: where results go, made before the stream is run; None keeps them in memory.
            base_models: models of the base block that strategies of the same seed share; None keeps none.
        """
        super().__init__(config, run_directory)
        self.base_models = base_models
        self._checked: CCDConfig | None = None
        self.prepare()

    def prepare(self) -> None:
        """Sets what the strategy has before its stream begins; the constructor calls it at its end.

        A subclass with attributes of its own overrides this method, and calls the overridden one first.
        """
        self.student = self.teacher = None

    def check(self, stream: BlockStream) -> None:
        """Refuses what cannot work, before anything is trained.

        Models are built for that, so it is done once: streams made with one configuration are equal, and
        of these only the first is looked at. :meth:`run` begins with it.

        Args:
            stream: the blocks.

        Raises:
            CCDError: as :meth:`check_models` does.
        """
        if self._checked is not stream.config:
            # models are built, whose weights are drawn
            with alone(), at_the_door(f"a model of strategy {self.config['strategy']}, or its settings,"):
                self.check_models(stream)
            self._checked = stream.config

    def check_arrival(self, stream: BlockStream) -> None:
        """Refuses a last block that cannot be learned, where those before it have been.

        Args:
            stream: the blocks.

        Raises:
            CCDError: as :meth:`check_block` does.
        """
        self.check_block(stream[len(stream) - 1])
        self._checked = stream.config

    def check_block(self, block: Block) -> None:
        """Refuses a block that has arrived and cannot be learned."""

    def prepare_after(self, block: Block) -> None:
        """There is nothing, unless a strategy knows better."""

    @abstractmethod
    def check_models(self, stream: BlockStream) -> None:
        """Refuses models and data that this kind of strategy cannot work with.

        Args:
            stream: the blocks.

        Raises:
            ModelError: a model lacks what its role needs.
        """

    def stage(
        self,
        name: str,
        block: Block,
        config: CCDConfig,
        learn: Callable[[Stage], GeneralRecommender],
        member: int | None = None,
        piece: int | None = None,
        built_on: Block | None = None,
    ) -> GeneralRecommender:
        """Makes a model in a stage: seeds it, times it, records it and keeps what comes out.

        Whatever is built or drawn inside depends on the run's seed, the block, the stage, the member and
        the piece alone. So a stage that an earlier process has finished need not be gone through again:
        its model is taken from the run directory, and what was recorded of it.

        Args:
            name: one of the configuration's stages.
            block: the block (or the piece of it) learned.
            config: the configuration of the model trained.
            learn: makes and trains the model.
            member: which member of the teacher, where it is one.
            piece: which piece of the block, where it arrives in several.
            built_on: the block that the model is built on, where it is not the one learned.

        Returns:
            The model, in evaluation mode.

        Raises:
            LossError: the loss became NaN or infinite.
            RunError: the outcome cannot be saved.
        """
        learner = self.learner(name, block, config, member, piece)
        (model,) = self.stages(block, learn, [learner], built_on)
        return model

    def learner(
        self,
        name: str,
        block: Block,
        config: CCDConfig,
        member: int | None = None,
        piece: int | None = None,
        old: GeneralRecommender | None = None,
    ) -> Learner:
        """One of several :meth:`stages`; arguments as of :meth:`stage`, and the model that is to be grown."""
        which = StageName(name, block.index, config["model"], member, piece)
        # what models without gradient steps have fitted is not in their state dict
        return Learner(which, config, old, self.journal if learns_by_steps(config) else None, self.stop)

    def stages(
        self,
        block: Block,
        learn: Callable[[Stage], GeneralRecommender],
        learners: Sequence[Learner],
        built_on: Block | None = None,
    ) -> list[GeneralRecommender]:
        """Makes models in stages that do not need one another, such as the members of a teacher.

        Args:
            block: the block (or the piece of it) learned.
            learn: makes and trains a model. Where there are several it may be sent to workers, with all that
                it knows; so it must not know the strategy.
            learners: the stages.
            built_on: the block that the models are built on, where it is not the one learned.

        Returns:
            The models; otherwise as :meth:`stage`.
        """
        lesson = Lesson(block, learn, self.config["seed"], self.config["reproducibility"])
        models, records, left = {}, {}, []
        for place, learner in enumerate(learners):
            found = self._found(learner)
            if found is None:
                left.append(place)
                continue
            models[place], records[place] = self._model(learner, built_on or block, found), found.record
            self.logger.info(f"{set_color(learner.name.label, 'cyan')}: finished before")
            self._stop_if_asked()
        with closing(self._trained(lesson, learners, left)) as trained:
            for place, learned in trained:
                models[place] = self._kept(learners[place], built_on or block, learned)
                records[place] = learned.record
                self._stop_if_asked()
        self.result.stages += [records[place] for place in range(len(learners))]
        return [models[place] for place in range(len(learners))]

    def _found(self, learner: Learner) -> Learned | None:
        """What an earlier process has left of a stage."""
        outcome = learner.journal.outcome(learner.name.key) if learner.journal is not None else None
        return None if outcome is None else Learned(outcome.record, outcome.state)

    def _trained(
        self, lesson: Lesson, learners: Sequence[Learner], left: Sequence[int]
    ) -> Iterator[tuple[int, Learned]]:
        """What comes out of the stages at some places, with the place.

        Raises:
            LossError: as before, with the last good checkpoint.
        """

        def at(number: int) -> None:
            self.doing = learners[left[number]].name.label

        tasks = [learners[place] for place in left]
        training_begins()
        if len(tasks) > 1 and self.workers.at_once > 1:
            first = tasks[0].name
            label = set_color(f"block {first.block} {first.stage}", "cyan")
            self.logger.info(f"{label}: {len(tasks)} members, {self.workers.at_once} at a time")
        try:
            with closing(self.workers.each(go_through, lesson, tasks, at, self._stop_if_asked)) as arriving:
                for number, learned in arriving:
                    yield left[number], learned
        except LossError as error:
            if self.journal is None:
                raise
            last = self.journal.last_good()
            raise LossError(f"{error} and start anew (last good checkpoint: {last})") from None

    def _kept(self, learner: Learner, block: Block, learned: Learned) -> GeneralRecommender:
        """Keeps what has come out of a stage, and tells of it."""
        if learner.journal is not None:
            learner.journal.keep_outcome(learner.name.key, learner.name.block, learned.record, learned.state)
        epochs, seconds = learned.record["epochs"], learned.record["seconds"]
        self.logger.info(f"{set_color(learner.name.label, 'cyan')}: {epochs} epochs, {seconds:.1f}s")
        return self._model(learner, block, learned)

    def _model(self, learner: Learner, block: Block, learned: Learned) -> GeneralRecommender:
        """The model that has come out of a stage, here or elsewhere."""
        if learned.model is not None:
            return learned.model
        seed_stage(self.config["seed"], self.config["reproducibility"], *learner.name.purpose)
        return rebuild(learner.config.for_stage(learner.name.stage), block, learned.state)

    def train_plainly(self, block: Block, config: CCDConfig) -> GeneralRecommender:
        """A fresh model learns a block with its own loss.

        Args:
            block: the block.
            config: the configuration of the model.
        """
        return self.stage("base", block, config, learn_plainly)

    def base_model(
        self, part: str, config: CCDConfig, block: Block, train: Callable[[], GeneralRecommender]
    ) -> GeneralRecommender:
        """A model of the base block: trained here, or by the strategy that needed it first.

        Args:
            part: what tells the models of a seed apart.
            config: the configuration of the model.
            block: the base block.
            train: trains it in one stage.
        """
        (model,) = self.base_models_of({part: config}, block, lambda missing: [train()])
        return model

    def base_models_of(
        self,
        parts: Mapping[str, CCDConfig],
        block: Block,
        train: Callable[[Sequence[str]], Sequence[GeneralRecommender]],
    ) -> list[GeneralRecommender]:
        """Several of them.

        Args:
            parts: the configuration of each.
            block: the base block.
            train: trains some of them, each in one stage.
        """
        shared, models = self.base_models, {}
        missing = [part for part in parts if shared is None or not shared.find(part)]
        for part in (part for part in parts if part not in missing):
            self.result.stages += shared.stages[part]
            models[part] = rebuild(parts[part], block, shared.states[part])
        first = len(self.result.stages)
        if missing:
            models |= zip(missing, train(missing), strict=True)
        if shared is not None:
            for part, record in zip(missing, self.result.stages[first:], strict=True):
                shared.add(part, models[part], [record])
        return [models[part] for part in parts]


def learn_plainly(stage: Stage) -> GeneralRecommender:
    """A fresh model learns the stage's block with its own loss."""
    model = build(stage.config, stage.block)
    stage.trainer(StageTrainer, model).run(stage.config["show_progress"])
    return model
