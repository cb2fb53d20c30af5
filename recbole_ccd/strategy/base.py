"""The block loop: follow each block, evaluate on all seen so far, keep the run directory up to date."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, ClassVar

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color
from torch import Tensor

from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.model.growth import build, learns_by_steps, rebuild
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.model.teacher import ordering_rows
from recbole_ccd.report.tables import block_table, final_table
from recbole_ccd.reporting import leave_report
from recbole_ccd.seeding import deterministic, seed_stage
from recbole_ccd.state import Journal
from recbole_ccd.strategy.stage import BaseModels, Stage, StageName
from recbole_ccd.trainer.base import StageTrainer

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.state import RunDirectory
    from recbole_ccd.stopping import Stop


class Strategy(ABC):
    """How a model follows a stream.

    A subclass says what happens when a block arrives (:meth:`follow`) and what cannot work
    (:meth:`check_models`); this class does the rest: the loop, evaluation after every block, tables,
    result.json and checkpoints.

    Attributes:
        student: the deployed model after the last block followed.
        teacher: the teacher system, or None where the strategy has none.
        journal: where :meth:`run` keeps what it has finished; made from the run directory unless it is set.
        stop: who may want the run to end early; None for nobody.
        doing: what the run is at, in words.
    """

    name: ClassVar[str]

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
        self.config, self.run_directory, self.base_models = config, run_directory, base_models
        self.logger = getLogger("recbole_ccd")
        self._evaluator = FullSortEvaluator(config, ordering_rows)
        self._checked: CCDConfig | None = None
        self.journal: Journal | None = None
        self.stop: Stop | None = None
        self.doing = "at the start"
        self.prepare()

    def prepare(self) -> None:
        """Sets what the strategy has before its stream begins; the constructor calls it at its end.

        A subclass with attributes of its own overrides this method, and calls the overridden one first.
        """
        self.student: GeneralRecommender | None = None
        self.teacher: GeneralRecommender | None = None

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

    @abstractmethod
    def check_models(self, stream: BlockStream) -> None:
        """Refuses models and data that this kind of strategy cannot work with.

        Args:
            stream: the blocks.

        Raises:
            ModelError: a model lacks what its role needs.
        """

    @abstractmethod
    def follow(self, block: Block) -> None:
        """Learns a block; afterwards ``student`` and ``teacher`` are those of the block."""

    def models(self) -> Mapping[str, GeneralRecommender]:
        """The models to keep in the run directory, by file name: all that :meth:`restore` needs."""
        return {"student": self.student}

    def restore(self, block: Block, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Makes everything what it was after a block, but for what can be found again when it is needed.

        Args:
            block: the last block followed.
            states: weights of the :meth:`models` by their names.
        """
        if "student" in states:
            self.student = rebuild(self.config, block, states["student"])

    def run(self, stream: BlockStream) -> StreamResult:
        """Follows the whole stream, or the rest of it where the run directory holds its beginning.

        Args:
            stream: the blocks.

        Returns:
            What was measured: the R matrices of every metric and all that follows from them.

        Raises:
            RunError: training went wrong, or the run directory cannot be used.
        """
        self.check(stream)
        if self.journal is None and self.run_directory is not None:
            self.journal = Journal.of_run(self.run_directory.path, self.config, stream)
        known = [{"users": block.n_users - 1, "items": block.n_items - 1} for block in stream]
        self.result = StreamResult(self.config, len(stream), known)
        first = self._restore(stream)
        for block in list(stream)[first:]:
            self.logger.info(set_color(f"block {block.index} of {len(stream) - 1}", "green") + f": {block}")
            self.follow(block)
            self._evaluate(stream, block)
            self._save(stream, block)
            if block.previous is not None:
                block.previous.release()
            self.logger.info("\n%s", block_table(self.result, block.index))
            self._stop_if_asked()
        if self.journal is not None:
            self.journal.finish()
        self.logger.info("\n%s", final_table(self.result))
        return self.result

    def _restore(self, stream: BlockStream) -> int:
        """Takes up what an earlier process has left.

        Returns:
            The first block to follow.
        """
        if self.journal is None:
            return 0
        self.journal.tell()
        left = self.journal.last_block()
        if left is None:
            return 0
        self.logger.info(f"going on after block {left.block}")
        self.result = StreamResult.from_dict(left.result, self.config)
        self.restore(stream[left.block], left.states)
        return left.block + 1

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

    def _stop_if_asked(self) -> None:
        if self.stop is not None:
            self.stop.now()

    def _evaluate(self, stream: BlockStream, block: Block) -> None:
        for role, model in (("student", self.student), ("teacher", self.teacher)):
            if model is None:
                continue
            self.doing = f"block {block.index}, evaluation of the {role}"
            # a few models draw when they score
            purpose = ("evaluation", block.index, role)
            seed_stage(self.config["seed"], self.config["reproducibility"], *purpose)
            clear_cache(model)
            measured = self._measure(role, model, stream, block)
            row = [measured[f"block {j}"] for j in range(block.index + 1)]
            self.result.add_row(role, block.index, row)
            self.result.add_new_entities(
                role, block.index, measured.get("new users"), measured.get("new items")
            )
            self.result.set_size(role, model)
            # a model keeps what it scored with: final embeddings, and of each member of an ensemble
            clear_cache(model.eval())
            self._stop_if_asked()

    def _measure(
        self, role: str, model: GeneralRecommender, stream: BlockStream, now: Block
    ) -> dict[str, dict[str, float]]:
        """Metrics on the test part of every block so far, and on the part of new users and of new items."""
        loaders = {
            f"block {j}": stream[j].measured_loader(self.config, known_at=now) for j in range(now.index + 1)
        }
        whole = loaders[f"block {now.index}"]
        if whole is not None:
            new = partial(now.measured_loader, self.config, history=whole.history)
            loaders["new users"] = new(users_from=now.n_old_users)
            loaders["new items"] = new(items_from=now.n_old_items)
        parts = {name: loader for name, loader in loaders.items() if loader is not None}
        return self._evaluator.evaluate_parts(
            model, parts, f"block {now.index} {role}", self.config["show_progress"], train_data=now.train
        )

    def _save(self, stream: BlockStream, block: Block) -> None:
        if self.run_directory is None:
            return
        self.doing = f"block {block.index}, saving"
        document = self.result.to_dict()
        self.run_directory.write_json("vocabulary.json", stream.vocabulary(block))
        self.run_directory.write_json("result.json", document)
        if self.config["write_report"]:
            leave_report(self.run_directory, "result.json", document)
        states = {name: model.state_dict() for name, model in self.models().items()}
        self.journal.keep_block(block.index, states, document)
