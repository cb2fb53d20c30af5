"""The block loop: follow each block, evaluate on all seen so far, keep the run directory up to date."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from logging import getLogger
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color
from torch import Tensor

from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.model.growth import build
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.model.teacher import ordering_rows
from recbole_ccd.report.tables import block_table, final_table
from recbole_ccd.seeding import derive_seed, deterministic, seed_stage
from recbole_ccd.trainer.base import StageTrainer, make_trainer

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.state import RunDirectory

AnyTrainer = TypeVar("AnyTrainer", bound=StageTrainer)


class Stage:
    """One stage of one block, while it runs.

    Attributes:
        config: the configuration of the model trained, with the stage's own training keys.
        seed: seed of everything drawn in the stage.
        label: what logs and bars call it.
        epochs: epochs trained so far.
    """

    def __init__(self, config: CCDConfig, block: Block, seed: int, label: str) -> None:
        """Made by :meth:`Strategy.stage`."""
        self.config, self.seed, self.label = config, seed, label
        self._block = block
        self._trainers: list[StageTrainer] = []

    @property
    def epochs(self) -> int:
        """Epochs trained in this stage."""
        return sum(trainer.epochs_run for trainer in self._trainers)

    def trainer(self, kind: type[AnyTrainer], model: GeneralRecommender) -> AnyTrainer:
        """A trainer of this stage for a model, placed at the block."""
        trainer = make_trainer(kind, self.config, model).at_block(self._block, self.label, self.seed)
        self._trainers.append(trainer)
        return trainer


@dataclass
class BaseModels:
    """Models of the base block, trained once and shared by the strategies that are compared.

    They depend on the seed and on settings that strategies do not differ in; one object serves one seed.

    Attributes:
        states: weights by the model's part, such as ``teacher-0``.
        stages: what was recorded of the training of each.
    """

    states: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    stages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class Strategy(ABC):
    """How a model follows a stream.

    A subclass says what happens when a block arrives (:meth:`follow`) and what cannot work
    (:meth:`check_models`); this class does the rest: the loop, evaluation after every block, tables,
    result.json and checkpoints.

    Attributes:
        student: the deployed model after the last block followed.
        teacher: the teacher system, or None where the strategy has none.
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
        """The models to keep in the run directory, by file name."""
        return {"student": self.student}

    def run(self, stream: BlockStream) -> StreamResult:
        """Follows the whole stream.

        Args:
            stream: the blocks.

        Returns:
            What was measured: the R matrices of every metric and all that follows from them.
        """
        self.check(stream)
        known = [{"users": block.n_users - 1, "items": block.n_items - 1} for block in stream]
        self.result = StreamResult(self.config, len(stream), known)
        for block in stream:
            self.logger.info(set_color(f"block {block.index} of {len(stream) - 1}", "green") + f": {block}")
            self.follow(block)
            self._evaluate(stream, block)
            self._save(stream, block)
            if block.previous is not None:
                block.previous.release()
            self.logger.info("\n%s", block_table(self.result, block.index))
        self.logger.info("\n%s", final_table(self.result))
        return self.result

    @contextmanager
    def stage(
        self, name: str, block: Block, config: CCDConfig, member: int | None = None, piece: int | None = None
    ) -> Iterator[Stage]:
        """Opens a stage: seeds it, times it and records it.

        Whatever is built or drawn inside depends on the run's seed, the block, the stage, the member and
        the piece alone.

        Args:
            name: one of the configuration's stages.
            block: the block (or the piece of it) learned.
            config: the configuration of the model trained.
            member: which member of the teacher, where it is one.
            piece: which piece of the block, where it arrives in several.
        """
        purpose = (name, block.index, "-" if member is None else member, piece or 0)
        seed_stage(self.config["seed"], self.config["reproducibility"], *purpose)
        suffix = "" if member is None else f" member {member} ({config['model']})"
        suffix += "" if piece is None else f" part {piece + 1}"
        label = f"block {block.index} {name}{suffix}"
        stage = Stage(config.for_stage(name), block, derive_seed(self.config["seed"], *purpose), label)
        start = perf_counter()
        with deterministic(self.config["reproducibility"]):
            yield stage
        seconds = perf_counter() - start
        self.result.add_stage(block.index, name, member, stage.epochs, seconds)
        self.logger.info(f"{set_color(label, 'cyan')}: {stage.epochs} epochs, {seconds:.1f}s")

    def train_plainly(self, block: Block, config: CCDConfig, member: int | None = None) -> GeneralRecommender:
        """A fresh model learns a block with its own loss.

        Args:
            block: the block.
            config: the configuration of the model.
            member: which member of the teacher, where it is one.
        """
        with self.stage("base", block, config, member=member) as stage:
            model = build(stage.config, block)
            stage.trainer(StageTrainer, model).run(self.config["show_progress"])
        return model

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
        if part in shared.states:
            model = build(config, block)
            model.load_state_dict(shared.states[part])
            self.result.stages += shared.stages[part]
            return model.eval()
        first = len(self.result.stages)
        model = train()
        shared.states[part] = {name: value.clone() for name, value in model.state_dict().items()}
        shared.stages[part] = self.result.stages[first:]
        return model

    def _evaluate(self, stream: BlockStream, block: Block) -> None:
        for role, model in (("student", self.student), ("teacher", self.teacher)):
            if model is None:
                continue
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
        self.run_directory.save_models({name: model.state_dict() for name, model in self.models().items()})
        self.run_directory.write_json("vocabulary.json", stream.vocabulary(block))
        self.run_directory.write_json("result.json", self.result.to_dict())
