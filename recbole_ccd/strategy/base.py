"""What every strategy is: its checks, and stages in which models are made or found as they were left."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color
from torch import Tensor

from recbole_ccd.data.block import Block
from recbole_ccd.data.schedule import FALLBACK_RATE
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.model.growth import fitted, learns_by_steps, rebuild
from recbole_ccd.plugin.regularization import check_regularizers
from recbole_ccd.strategy.loop import BlockLoop
from recbole_ccd.strategy.rates import chooses, known_rate, tried, with_rate
from recbole_ccd.strategy.stage import (
    BaseModels,
    Stage,
    StageContext,
    StageName,
    StageResult,
    StageTask,
    run_stage,
    with_extra,
    without_extra,
)
from recbole_ccd.strategy.turns import StageInTurns, run_in_turns
from recbole_ccd.trainer import LossError, StageTrainer
from recbole_ccd.utils.guard import guarded, training_begins
from recbole_ccd.utils.seeding import exclusive, seed_stage

if TYPE_CHECKING:
    from recbole_ccd.checkpoint import RunDirectory
    from recbole_ccd.config import CCDConfig


class Strategy(BlockLoop):
    """How a model follows a stream.

    A subclass says what happens when a block arrives (:meth:`train_block`) and what cannot work
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
        self._extras: list[dict[str, Tensor]] = []
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
            CCDError: As of :meth:`check_models`.
        """
        if self._checked is not stream.config:
            # models are built, whose weights are drawn
            with exclusive(), guarded(f"a model of strategy {self.config['strategy']}, or its settings,"):
                self.check_models(stream)
            if self.regularizes is not None:
                check_regularizers(self.config, self.regularizes)
            self._checked = stream.config

    def check_new_block(self, stream: BlockStream) -> None:
        """Refuses a last block that cannot be learned, where those before it have been.

        Args:
            stream: the blocks.

        Raises:
            CCDError: As of :meth:`check_block`.
        """
        self.check_block(stream[len(stream) - 1])
        self._checked = stream.config

    def check_block(self, block: Block) -> None:
        """Refuses a block that has arrived and cannot be learned."""

    def prepare_next_block(self, block: Block) -> None:
        """There is nothing, unless a strategy knows better."""

    @abstractmethod
    def check_models(self, stream: BlockStream) -> None:
        """Refuses models and data that this kind of strategy cannot work with.

        Args:
            stream: the blocks.

        Raises:
            ModelError: If a model lacks what its role needs.
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
            block: the block learned, or the piece of it.
            config: the model's configuration.
            learn: makes and trains the model.
            member: which member of the teacher, where it is one.
            piece: which piece of the block, where it arrives in several.
            built_on: the block that the model is built on, where it is not the one learned.

        Returns:
            The model, in evaluation mode.

        Raises:
            LossError: If the loss became NaN or infinite.
            RunError: If the outcome cannot be saved.
        """
        task = self.task(name, block, config, member, piece)
        (model,) = self.stages(block, learn, [task], built_on)
        return model

    def task(
        self,
        name: str,
        block: Block,
        config: CCDConfig,
        member: int | None = None,
        piece: int | None = None,
        old: GeneralRecommender | None = None,
    ) -> StageTask:
        """Describes one of several :meth:`stages`: arguments as of :meth:`stage`, and the model to grow."""
        which = StageName(name, block.index, config["model"], member, piece)
        # what models without gradient steps have fitted is not in their state dict
        return StageTask(which, config, old, self.checkpoints if learns_by_steps(config) else None, self.stop)

    def stages(
        self,
        block: Block,
        learn: Callable[[Stage], GeneralRecommender],
        tasks: Sequence[StageTask],
        built_on: Block | None = None,
    ) -> list[GeneralRecommender]:
        """Makes models in stages that do not need one another, such as the members of a teacher.

        Args:
            block: the block learned, or the piece of it.
            learn: makes and trains a model. Where there are several it may be sent to workers, with all that
                it knows; so it must not know the strategy.
            tasks: the stages.
            built_on: the block that the models are built on, where it is not the one learned.

        Returns:
            The models; otherwise as :meth:`stage`.
        """
        seed, reproducibility = self.config["seed"], self.config["reproducibility"]
        context = StageContext(block, learn, seed, reproducibility, self.result.n_blocks - 1)
        tasks = list(tasks)
        chosen: dict[int, dict[str, Any] | None] = {}
        models, records, extras, left = {}, {}, {}, []
        for place, task in enumerate(tasks):
            found = self._found(task)
            if found is None:
                left.append(place)
                if chooses(task):
                    tasks[place], chosen[place] = self._with_rate(context, task, chosen.values())
                continue
            models[place], records[place] = self._model(task, built_on or block, found), found.record
            extras[place] = found.extra
            self.logger.info(f"{set_color(task.name.label, 'cyan')}: finished before")
            self._stop_if_asked()
        with closing(self._trained(context, tasks, left)) as trained:
            for place, result in trained:
                if chosen.get(place):
                    result.record["chosen_rate"] = chosen[place]
                models[place] = self._save_stage(tasks[place], built_on or block, result)
                records[place], extras[place] = result.record, result.extra
                self._stop_if_asked()
        self._extras = [extras[place] for place in range(len(tasks))]
        self.result.stages += [records[place] for place in range(len(tasks))]
        return [models[place] for place in range(len(tasks))]

    def stages_in_turns(
        self, parts: Sequence[StageInTurns], meet: Callable[[Sequence[StageTrainer]], None]
    ) -> list[GeneralRecommender]:
        """Makes models in stages that take turns, epoch by epoch.

        Where one of them has been finished by an earlier process, and not all, they begin anew together.

        Args:
            parts: the stages.
            meet: as of :func:`~recbole_ccd.strategy.turns.run_in_turns`.

        Returns:
            The models; otherwise as :meth:`stages`.
        """
        tasks, found = [part.task for part in parts], [self._found(part.task) for part in parts]
        results = [result for result in found if result is not None]
        if len(results) == len(parts):
            models = []
            for part, result in zip(parts, results, strict=True):
                models.append(self._model(part.task, part.built_on, result))
                self.logger.info(f"{set_color(part.task.name.label, 'cyan')}: finished before")
        else:
            chosen: list[dict[str, Any] | None] = [None] * len(parts)
            for place, part in enumerate(parts):
                if chooses(part.task):
                    tasks[place], chosen[place] = self._with_rate(part.context, part.task, chosen)
            self.doing = " and ".join(task.name.label for task in tasks)
            training_begins()
            with self._losses_told():
                places = zip(parts, tasks, strict=True)
                ready = [replace(part, task=task) for part, task in places]
                results = run_in_turns(ready, meet, self._stop_if_asked)
            for result, choice in zip(results, chosen, strict=True):
                if choice:
                    result.record["chosen_rate"] = choice
            kept = zip(tasks, parts, results, found, strict=True)
            models = [self._save_stage(t, p.built_on, r, saved=f is not None) for t, p, r, f in kept]
        self._stop_if_asked()
        self.result.stages += [result.record for result in results]
        return models

    def _with_rate(
        self, context: StageContext, task: StageTask, chosen: Iterable[dict[str, Any] | None]
    ) -> tuple[StageTask, dict[str, Any] | None]:
        """A stage with the rate of the first of its kind, or with one that is chosen now.

        Args:
            context: what the stage has in common with others.
            task: the stage.
            chosen: what has been chosen for the stages that are trained beside it.

        Returns:
            The stage, and what is recorded of the choice; None where it was made before.
        """
        beside = [{**vars(task.name), "chosen_rate": choice} for choice in chosen if choice]
        rate = known_rate(task, [*self.result.stages, *beside])
        if rate is not None:
            return with_rate(task, rate), None
        self.doing = f"{task.name.label}, learning rate"
        training_begins()
        found = tried(context, task)
        self._stop_if_asked()
        if found is None:
            return with_rate(task, FALLBACK_RATE), None
        shown = ", ".join(f"{rate:g} {score:.4f}" for rate, score in found.trials)
        self.logger.info(
            f"{set_color(task.name.label, 'cyan')}: learning rate {found.rate:g} "
            f"({self.config.primary_metric} on the validation parts after a short training: {shown})"
        )
        record = {"model": task.name.model, "rate": found.rate, "trials": found.trials}
        return with_rate(task, found.rate), record

    def _found(self, task: StageTask) -> StageResult | None:
        """What an earlier process has left of a stage."""
        outcome = task.checkpoints.load_stage(task.name.key) if task.checkpoints is not None else None
        if outcome is None:
            return None
        state, extra = without_extra(outcome.state)
        return StageResult(outcome.record, state, extra=extra)

    def _trained(
        self, context: StageContext, tasks: Sequence[StageTask], left: Sequence[int]
    ) -> Generator[tuple[int, StageResult], None, None]:
        """What comes out of the stages at some places, with the place.

        Raises:
            LossError: If the loss is not finite; it names the last good checkpoint.
        """

        def at(number: int) -> None:
            self.doing = tasks[left[number]].name.label

        pending = [tasks[place] for place in left]
        training_begins()
        if len(pending) > 1 and self.workers.at_once > 1:
            first = pending[0].name
            label = set_color(f"block {first.block} {first.stage}", "cyan")
            self.logger.info(f"{label}: {len(pending)} members, {self.workers.at_once} at a time")
        with (
            self._losses_told(),
            closing(self.workers.each(run_stage, context, pending, at, self._stop_if_asked)) as results,
        ):
            for number, result in results:
                yield left[number], result

    @contextmanager
    def _losses_told(self) -> Iterator[None]:
        """Names the last good checkpoint where a loss is not finite."""
        try:
            yield
        except LossError as error:
            if self.checkpoints is None:
                raise
            last = self.checkpoints.last_good()
            raise LossError(f"{error} and start anew (last good checkpoint: {last})") from None

    def _save_stage(
        self, task: StageTask, block: Block, result: StageResult, saved: bool = False
    ) -> GeneralRecommender:
        """Saves what has come out of a stage, unless the same is there, and logs it."""
        if task.checkpoints is not None and not saved:
            state = with_extra(result.state, result.extra)
            task.checkpoints.save_stage(task.name.key, task.name.block, result.record, state)
        epochs, seconds = result.record["epochs"], result.record["seconds"]
        self.logger.info(f"{set_color(task.name.label, 'cyan')}: {epochs} epochs, {seconds:.1f}s")
        return self._model(task, block, result)

    def _model(self, task: StageTask, block: Block, result: StageResult) -> GeneralRecommender:
        """The model that has come out of a stage, here or elsewhere."""
        if result.model is not None:
            return result.model
        seed_stage(self.config["seed"], self.config["reproducibility"], *task.name.purpose)
        return rebuild(task.config.for_stage(task.name.stage), block, result.state)

    def train_plainly(self, block: Block, config: CCDConfig) -> GeneralRecommender:
        """A fresh model learns a block with its own loss.

        Args:
            block: the block.
            config: the model's configuration.
        """
        return self.stage("base", block, config, learn_plainly)

    def base_model(
        self, part: str, config: CCDConfig, block: Block, train: Callable[[], GeneralRecommender]
    ) -> GeneralRecommender:
        """A model of the base block: trained here, or by the strategy that needed it first.

        Args:
            part: what tells the models of a seed apart.
            config: the model's configuration.
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
        shared, models, extras = self.base_models, {}, {}
        missing = [part for part in parts if shared is None or not shared.find(part)]
        if shared is not None:
            for part in (part for part in parts if part not in missing):
                self.result.stages += shared.stages[part]
                models[part] = rebuild(parts[part], block, shared.states[part])
                extras[part] = shared.extras[part]
        first = len(self.result.stages)
        if missing:
            models |= zip(missing, train(missing), strict=True)
            extras |= zip(missing, self._extras, strict=True)
        if shared is not None:
            for part, record in zip(missing, self.result.stages[first:], strict=True):
                shared.add(part, models[part], [record], extras[part])
        self._extras = [extras[part] for part in parts]
        return [models[part] for part in parts]


def learn_plainly(stage: Stage) -> GeneralRecommender:
    """A fresh model learns the stage's block with its own loss."""
    model = fitted(stage.config, stage.block)
    stage.trainer(model).run(stage.config["show_progress"])
    return model
