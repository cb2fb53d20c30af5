"""What a run has finished, on disk: outcomes of stages, stages under way, and blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from recbole_ccd.checkpoint.compatibility import check_data, check_settings, settings_of, versions
from recbole_ccd.checkpoint.file_store import STAGES, FileStore
from recbole_ccd.checkpoint.manifest import BASE_MODELS, FINISHED, INTERRUPTED, RUN, RUNNING, Manifest
from recbole_ccd.checkpoint.manifest_schema import (
    BlockRecord,
    EpochRecord,
    FileRecord,
    OpenBlockRecord,
    StageRecord,
)
from recbole_ccd.checkpoint.serialization import deserialize, serialize
from recbole_ccd.checkpoint.session import session
from recbole_ccd.checkpoint.stage_checkpoint import BlockCheckpoint, StageCheckpoint
from recbole_ccd.checkpoint.stored_interactions import write_rows
from recbole_ccd.utils.atomic_files import atomic_write, save_tensors
from recbole_ccd.utils.errors import RunError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.stream import BlockStream

# the last one, and one to fall back on
_KEPT_BLOCKS = 2

State = Mapping[str, Tensor]


class CheckpointManager:
    """The checkpoints of a run.

    A file is written whole before the manifest names it, and removed after the manifest has ceased to. So
    the manifest always names files that are there, whenever the process ends. What is read back is held
    against its checksum first; a damaged file counts as never written, which the log reports.

    Attributes:
        folder: the run directory.
        manifest: what stands in its manifest.json.
    """

    def __init__(self, folder: Path, manifest: Manifest, problem: str | None = None) -> None:
        """Takes a folder as it is; see :meth:`of_run`.

        Args:
            folder: the run directory; it is made when something is saved.
            manifest: its manifest.
            problem: what was wrong with the last manifest, where this is the one before.
        """
        self.folder, self.manifest = folder, manifest
        self._store = FileStore(folder)
        self._logger = getLogger("recbole_ccd")
        self._problem = problem
        # blocks whose interactions are known to be on disk as they should
        self._saved_rows: set[int] = set()

    @classmethod
    def of_run(cls, folder: Path, config: CCDConfig, stream: BlockStream) -> CheckpointManager:
        """The checkpoints of a run, with what an earlier process has left there.

        Args:
            folder: the run directory.
            config: the run's configuration.
            stream: its blocks.

        Raises:
            RunError: If it was begun with other settings or other data, or cannot be read or written.
        """
        settings, data = settings_of(config.to_dict()), stream.fingerprint
        found = Manifest.read(folder)
        if found is None:
            checkpoints = cls(folder, Manifest(RUN, RUNNING, versions(), settings, data))
        else:
            checkpoints = cls(folder, *found)
            check_settings(folder, checkpoints.manifest.settings, settings)
            check_data(folder, checkpoints.manifest.data, data)
            checkpoints.manifest.status = RUNNING
        checkpoints.manifest.sessions.append(session(config["device"]))
        checkpoints._store.write(checkpoints.manifest)
        # what a process left that was killed before it could
        checkpoints._store.prune(checkpoints.manifest)
        return checkpoints

    @classmethod
    def of_base_models(cls, folder: Path, stream: BlockStream) -> CheckpointManager:
        """The checkpoints of the base models that compared runs share; nothing is written yet.

        Args:
            folder: where they are stored.
            stream: the blocks of all these runs.

        Raises:
            RunError: If there is one that cannot be read, or of other data.
        """
        found, data = Manifest.read(folder), stream.fingerprint
        if found is None:
            return cls(folder, Manifest(BASE_MODELS, RUNNING, versions(), {}, data))
        check_data(folder, found[0].data, data)
        return cls(folder, *found)

    # what was there

    def tell(self) -> None:
        """Log what is odd about what was found: a damaged manifest, other versions."""
        if self._problem:
            self._logger.warning("%s; going on from the one before", self._problem)
            self._problem = None
        was, now = self.manifest.versions, versions()
        others = [f"{name} {was.get(name)} and now {now[name]}" for name in now if was.get(name) != now[name]]
        if others:
            self._logger.warning(
                "the run was begun with %s: the last bits of results may differ", ", ".join(others)
            )

    def last_block(self) -> BlockCheckpoint | None:
        """The last finished block whose checkpoint is intact; None if there is none.

        What came after it is forgotten, and learned again.
        """
        manifest = self.manifest
        while manifest.blocks:
            entry = manifest.blocks[-1]
            earlier = f"block {manifest.blocks[-2].block}" if len(manifest.blocks) > 1 else "the beginning"
            consequence = f"going on from {earlier}"
            result = self._store.load_document(entry.result, consequence)
            states: dict[str, dict[str, Tensor]] = {}
            for name, file in entry.files.items() if result is not None else ():
                state = self._store.load(file, consequence)
                if state is None:
                    break
                states[name] = state
            else:
                if result is not None:
                    return BlockCheckpoint(entry.block, states, result)
            manifest.blocks.pop()
            # what was learned on top of it
            manifest.stages, manifest.epochs = [], None
        return None

    def load_stage(self, key: str) -> StageCheckpoint | None:
        """What is left of a finished stage; None if it has not been finished, or its file is damaged.

        Raises:
            RunError: If somebody has moved or removed the run directory.
        """
        # rather now than at the end of the stage
        self._store.check()
        entry = next((entry for entry in self.manifest.stages if entry.key == key), None)
        if entry is None:
            return None
        state = self._store.load(entry.file, "the stage is trained again")
        if state is None:
            self.manifest.stages.remove(entry)
            return None
        return StageCheckpoint(entry.record, state)

    def load_epochs(self, key: str) -> Any:
        """What a stage that was under way needs to go on; None if it begins anew."""
        entry = self.manifest.epochs
        # other versions may do the same in other steps
        if entry is None or entry.key != key or self.manifest.versions != versions():
            return None
        state = self._store.load(entry.file, "the stage begins anew")
        try:
            return None if state is None else deserialize(state)
        except ValueError as error:
            self._logger.warning("%s %s; the stage begins anew", entry.file.in_folder(self.folder), error)
            return None

    # what is saved

    def save_stage(self, key: str, block: int, record: Any, state: State) -> None:
        """Saves a finished stage.

        Args:
            key: its name, unique within the run.
            block: the block it belongs to.
            record: what result.json has of it.
            state: the model's weights.

        Raises:
            RunError: If it cannot be saved; what was saved before is still there.
        """
        with self._saving():
            file = self._store.save(f"{STAGES}/{key}.pt", partial(save_tensors, tensors=state))
            self.manifest.stages.append(StageRecord(key, block, record, file))
            if self.manifest.epochs is not None and self.manifest.epochs.key == key:
                self.manifest.epochs = None
            self._store.write(self.manifest)
            self._store.prune(self.manifest)

    def save_epochs(self, key: str, epochs: int, state: Any) -> None:
        """Saves a stage that is under way, in the place of what was saved of it before.

        Args:
            key: its name.
            epochs: epochs finished.
            state: nested plain values and tensors, as
                :func:`~recbole_ccd.checkpoint.serialization.serialize` takes them.

        Raises:
            RunError: If it cannot be saved; what was saved before is still there.
        """
        with self._saving():
            name = f"{STAGES}/{key}-epoch-{epochs}.pt"
            file = self._store.save(name, partial(save_tensors, tensors=serialize(state)))
            self.manifest.epochs = EpochRecord(key, epochs, file)
            self._store.write(self.manifest)
            self._store.prune(self.manifest)

    def save_block(self, block: int, states: Mapping[str, State], result: Any) -> None:
        """Saves a finished block; its stages and all blocks but the one before are discarded.

        Args:
            block: its index.
            states: weights by the model's name.
            result: the document of the result so far.

        Raises:
            RunError: If it cannot be saved; what was saved before is still there.
        """
        with self._saving():
            entry = BlockRecord(block, *self._save_models(f"block-{block}", states, result))
            manifest = self.manifest
            earlier = [entry for entry in manifest.blocks if entry.block < block]
            manifest.blocks = [*earlier, entry][-_KEPT_BLOCKS:]
            manifest.learned = max(manifest.learned, block)
            manifest.stages = [entry for entry in manifest.stages if entry.block > block]
            manifest.epochs, manifest.open = None, None
            self._store.write(self.manifest)
            self._store.prune(self.manifest)

    def save_open_block(self, block: int, states: Mapping[str, State], result: Any) -> None:
        """Saves a block that the student has learned and the teacher has not; arguments as above.

        Nothing is discarded: the block is resumed from the one before, and from its stages.

        Raises:
            RunError: If it cannot be saved; what was saved before is still there.
        """
        with self._saving():
            arrivals = sum(entry.block == block for entry in self.manifest.rows)
            # the files of one that the student has learned less of are not overwritten
            folder = f"block-{block}-student-{arrivals}"
            self.manifest.open = OpenBlockRecord(block, *self._save_models(folder, states, result), arrivals)
            self._store.write(self.manifest)
            self._store.prune(self.manifest)

    def _save_models(
        self, folder: str, states: Mapping[str, State], result: Any
    ) -> tuple[dict[str, FileRecord], FileRecord]:
        files = {
            name: self._store.save(f"{folder}/{name}.pt", partial(save_tensors, tensors=state))
            for name, state in states.items()
        }
        text = json.dumps(result, sort_keys=True, allow_nan=False)
        return files, self._store.save(f"{folder}/result.json", partial(atomic_write, data=text))

    def save_interactions(
        self,
        block: int,
        rows: Callable[[], State],
        vocabulary: Callable[[], Mapping[str, Sequence[str]]],
        given: Callable[[], State],
    ) -> None:
        """Saves the interactions of a block, unless they are there; the next manifest names them.

        Args:
            block: its index; those before have been saved.
            rows: gives them, see :func:`~recbole_ccd.checkpoint.stored_interactions.write_rows`.
            vocabulary: gives the tokens known at the block.
            given: gives what the files of the block held.

        Raises:
            RunError: If they cannot be saved.
        """
        entries = self.manifest.rows
        if block in self._saved_rows:
            return
        found = next((n for n, entry in enumerate(entries) if entry.block == block), len(entries))
        # what has arrived by itself is read before anything is learned of it
        if found == len(entries) or (
            entries[found].source is None
            and any(file.problem(self.folder) is not None for file in entries[found].all_files())
        ):
            entries[found : found + 1] = [write_rows(self._store, rows(), vocabulary(), given(), block)]
        self._saved_rows.add(block)

    def finish(self) -> None:
        """Say that the run is finished."""
        self.manifest.status, self.manifest.cycle = FINISHED, None
        self._store.write(self.manifest)

    def interrupt(self) -> None:
        """Say that the run has ended before its time, as far as that can be written."""
        if self.manifest.status == RUNNING:
            self.manifest.status = INTERRUPTED
            with suppress(RunError):
                self._store.write(self.manifest)

    def last_good(self) -> str:
        """The last checkpoint, in words: where a run would be gone on from."""
        manifest = self.manifest
        if manifest.epochs is not None:
            return str(manifest.epochs.file.in_folder(self.folder))
        if manifest.stages:
            return str(manifest.stages[-1].file.in_folder(self.folder))
        if manifest.blocks:
            return str(manifest.blocks[-1].result.in_folder(self.folder).parent)
        return "none yet"

    @contextmanager
    def _saving(self) -> Iterator[None]:
        start = perf_counter()
        yield
        saving = self.manifest.saving
        # written with the next manifest
        saving["seconds"], saving["saves"] = saving["seconds"] + perf_counter() - start, saving["saves"] + 1
