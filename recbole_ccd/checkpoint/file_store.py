"""Checkpoint files: written whole, read back only if they are what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_ccd.checkpoint.manifest import MANIFEST, Manifest
from recbole_ccd.checkpoint.manifest_schema import FileRecord
from recbole_ccd.utils.atomic_files import Written, is_temporary, load_tensors, parse_json, read_input
from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.owned_folder import OwnedFolder
from recbole_ccd.utils.resource_errors import not_saved

STAGES = "stages"
"""The folder of stages that no block's checkpoint contains yet."""
ROWS_FOLDER = "interactions"
"""The folder of the interactions of every block."""


class FileStore:
    """The files of a run directory that its manifest names.

    Args:
        folder: the run directory; it is made when something is written, and not again when it is gone then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = OwnedFolder(folder)
        self._logger = getLogger("recbole_ccd")

    def save(self, name: str, write: Callable[[Path], Written]) -> FileRecord:
        """Write a file below ``checkpoints/``.

        Args:
            name: its path there.
            write: writes it.

        Raises:
            RunError: If it cannot be written.
        """
        with self._one_line_errors(self.folder / "checkpoints" / name):
            self._own.make()
            path = self._own.file(f"checkpoints/{name}")
            return FileRecord.at(path, self.folder, write(path))

    def write(self, manifest: Manifest) -> None:
        """Write the manifest.

        Raises:
            RunError: If it cannot be written; the one before can be read then.
        """
        with self._one_line_errors(self.folder / MANIFEST):
            self._own.make()
            manifest.write(self.folder)

    def check(self) -> None:
        """Refuse to go on in a folder that is not the one it was; nothing where it has never been there.

        Raises:
            RunError: If somebody has moved or removed it.
        """
        self._own.check()

    @contextmanager
    def _one_line_errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_saved(path, error, self.folder) from error

    def load(self, file: FileRecord, consequence: str) -> dict[str, Tensor] | None:
        """Named tensors as they were written.

        Args:
            file: the file.
            consequence: what a damaged one leads to, for the log.

        Returns:
            The tensors; None if the file is missing or damaged, which the log says then.
        """
        return self._checked(file, load_tensors, consequence)

    def load_document(self, file: FileRecord, consequence: str) -> Any:
        """A JSON document; arguments and result as of :meth:`load`."""
        return self._checked(file, lambda path: parse_json(read_input(path).decode()), consequence)

    def _checked(self, file: FileRecord, read: Callable[[Path], Any], consequence: str) -> Any:
        path, problem = file.in_folder(self.folder), file.problem(self.folder)
        try:
            if problem is None:
                return read(path)
        except (RunError, OSError, ValueError) as error:
            problem = f"cannot be read ({error})"
        self._logger.warning("%s %s; %s", path, problem, consequence)
        return None

    def prune(self, manifest: Manifest) -> None:
        """Remove checkpoints that the manifest does not name, and what killed processes left half-written."""
        named = {file.in_folder(self.folder) for file in manifest.all_files()}
        for pattern in (STAGES, ROWS_FOLDER, "block-*"):
            for folder in list(self._own.folders(f"checkpoints/{pattern}")):
                for path in list(folder.iterdir()):
                    if path.suffix in (".pt", ".json", ".tmp") and path not in named:
                        self._own.remove(path)
                with suppress(OSError):  # it is not empty
                    folder.rmdir()
        for path in list(self.folder.glob(".*.tmp")):
            if is_temporary(path):
                self._own.remove(path)
