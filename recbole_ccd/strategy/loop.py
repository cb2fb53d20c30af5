"""The block loop: follow each block, evaluate on all seen so far, keep the run directory up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color

from recbole_ccd.checkpoint import CheckpointManager
from recbole_ccd.checkpoint.serving_snapshot import RECORD, ServingSnapshot
from recbole_ccd.checkpoint.stored_interactions import VOCABULARY
from recbole_ccd.data.block import Block
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.result import RANDOM, ROLES, StreamResult
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
from recbole_ccd.utils.malloc import return_freed_memory
from recbole_ccd.utils.wandb_log import log_to_wandb

if TYPE_CHECKING:
    from recbole_ccd.strategy.base import Strategy
    from recbole_ccd.utils.parallel import Workers


class BlockLoop:
    """How a strategy is led through a stream, whatever it does with a block."""

    def __init__(self, strategy: Strategy, stream: BlockStream) -> None:
        """Prepares the loop.

        Args:
            strategy: the strategy, whose ``run_state`` is kept up to date.
            stream: the blocks.
        """
        self.strategy, self.stream = strategy, stream
        self.state, self.config = strategy.run_state, strategy.config
        self.logger = getLogger("recbole_ccd")
        self._pace = Pace()

    def run(self, whole: bool = True) -> StreamResult:
        """Follows the stream, or the rest of it where the run directory holds its beginning.

        Args:
            whole: whether the teacher learns the last block too.
        """
        with self.state.workers:
            blocks = self._begin()
            for block in blocks:
                self._run_block(block, whole or block is not blocks[-1])
        if self.state.checkpoints is not None:
            self.state.checkpoints.finish()
        self.logger.info("\n%s", final_table(self.state.result))
        return self.state.result

    def _begin(self) -> list[Block]:
        """Takes up what an earlier process has left.

        Returns:
            The blocks that are still to be followed.
        """
        state, stream = self.state, self.stream
        self.strategy.check(stream)
        if state.checkpoints is None and state.run_directory is not None:
            state.checkpoints = CheckpointManager.of_run(state.run_directory.path, self.config, stream)
        known = [{"users": block.n_users - 1, "items": block.n_items - 1} for block in stream]
        state.result = StreamResult(self.config, len(stream), known)
        if state.checkpoints is None:
            return list(stream)
        state.checkpoints.tell()
        # of a block that was begun before, the time is not known
        manifest = state.checkpoints.manifest
        self._pace = Pace(skips_first=bool(manifest.stages or manifest.epochs))
        left = state.checkpoints.last_block()
        if left is None:
            return list(stream)
        self.logger.info(f"going on after block {left.block}")
        state.result = StreamResult.from_dict(left.result, self.config)
        state.result.extend(known)
        self.strategy.restore(stream[left.block], left.states)
        rest = list(stream)[left.block + 1 :]
        if not rest:
            # they may be what was damaged
            self._keep_data(stream[left.block])
        return rest

    def _keep_data(self, block: Block) -> None:
        """Keeps the tokens known at a block, and the interactions up to it, where results are kept."""
        if self.state.run_directory is None or self.state.checkpoints is None:
            return
        self.state.run_directory.write_json(VOCABULARY, self.stream.vocabulary(block))
        for known in list(self.stream)[: block.index + 1]:
            self.state.checkpoints.save_interactions(
                known.index,
                partial(self.stream.rows_of, known),
                partial(self.stream.vocabulary, known),
                partial(self.stream.given_in, known),
            )

    def _run_block(self, block: Block, whole: bool) -> None:
        """A block from its arrival to its checkpoint; unless it is ``whole``, the student alone learns it."""
        strategy, n_blocks = self.strategy, len(self.stream)
        roles = ROLES if whole else ("student",)
        self.logger.info(set_color(f"block {block.index} of {n_blocks - 1}", "green") + f": {block}")
        self._pace.begin()
        self._evaluate_before(block, roles)
        if block.previous is not None:
            block.previous.release_rows()
        (strategy.train_block if whole else strategy.train_block_by_student)(block)
        self._evaluate(block, roles)
        self._save(block, whole)
        if block.previous is not None:
            block.previous.release()
        self.logger.info("\n%s", block_table(self.state.result, block.index))
        self._pace.end(block.index, strategy.workload(block))
        ahead = [strategy.workload(later) for later in list(self.stream)[block.index + 1 :]]
        if told := self._pace.words(ahead):
            self.logger.info(told)
        self.state.stop_if_asked()

    def _evaluate_before(self, block: Block, roles: Sequence[str]) -> None:
        """Measures the models of the block before on a block that has arrived and is not yet learned."""
        if block.previous is None:
            return
        now, result = block.before.index, self.state.result
        result.add_unserved(now, block.unserved(self.config))
        loader = block.next_loader(self.config)
        if loader is not None:
            if self.strategy.student is None:
                self.strategy.student = self.strategy.fit_again(block.before)
            self.state.doing = f"block {block.index}, evaluation before it is learned"
            result.add_next(RANDOM, now, measure_random(self.config, block, loader))
            for role, model in self._ready(roles, block.before):
                measured = measure_next(self.config, model, role, block, loader, *self._by_workers)
                result.add_next(role, now, measured)
        self.logger.info(next_line(result, now))

    @property
    def _by_workers(self) -> tuple[Workers, Callable[[], None]]:
        """Who ranks in an evaluation, and what is called meanwhile."""
        return self.state.workers, self.state.stop_if_asked

    def _evaluate(self, block: Block, roles: Sequence[str]) -> None:
        result = self.state.result
        for role, model in self._ready(roles, block):
            self.state.doing = f"block {block.index}, evaluation of the {role}"
            measured = measure(self.config, model, role, self.stream, block, *self._by_workers)
            result.add_row(role, block.index, [measured[f"block {j}"] for j in range(block.index + 1)])
            result.add_new_entities(role, block.index, measured.get("new users"), measured.get("new items"))
            result.set_size(role, model)
        log_to_wandb(self.config, {"block": block.index, **self._measured_at(block.index)})

    def _ready(self, roles: Sequence[str], block: Block) -> Iterator[tuple[str, GeneralRecommender]]:
        """The models of a block that there are, with their roles, each about to be measured."""
        for role in roles:
            model = getattr(self.strategy, role)
            if model is not None:
                seed_evaluation(self.config, block, role)
                clear_cache(model)
                yield role, model
                # a model keeps what it scored with: final embeddings, and of each member of an ensemble
                clear_cache(model.eval())
                return_freed_memory()
                self.state.stop_if_asked()

    def _measured_at(self, block: int) -> dict[str, float]:
        """The row of R after a block and what follows from it, by role, metric and name."""
        found: dict[str, float | None] = {}
        result = self.state.result
        for role in result.roles:
            for metric in result.metric_names if result.n_rows(role) > block else ():
                summary, start = result.summary(role, metric), f"{role}/{metric}"
                found |= {f"{start}/R/{j}": value for j, value in enumerate(summary["R"][block])}
                found |= {f"{start}/{name}": summary[name][block] for name in ("LA", "RA", "H")}
        return {name: value for name, value in found.items() if value is not None}

    def _save(self, block: Block, whole: bool) -> None:
        run_directory, checkpoints = self.state.run_directory, self.state.checkpoints
        if run_directory is None or checkpoints is None:
            return
        self.state.doing = f"block {block.index}, saving"
        document, student = self.state.result.to_dict(), self.strategy.student
        run_directory.write_json("result.json", document)
        if self.config["write_report"]:
            write_report_page(run_directory, "result.json", document, checkpoints.manifest.sessions)
        self._keep_data(block)
        models: Mapping[str, Any] = self.strategy.models() if whole else {"student": student}
        states = {name: model.state_dict() for name, model in models.items()}
        if "student" in states:
            vectors = final_vectors(self.config, student, block)
            states[RECORD] = ServingSnapshot.tensors((block.n_users, block.n_items), vectors)
        keep = checkpoints.save_block if whole else checkpoints.save_open_block
        keep(block.index, states, document)
