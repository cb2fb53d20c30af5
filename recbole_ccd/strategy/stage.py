"""One stage of training while it runs, and models of the base block that several runs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from logging import getLogger
from time import perf_counter
from typing import TYPE_CHECKING, Any

from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from torch import Tensor

from recbole_ccd.config import UPDATES
from recbole_ccd.data.block import Block
from recbole_ccd.data.schedule import scheduled
from recbole_ccd.evaluation.stage_record import stage_record
from recbole_ccd.plugin.replay import chosen_scheme
from recbole_ccd.trainer import StageTrainer, make_trainer
from recbole_ccd.utils.malloc import return_freed_memory
from recbole_ccd.utils.memory import MemoryWatch
from recbole_ccd.utils.seeding import derive_seed, deterministic, seed_stage

if TYPE_CHECKING:
    from recbole_ccd.checkpoint import CheckpointManager
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.utils.signals import InterruptHandler

# no parameter is called so
_EXTRA = "extra: "
Prepare = Callable[["Stage"], StageTrainer]
"""Makes a stage's model and its trainer, which is about to begin."""

# a stage elsewhere writes nothing that stays, and nobody watches it
_ELSEWHERE = {"run_dir": None, "checkpoint_dir": "saved", "show_progress": False, "log_wandb": False}


@dataclass(frozen=True)
class StageName:
    """Which stage it is.

    Attributes:
        stage: one of the configuration's stages.
        block: index of the block learned.
        model: what is trained.
        member: which member of the teacher, where it is one.
        piece: which piece of the block, where it arrives in several.
    """

    stage: str
    block: int
    model: str
    member: int | None = None
    piece: int | None = None

    @property
    def purpose(self) -> tuple[str, int, int | str, int]:
        """What its seed is derived from."""
        return (self.stage, self.block, "-" if self.member is None else self.member, self.piece or 0)

    @property
    def label(self) -> str:
        """What logs call it."""
        suffix = "" if self.member is None else f" member {self.member} ({self.model})"
        suffix += "" if self.piece is None else f" part {self.piece + 1}"
        return f"block {self.block} {self.stage}{suffix}"

    def shown(self, last_block: int | None) -> str:
        """What progress bars call it, in few characters.

        Args:
            last_block: index of the last block of the stream; None where it is not known.
        """
        of = "" if last_block is None else f" of {last_block}"
        suffix = "" if self.member is None else f" member {self.member}"
        suffix += "" if self.piece is None else f" part {self.piece + 1}"
        return f"block {self.block}{of}, {self.stage.replace('_', ' ')}{suffix}"

    @property
    def key(self) -> str:
        """What its files are called."""
        suffix = "" if self.member is None else f"-member-{self.member}"
        suffix += "" if self.piece is None else f"-part-{self.piece + 1}"
        return f"block-{self.block}-{self.stage}{suffix}"


def stage_settings(config: CCDConfig, stage: str, block: Block) -> CCDConfig:
    """A stage's settings, with numbers where they are left to the block's size.

    Args:
        config: the model's configuration.
        stage: one of the configuration's stages.
        block: the block learned.
    """
    staged = config.for_stage(stage)
    scheme = chosen_scheme(staged) if stage in UPDATES else None
    mutual = stage in UPDATES and staged["mutual_learning"] and staged["mutual_weight"]
    replays = bool(mutual) or (scheme is not None and scheme.visits_everybody)
    return scheduled(staged, block, replays and issubclass(staged.model_class, AutoEncoderMixin))


class Stage:
    """One stage of one block, while it runs.

    Attributes:
        name: which one.
        config: the model's configuration, with the stage's own training keys.
        block: the block learned.
        old: the model to be grown, where the stage updates one.
        seed: seed of everything drawn in the stage.
        seconds: wall-clock time of the stage so far, that of an earlier process included.
        extra: tensors that the stage leaves beside its model's weights, such as a member's course.
    """

    def __init__(self, context: StageContext, task: StageTask) -> None:
        """Made by :func:`run_stage`.

        Args:
            context: what it has in common with others.
            task: what it has for itself.
        """
        self.name, self.block, self.old = task.name, context.block, task.old
        self.config = stage_settings(task.config, task.name.stage, context.block)
        self.seed = derive_seed(task.config["seed"], *task.name.purpose)
        self._checkpoints, self._stop, self._last_block = task.checkpoints, task.stop, context.last_block
        self.extra: dict[str, Tensor] = {}
        self._trainers: list[StageTrainer] = []
        self._before, self._start = 0.0, perf_counter()

    @property
    def epochs(self) -> int:
        """Epochs trained in this stage."""
        return sum(trainer.epochs_run for trainer in self._trainers)

    def history(self) -> dict[str, Any]:
        """What the trainer has recorded; nothing before there is one."""
        return self._trainers[-1].history() if self._trainers else {}

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the stage so far, in all processes."""
        return self._before + perf_counter() - self._start

    def trainer(
        self, model: GeneralRecommender, previous: GeneralRecommender | None = None, phase: str | None = None
    ) -> StageTrainer:
        """A trainer of this stage for a model, placed at the block.

        The first one goes on where a process before this one was interrupted in the stage, unless the stage
        is trained in phases.

        Args:
            model: the model to train.
            previous: the model before the block, for plugins that keep near it.
            phase: which one it is of several trainings of the stage, which draw for themselves.
        """
        trainer = make_trainer(self.config, model)
        label, shown, seed = self.name.label, self.name.shown(self._last_block), self.seed
        if phase is not None:
            label, shown = (f"{words} {phase.replace('_', ' ')}" for words in (label, shown))
            seed = derive_seed(seed, phase)
        trainer.bind(self.block, label, seed, previous, shown)
        if phase is not None:
            trainer.restore(None, self._stop_if_asked)
        elif not self._trainers:
            trainer.restore(self._saved(), self._between_epochs)
        self._trainers.append(trainer)
        return trainer

    def _saved(self) -> Any:
        found = self._checkpoints.load_epochs(self.name.key) if self._checkpoints is not None else None
        if found is None:
            return None
        self._before = found["seconds"]
        epochs = found["trainer"]["epochs"]
        getLogger("recbole_ccd").info(f"{self.name.label}: going on after {epochs} epochs")
        return found["trainer"]

    def _between_epochs(self) -> None:
        (trainer,) = self._trainers
        stopping = self._stop is not None and self._stop.requested
        every = self.config["checkpoint_every"]
        due = stopping or (every is not None and trainer.epochs_run % every == 0)
        if due and self._checkpoints is not None and trainer.is_resumable:
            state = {"seconds": self.seconds, "trainer": trainer.state_dict()}
            self._checkpoints.save_epochs(self.name.key, trainer.epochs_run, state)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._stop is not None and self._stop.requested:
            self._stop.now()

    def result(self, model: GeneralRecommender, seconds: float, rss_mb: float | None) -> StageResult:
        """What has come out of it: a model, what is recorded of it, and what it has left beside that.

        Args:
            model: the model.
            seconds: wall-clock time that it took.
            rss_mb: the process's resident memory at most meanwhile.
        """
        name, epochs = self.name, self.epochs
        record = stage_record(name.block, name.stage, name.member, epochs, seconds, self.history(), rss_mb)
        for trainer in self._trainers:
            trainer.release()
        return StageResult(record, model.state_dict(), model, self.extra)


@dataclass(frozen=True)
class StageContext:
    """What stages that do not need one another have in common.

    Attributes:
        block: the block learned, or the piece of it.
        learn: makes and trains a model in a stage. It knows nothing of who leads the run: it may be sent to
            another process, and all that it knows with it.
        last_block: index of the last block of the stream; None where it is not known.
    """

    block: Block
    learn: Callable[[Stage], GeneralRecommender]
    last_block: int | None = None


@dataclass(frozen=True)
class StageTask:
    """What one of these stages has for itself.

    Attributes:
        name: which stage it is.
        config: the model's configuration.
        old: the model to be grown, where one is updated.
        checkpoints: where it is saved while it is under way; None for nowhere.
        stop: who may want it to end early.
    """

    name: StageName
    config: CCDConfig
    old: GeneralRecommender | None = None
    checkpoints: CheckpointManager | None = None
    stop: InterruptHandler | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: the run directory is written to by one process alone."""
        config = deepcopy(self.config)
        config.final_config_dict.update(_ELSEWHERE)
        return {**vars(self), "config": config, "checkpoints": None, "stop": None}


@dataclass
class StageResult:
    """What has come out of a stage.

    Attributes:
        record: what result.json has of it, a dictionary.
        state: the model's weights.
        model: the model, unless it has been trained in another process.
        extra: what the stage has left beside the weights.
    """

    record: Any
    state: dict[str, Tensor]
    model: GeneralRecommender | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: weights and numbers."""
        state, extra = (
            {name: value.cpu() for name, value in part.items()} for part in (self.state, self.extra)
        )
        return {"record": self.record, "state": state, "model": None, "extra": extra}

    @classmethod
    def load(cls, checkpoints: CheckpointManager | None, key: str) -> StageResult | None:
        """What an earlier process has left of a stage, or of a model of the base block.

        Args:
            checkpoints: where it is saved; None for nowhere.
            key: its name there.
        """
        found = None if checkpoints is None else checkpoints.load_stage(key)
        if found is None:
            return None
        state: dict[str, Tensor] = {}
        extra: dict[str, Tensor] = {}
        for name, value in found.state.items():
            part = extra if name.startswith(_EXTRA) else state
            part[name.removeprefix(_EXTRA)] = value
        return cls(found.record, state, extra=extra)

    def save(self, checkpoints: CheckpointManager | None, key: str, block: int) -> None:
        """Saves it for a later process, in one file; arguments as of :meth:`load`.

        Raises:
            RunError: If it cannot be saved.
        """
        if checkpoints is not None:
            extra = {_EXTRA + name: value for name, value in self.extra.items()}
            checkpoints.save_stage(key, block, self.record, {**self.state, **extra})


def run_stage(context: StageContext, task: StageTask) -> StageResult:
    """Runs a stage; what comes out depends on the arguments alone.

    Args:
        context: what it has in common with others.
        task: what it has for itself.

    Raises:
        LossError: If the loss became NaN or infinite.
    """
    config = task.config
    return_freed_memory()
    seed_stage(config["seed"], config["reproducibility"], *task.name.purpose)
    stage = Stage(context, task)
    with deterministic(config["reproducibility"]), MemoryWatch() as memory:
        model = context.learn(stage)
    return stage.result(model, stage.seconds, memory.mb)


@dataclass
class BaseModels:
    """Models of the base block, trained once and shared by the strategies that are compared.

    They depend on the seed and on settings that strategies do not differ in; one object serves one seed.

    Attributes:
        results: what has come out of the training of each, by the model's part, such as ``teacher-0``; of
            records there is a list.
        checkpoints: where they are saved for a later process; None for nowhere.
    """

    results: dict[str, StageResult] = field(default_factory=dict)
    checkpoints: CheckpointManager | None = None

    def find(self, part: str) -> StageResult | None:
        """A part that is there, or has been left by an earlier process; None if neither."""
        if part not in self.results and (found := StageResult.load(self.checkpoints, part)) is not None:
            self.results[part] = found
        return self.results.get(part)

    def add(
        self, part: str, model: GeneralRecommender, records: list[Any], extra: Mapping[str, Tensor]
    ) -> None:
        """Shares a model, what was recorded of its training, and what else its stage has left."""
        state = {name: value.clone() for name, value in model.state_dict().items()}
        self.results[part] = StageResult(records, state, extra=dict(extra))
        self.results[part].save(self.checkpoints, part, 0)
