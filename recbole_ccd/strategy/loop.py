"""The block loop: follow each block, evaluate on all seen so far, keep the run directory up to date."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, ClassVar

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color
from torch import Tensor

from recbole_ccd.checkpoint import CheckpointManager
from recbole_ccd.checkpoint.serving_snapshot import RECORD, ServingSnapshot
from recbole_ccd.checkpoint.stored_interactions import VOCABULARY
from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.result import RANDOM, ROLES, StreamResult
from recbole_ccd.model.growth import rebuild
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.report.tables import block_table, final_table, next_line
from recbole_ccd.report.writing import write_report_page
from recbole_ccd.strategy.evaluation import (
    final_vectors,
    measure,
    measure_next,
    measure_random,
    seed_evaluation,
)
from recbole_ccd.strategy.pace import Pace
from recbole_ccd.utils.parallel import workers_of
from recbole_ccd.utils.seeding import exclusive
from recbole_ccd.utils.wandb_log import log_to_wandb

if TYPE_CHECKING:
    from recbole_ccd.checkpoint import RunDirectory
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.dataloader import BlockEvalDataLoader
    from recbole_ccd.utils.signals import InterruptHandler


class BlockLoop(ABC):
    """How a stream is followed, whatever is done with a block.

    Attributes:
        student: the deployed model after the last block followed.
        teacher: the teacher system, or None where there is none.
        checkpoints: where :meth:`run` keeps what it has finished; made from the run directory unless set.
        stop: who may want the run to end early; None for nobody.
        doing: what the run is at, in words.
    """

    kind: ClassVar[str] = "strategy"
    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    """Of a strategy outside the package: its keys with their defaults, and the values it changes. Ours have a
    file in ``properties/strategy`` instead."""
    keeps_teacher: ClassVar[bool] = False
    """Whether there is a teacher after the base block, which follows the stream too."""
    student_cycle: ClassVar[bool] = False
    """Whether the student can learn a block before the teacher does."""
    replays: ClassVar[bool] = False
    """Whether an update visits the past by the configured ``replay``."""
    has_proxies: ClassVar[bool] = False
    """Whether there are proxies that can be replayed from."""
    regularizes: ClassVar[str | None] = None
    """Whose updates are under the configured ``regularizer``: ``student``, ``teacher``, or nobody's."""

    student: GeneralRecommender | None
    teacher: GeneralRecommender | None

    def __init__(self, config: CCDConfig, run_directory: RunDirectory | None = None) -> None:
        """Prepares the loop.

        Args:
            config: the run's configuration.
            run_directory: where results go, made before the stream is run; None keeps them in memory.
        """
        self.config, self.run_directory = config, run_directory
        self.logger = getLogger("recbole_ccd")
        self.checkpoints: CheckpointManager | None = None
        self.stop: InterruptHandler | None = None
        self.workers = workers_of(config)
        self.doing = "at the start"
        self._pace = Pace()

    @property
    def directory(self) -> RunDirectory:
        """The :attr:`run_directory` of a strategy that has one.

        Raises:
            ValueError: its results are kept in memory.
        """
        if self.run_directory is None:
            raise ValueError("the strategy was made without a run directory")
        return self.run_directory

    @abstractmethod
    def check(self, stream: BlockStream) -> None:
        """Refuses what cannot work, before anything is trained.

        Args:
            stream: the blocks.

        Raises:
            CCDError: If something in it cannot work.
        """

    @abstractmethod
    def train_block(self, block: Block) -> None:
        """Learns a block; afterwards ``student`` and ``teacher`` are those of the block."""

    def train_block_by_student(self, block: Block) -> None:
        """The student alone learns a block; :meth:`train_block` begins with just that (``student_cycle``)."""
        raise NotImplementedError(f"strategy {self.name} has no cycle of the student alone")

    @abstractmethod
    def prepare_next_block(self, block: Block) -> None:
        """Does what :meth:`train_block` of the next block would begin with; nothing where it cannot."""

    def workload(self, block: Block) -> int:
        """How many interactions are gone through to learn a block, for the time that is left."""
        return len(block.train)

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

    def fit_again(self, block: Block) -> GeneralRecommender | None:
        """The student after a block, where its weights are not among the :meth:`models` that are saved.

        Args:
            block: the last block followed.

        Returns:
            The student; None where there is none to be had.
        """
        return None

    @exclusive()
    def run(self, stream: BlockStream) -> StreamResult:
        """Follows the whole stream, or the rest of it where the run directory holds its beginning.

        Args:
            stream: the blocks.

        Returns:
            What was measured: the R matrices of every metric and all that follows from them.

        Raises:
            RunError: If training went wrong, or the run directory cannot be used.
        """
        with self.workers:
            for block in self._begin(stream):
                self._run_block(stream, block)
            return self._end()

    @exclusive()
    def run_student(self, stream: BlockStream) -> StreamResult:
        """Follows the stream, the last block by the student alone; the teacher stays at the block before.

        Args:
            stream: the blocks.

        Returns:
            What was measured; the student has a row more than the teacher.

        Raises:
            RunError: If training went wrong, or the run directory cannot be used.
        """
        *earlier, block = self._begin(stream)
        with self.workers:
            for whole in earlier:
                self._run_block(stream, whole)
            self._announce(stream, block)
            self._evaluate_before(block, ("student",))
            self.train_block_by_student(block)
        self._evaluate(stream, block, ("student",))
        self._save(stream, block, whole=False)
        self.logger.info("\n%s", block_table(self.result, block.index))
        return self._end()

    @exclusive()
    def prepare_next(self, stream: BlockStream) -> None:
        """Does ahead what the next block begins with, as far as that needs nothing of it.

        It is saved among the finished stages of the run directory.

        Args:
            stream: the blocks, which have been followed.

        Raises:
            RunError: If training went wrong, or the run directory cannot be used.
        """
        recorded = list(self.result.stages)
        self.prepare_next_block(stream[len(stream) - 1])
        # it is part of the next block's result
        self.result.stages = recorded
        self._stop_if_asked()

    def _begin(self, stream: BlockStream) -> list[Block]:
        """Takes up what an earlier process has left.

        Returns:
            The blocks that are still to be followed.
        """
        self.check(stream)
        if self.checkpoints is None and self.run_directory is not None:
            self.checkpoints = CheckpointManager.of_run(self.run_directory.path, self.config, stream)
        known = [{"users": block.n_users - 1, "items": block.n_items - 1} for block in stream]
        self.result = StreamResult(self.config, len(stream), known)
        if self.checkpoints is None:
            return list(stream)
        self.checkpoints.tell()
        # of a block that was begun before, the time is not known
        manifest = self.checkpoints.manifest
        self._pace = Pace(skips_first=bool(manifest.stages or manifest.epochs))
        left = self.checkpoints.last_block()
        if left is None:
            return list(stream)
        self.logger.info(f"going on after block {left.block}")
        self.result = StreamResult.from_dict(left.result, self.config)
        self.result.extend(known)
        self.restore(stream[left.block], left.states)
        rest = list(stream)[left.block + 1 :]
        if not rest:
            # they may be what was damaged
            self._keep_data(stream, stream[left.block])
        return rest

    def _keep_data(self, stream: BlockStream, block: Block) -> None:
        """Keeps the tokens known at a block, and the interactions up to it, where results are kept."""
        if self.run_directory is None or self.checkpoints is None:
            return
        self.run_directory.write_json(VOCABULARY, stream.vocabulary(block))
        for known in list(stream)[: block.index + 1]:
            self.checkpoints.save_interactions(
                known.index,
                partial(stream.rows_of, known),
                partial(stream.vocabulary, known),
                partial(stream.given_in, known),
            )

    def _announce(self, stream: BlockStream, block: Block) -> None:
        self.logger.info(set_color(f"block {block.index} of {len(stream) - 1}", "green") + f": {block}")

    def _run_block(self, stream: BlockStream, block: Block) -> None:
        self._announce(stream, block)
        self._pace.begin()
        self._evaluate_before(block)
        self.train_block(block)
        self._evaluate(stream, block)
        self._save(stream, block)
        if block.previous is not None:
            block.previous.release()
        self.logger.info("\n%s", block_table(self.result, block.index))
        self._pace.end(block.index, self.workload(block))
        ahead = [self.workload(later) for later in list(stream)[block.index + 1 :]]
        if told := self._pace.words(ahead):
            self.logger.info(told)
        self._stop_if_asked()

    def _end(self) -> StreamResult:
        if self.checkpoints is not None:
            self.checkpoints.finish()
        self.logger.info("\n%s", final_table(self.result))
        return self.result

    def _evaluate_before(self, block: Block, roles: Sequence[str] = ROLES) -> None:
        """Measures the models of the block before on a block that has arrived and is not yet learned."""
        if block.previous is None:
            return
        now = block.before.index
        self.result.add_unserved(now, block.unserved(self.config))
        loader = block.next_loader(self.config)
        if loader is not None:
            if self.student is None:
                self.student = self.fit_again(block.before)
            self.doing = f"block {block.index}, evaluation before it is learned"
            self.result.add_next(RANDOM, now, measure_random(self.config, block, loader))
            for role in roles:
                self._measure_next(block, role, loader)
        self.logger.info(next_line(self.result, now))

    def _measure_next(self, block: Block, role: str, loader: BlockEvalDataLoader) -> None:
        model, now = getattr(self, role), block.before
        if model is None:
            return
        seed_evaluation(self.config, now, role)
        clear_cache(model)
        self.result.add_next(role, now.index, measure_next(self.config, model, role, block, loader))
        clear_cache(model.eval())
        self._stop_if_asked()

    def _evaluate(self, stream: BlockStream, block: Block, roles: Sequence[str] = ROLES) -> None:
        for role in roles:
            model = getattr(self, role)
            if model is None:
                continue
            self.doing = f"block {block.index}, evaluation of the {role}"
            seed_evaluation(self.config, block, role)
            clear_cache(model)
            measured = measure(self.config, model, role, stream, block)
            row = [measured[f"block {j}"] for j in range(block.index + 1)]
            self.result.add_row(role, block.index, row)
            self.result.add_new_entities(
                role, block.index, measured.get("new users"), measured.get("new items")
            )
            self.result.set_size(role, model)
            # a model keeps what it scored with: final embeddings, and of each member of an ensemble
            clear_cache(model.eval())
            self._stop_if_asked()
        log_to_wandb(self.config, {"block": block.index, **self._measured_at(block.index)})

    def _measured_at(self, block: int) -> dict[str, float]:
        """The row of R after a block and what follows from it, by role, metric and name."""
        found: dict[str, float | None] = {}
        for role in self.result.roles:
            for metric in self.result.metric_names if self.result.n_rows(role) > block else ():
                summary, start = self.result.summary(role, metric), f"{role}/{metric}"
                found |= {f"{start}/R/{j}": value for j, value in enumerate(summary["R"][block])}
                found |= {f"{start}/{name}": summary[name][block] for name in ("LA", "RA", "H")}
        return {name: value for name, value in found.items() if value is not None}

    def _save(self, stream: BlockStream, block: Block, whole: bool = True) -> None:
        if self.run_directory is None or self.checkpoints is None:
            return
        self.doing = f"block {block.index}, saving"
        document = self.result.to_dict()
        self.run_directory.write_json("result.json", document)
        if self.config["write_report"]:
            sessions = self.checkpoints.manifest.sessions
            write_report_page(self.run_directory, "result.json", document, sessions)
        self._keep_data(stream, block)
        models: Mapping[str, Any] = self.models() if whole else {"student": self.student}
        states = {name: model.state_dict() for name, model in models.items()}
        if "student" in states:
            vectors = final_vectors(self.config, self.student, block)
            states[RECORD] = ServingSnapshot.tensors((block.n_users, block.n_items), vectors)
        keep = self.checkpoints.save_block if whole else self.checkpoints.save_open_block
        keep(block.index, states, document)

    def _stop_if_asked(self) -> None:
        if self.stop is not None:
            self.stop.now()
