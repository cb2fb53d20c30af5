"""What every strategy is: its checks, and stages in which models are made or found as they were left."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color

from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.model.growth import build, learns_by_steps, rebuild
from recbole_ccd.seeding import deterministic, seed_stage
from recbole_ccd.strategy.loop import BlockLoop
from recbole_ccd.strategy.stage import BaseModels, Stage, StageName
from recbole_ccd.trainer.base import StageTrainer

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
        which = StageName(name, block.index, config["model"], member, piece)
        self.doing = which.label
        # what models without gradient steps have fitted is not in their state dict
        journal = self.journal if learns_by_steps(config) else None
        found = journal.outcome(which.key) if journal is not None else None
        seed_stage(self.config["seed"], self.config["reproducibility"], *which.purpose)
        if found is not None:
            model = rebuild(config.for_stage(name), built_on or block, found.state)
            self.result.stages.append(found.record)
            self.logger.info(f"{set_color(which.label, 'cyan')}: finished before")
        else:
            stage = Stage(which, config, block, journal, self.stop)
            with deterministic(self.config["reproducibility"]), stage.telling():
                model = learn(stage)
            seconds = stage.seconds
            self.result.add_stage(block.index, name, member, stage.epochs, seconds, stage.learned)
            if journal is not None:
                journal.keep_outcome(which.key, block.index, self.result.stages[-1], model.state_dict())
            self.logger.info(f"{set_color(which.label, 'cyan')}: {stage.epochs} epochs, {seconds:.1f}s")
        self._stop_if_asked()
        return model

    def train_plainly(self, block: Block, config: CCDConfig, member: int | None = None) -> GeneralRecommender:
        """A fresh model learns a block with its own loss.

        Args:
            block: the block.
            config: the configuration of the model.
            member: which member of the teacher, where it is one.
        """

        def learn(stage: Stage) -> GeneralRecommender:
            model = build(stage.config, block)
            stage.trainer(StageTrainer, model).run(self.config["show_progress"])
            return model

        return self.stage("base", block, config, learn, member=member)

    def base_model(
        self, part: str, config: CCDConfig, block: Block, train: Callable[[], GeneralRecommender]
    ) -> GeneralRecommender:
        """A model of the base block: trained here, or by the strategy that needed it first.

        Args:
            part: what tells the models of a seed apart.
            config: the configuration of the model.
            block: the base block.
            train: trains it.
        """
        shared = self.base_models
        if shared is None:
            return train()
        if shared.find(part):
            self.result.stages += shared.stages[part]
            return rebuild(config, block, shared.states[part])
        first = len(self.result.stages)
        model = train()
        shared.add(part, model, self.result.stages[first:])
        return model
