"""What is damaged in a run directory is restored from what else it holds of it, or named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_ccd.checkpoint.compatibility import settings_of
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.lock import RunLock
from recbole_ccd.checkpoint.manifest import FINISHED, MANIFEST, Manifest
from recbole_ccd.checkpoint.manifest_schema import (
    BlockRecord,
    FileRecord,
    InteractionsRecord,
    OpenBlockRecord,
)
from recbole_ccd.checkpoint.run_directory import DamagedFile, RunDirectory
from recbole_ccd.checkpoint.serving_snapshot import RECORD
from recbole_ccd.checkpoint.stored_interactions import read_vocabulary
from recbole_ccd.utils.atomic_files import atomic_write, load_tensors, save_tensors

_RESULT = "result.json"
_logger = getLogger("recbole_ccd")


def restore_manifest(folder: Path, held: bool = False) -> Manifest | None:
    """The manifest of a folder; a damaged one is replaced by the one before, which the log says.

    Args:
        folder: the run directory.
        held: whether this process holds its lock.

    Returns:
        The manifest; None if there is none.

    Raises:
        RunError: If neither can be read, or it cannot be written.
    """
    found = Manifest.read(folder)
    if found is None:
        return None
    manifest, problem = found
    if problem is not None:
        _logger.warning("%s; going on from the one before", problem)
        with _writing(folder, held):
            FileStore(folder).write(manifest)
    return manifest


def recorded_config(folder: Path, manifest: Manifest | None, held: bool = False) -> dict[str, Any]:
    """The configuration that a run was begun with: by ``config.yaml``, or by what else holds its settings.

    Args:
        folder: the run directory; of a finished run a damaged file is written anew.
        manifest: its manifest; None of a run that was killed before it had one.
        held: whether this process holds its lock.

    Raises:
        RunError: If it cannot be read.
    """
    directory = RunDirectory(folder)
    try:
        config = directory.read_config()
        if manifest is None:
            return config
        lacking = sorted(manifest.settings.keys() - config.keys())
        if not lacking:
            return config
        problem = f"{directory.config} lacks {lacking[0]}"
    except DamagedFile as error:
        if manifest is None:
            raise
        problem = error.what
    config, source = _other_config(folder, manifest)
    _logger.warning("%s; the settings are taken from %s", problem, source)
    if manifest.status == FINISHED:
        with _writing(folder, held):
            directory.write_config(config)
    return config


def _other_config(folder: Path, manifest: Manifest) -> tuple[dict[str, Any], Path]:
    for entry in reversed(manifest.blocks):
        document = _document(folder, entry.result)
        # what may differ, such as where the data lie, is not in the manifest
        if document is not None and settings_of(document["config"]) == manifest.settings:
            return document["config"], entry.result.in_folder(folder)
    return dict(manifest.settings), folder / MANIFEST


def _document(folder: Path, file: FileRecord) -> Any:
    """A document of a checkpoint; None if it is damaged."""
    if file.problem(folder) is not None:
        return None
    return json.loads(file.in_folder(folder).read_text(encoding="utf-8"))


def _writing(folder: Path, held: bool) -> AbstractContextManager:
    return nullcontext() if held else RunLock(folder)


def restore_results(directory: RunDirectory) -> None:
    """Restores ``result.json`` from the checkpoints of a run, where it is damaged or not what was measured.

    While a run is not finished, ``result.json`` may be ahead of them for a moment; then it is restored only
    if it cannot be read.

    Raises:
        RunError: If it cannot be written.
    """
    finished = FinishedRun.find(directory.path)
    if finished is not None:
        finished.document()
        return
    found = Manifest.read(directory.path)
    if found is None or not found[0].blocks:
        return
    try:
        if directory.read_json(_RESULT):
            return
    except DamagedFile as error:
        for entry in reversed(found[0].blocks):
            document = _document(directory.path, entry.result)
            if document is not None:
                source = entry.result.in_folder(directory.path)
                _logger.warning("%s; it is restored from %s", error.what, source)
                directory.write_json(_RESULT, document)
                return


class FinishedRun:
    """A run that has ended, to be looked through.

    Attributes:
        folder: its directory.
        manifest: its manifest.
        last: the last block that has been learned, by the student at least.
    """

    def __init__(self, folder: Path, manifest: Manifest, held: bool) -> None:
        """Takes a run as it is; see :meth:`find`."""
        self.folder, self.manifest, self._held = folder, manifest, held
        self.last: BlockRecord = manifest.open or manifest.blocks[-1]

    @classmethod
    def find(cls, folder: Path, held: bool = False) -> FinishedRun | None:
        """The finished run in a folder; None if there is none.

        Args:
            folder: the folder.
            held: whether this process holds its lock; else it is taken where something is restored.

        Raises:
            RunError: If its manifest cannot be read.
        """
        manifest = restore_manifest(folder, held)
        if manifest is None or manifest.status != FINISHED or not manifest.blocks:
            return None
        return cls(folder, manifest, held)

    def document(self) -> Any:
        """What was measured: ``result.json`` and its copy in the last checkpoint are the same afterwards.

        Returns:
            The document; None if neither is what was written.

        Raises:
            RunError: If one of them cannot be read or written.
        """
        directory, copy = RunDirectory(self.folder), self.last.result
        try:
            shown, problem = directory.read_json(_RESULT), f"{directory.result} is not what was measured"
        except DamagedFile as error:
            shown, problem = None, error.what
        kept = _document(self.folder, copy)
        if kept is None:
            return shown if self._restored_copy(shown) else None
        if shown != kept:
            _logger.warning("%s; it is restored from %s", problem, copy.in_folder(self.folder))
            with _writing(self.folder, self._held):
                directory.write_json(_RESULT, kept)
        return kept

    def _restored_copy(self, shown: Any) -> bool:
        """Restores the document of the last checkpoint, if it is the one that is given."""
        copy, text = self.last.result, json.dumps(shown, sort_keys=True)
        path, problem = copy.in_folder(self.folder), copy.problem(self.folder)
        same = FileRecord.of_text(copy.file, text) == copy
        what = f"it is restored from {_RESULT}" if same else "the last block is learned again"
        _logger.warning("%s %s; %s", path, problem, what)
        if same:
            with _writing(self.folder, self._held):
                FileStore(self.folder).save(copy.below_checkpoints, partial(atomic_write, data=text))
        return same

    def lost(self) -> list[FileRecord]:
        """The files that are damaged and without which the last block is not what it was."""
        needed = [*self.last.files.values(), *(entry.file for entry in self.manifest.rows)]
        # while a block is open the teacher is that of the one before
        if self.manifest.open is not None:
            needed += self.manifest.blocks[-1].all_files()
        return [file for file in needed if file.problem(self.folder) is not None]

    def has_vocabulary(self) -> bool:
        """Whether the tokens are those of the interactions; runs of earlier versions keep neither."""
        try:
            return not self.manifest.rows or bool(read_vocabulary(self.folder, self.manifest.rows[-1]))
        except DamagedFile as error:
            _logger.warning("%s; it is written anew, if the data are there", error.what)
            return False

    def rows(self) -> list[InteractionsRecord]:
        """The interactions that the last block consists of, and those before."""
        rows = [entry for entry in self.manifest.rows if entry.block <= self.last.block]
        earlier = sum(entry.block < self.last.block for entry in rows)
        return rows[: earlier + self.last.arrivals] if isinstance(self.last, OpenBlockRecord) else rows

    def states(self) -> dict[str, dict[str, Tensor]]:
        """Weights of the last block, by the model's name."""
        files = {name: file for name, file in self.last.files.items() if name != RECORD}
        return {name: load_tensors(file.in_folder(self.folder)) for name, file in files.items()}

    def keep_record(self, tensors: Mapping[str, Tensor]) -> None:
        """Writes anew what serving reads of the last block.

        Raises:
            RunError: If it cannot be written.
        """
        file, store = self.last.files[RECORD], FileStore(self.folder)
        with _writing(self.folder, self._held):
            written = store.save(file.below_checkpoints, partial(save_tensors, tensors=tensors))
            # on another machine its last bits may be others
            if written != file:
                self.last.files[RECORD] = written
                store.write(self.manifest)

    def tell_of_others(self) -> None:
        """Logs which files are damaged that only help where others are damaged too, or a block arrives."""
        others = [file for entry in self.manifest.blocks[:-1] for file in entry.all_files()]
        for file in (*others, *(entry.file for entry in self.manifest.stages)):
            problem = file.problem(self.folder)
            if problem is not None:
                path = file.in_folder(self.folder)
                _logger.warning("%s %s; nothing that is finished needs it", path, problem)
