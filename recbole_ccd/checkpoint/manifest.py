"""manifest.json: what a run keeps, where it stands, and what it must be resumed with."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from recbole_ccd.checkpoint.manifest_schema import (
    BlockRecord,
    EpochRecord,
    FileRecord,
    InteractionsRecord,
    OpenBlockRecord,
    StageRecord,
)
from recbole_ccd.utils.atomic_files import atomic_write, first_line, parse_json, read_input, sync_folder
from recbole_ccd.utils.errors import RunError, one_line

FORMAT = 1
MANIFEST, PREVIOUS, NEXT = "manifest.json", "manifest.previous.json", "manifest.next.json"
RUN, COMPARISON, SEARCH, BASE_MODELS = "run", "comparison", "search", "base models"
RUNNING, INTERRUPTED, FINISHED = "running", "interrupted", "finished"
FULL, STUDENT = "full", "student"
_KINDS: dict[str, type] = {
    **dict.fromkeys(("kind", "status"), str),
    **dict.fromkeys(("versions", "settings", "data", "saving"), dict),
    **dict.fromkeys(("blocks", "stages", "runs", "rows", "sessions"), list),
}
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass
class Manifest:
    """What stands in manifest.json.

    Attributes:
        kind: ``run``, ``comparison`` (a folder of runs), ``search`` (one of trials) or ``base models`` (which
            runs of these share).
        status: ``running`` (or killed), ``interrupted`` or ``finished``.
        versions: of this package and of those that decide about the last bits.
        settings: those that a run must be resumed with; of a comparison none; of a search what is searched,
            how, and what all its runs have set alike.
        data: see :func:`~recbole_ccd.data.fingerprint.fingerprint_of`.
        blocks: the last two finished blocks, oldest first.
        stages: finished stages that no block's checkpoint contains yet.
        epochs: the stage that is under way, if it has been saved.
        saving: ``seconds`` spent in saving and number of ``saves``.
        runs: of a comparison: label, folder and configuration of each run; of a search: folder, values and
            runs of each trial, and why it failed.
        rows: the interactions of every block so far, in order; only ever added to.
        open: the block that the student alone has learned, if there is one.
        cycle: of an update that is under way: ``full`` or ``student``.
        learned: the last block that student and teacher have ever learned, whatever has become of its
            checkpoint; -1 if there is none.
        sessions: the processes that have worked on it, see :func:`~recbole_ccd.checkpoint.session.session`;
            none of them are those of an earlier version.
    """

    kind: str
    status: str = RUNNING
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    blocks: list[BlockRecord] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    epochs: EpochRecord | None = None
    saving: dict[str, Any] = field(default_factory=lambda: {"seconds": 0.0, "saves": 0})
    runs: list[dict[str, Any]] = field(default_factory=list)
    rows: list[InteractionsRecord] = field(default_factory=list)
    open: OpenBlockRecord | None = None
    cycle: str | None = None
    learned: int = -1
    sessions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last_whole(self) -> int:
        """The last block of which there is a checkpoint of student and teacher; -1 if there is none."""
        return self.blocks[-1].block if self.blocks else -1

    @property
    def last_learned(self) -> int:
        """The last block that student and teacher have learned, its checkpoint being intact or not."""
        return max(self.learned, self.last_whole)

    @property
    def is_updated(self) -> bool:
        """Whether blocks have arrived since the run was begun."""
        return any(entry.source is not None for entry in self.rows)

    def all_files(self) -> Iterator[FileRecord]:
        """Every checkpoint file that is named."""
        for block in self.blocks:
            yield from block.all_files()
        if self.open is not None:
            yield from self.open.all_files()
        for rows in self.rows:
            yield from rows.all_files()
        yield from (stage.file for stage in self.stages)
        if self.epochs is not None:
            yield self.epochs.file

    def write(self, folder: Path) -> None:
        """Write it into a folder; the one before stays beside it.

        Raises:
            OSError: If it cannot be written; there is a readable one then too.
        """
        body = {"format": FORMAT, **asdict(self)}
        document = {**body, "sha256": _checksum(body)}
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        # nothing is moved before there is room for the new one
        atomic_write(folder / NEXT, text + "\n")
        # a damaged one does not take the place of the one before
        if self._is_whole(folder / MANIFEST):
            os.replace(folder / MANIFEST, folder / PREVIOUS)
        os.replace(folder / NEXT, folder / MANIFEST)
        sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> tuple[Manifest, str | None] | None:
        """Read the manifest of a folder, or the one before it where it is damaged.

        Args:
            folder: the run directory.

        Returns:
            The manifest and, if it is not the last one, what is wrong with that; None if there is none.

        Raises:
            RunError: If none of the two can be read, or one may not be, or they are of another format.
        """
        problem, found = None, False
        for name in (MANIFEST, PREVIOUS):
            path = folder / name
            try:
                return cls._from_text(read_input(path).decode()), problem
            except (FileNotFoundError, NotADirectoryError):
                problem = problem or f"{path} is missing"
            except PermissionError as error:
                raise RunError(f"{path} cannot be read ({error.strerror}); make it readable") from error
            except RunError as error:
                raise RunError(f"{path} {error}") from None
            except _UNREADABLE as error:
                found = True
                problem = problem or f"{path} cannot be read ({one_line(first_line(error))})"
        if not found:
            return None
        raise RunError(f"{problem}, nor can {PREVIOUS}; start the run anew")

    @classmethod
    def _is_whole(cls, path: Path) -> bool:
        try:
            cls._from_text(path.read_text(encoding="utf-8"))
        except (*_UNREADABLE, RunError):
            return False
        return True

    @classmethod
    def _from_text(cls, text: str) -> Manifest:
        document = parse_json(text)
        if not isinstance(document, dict):
            raise ValueError("it holds no mapping")
        if document.get("format") != FORMAT:
            shown = one_line(repr(document.get("format")))
            raise RunError(
                f"is of format {shown}, and this version goes on with format {FORMAT}; take the version that "
                "began the run, or start it anew"
            )
        checksum = document.pop("sha256")
        if checksum != _checksum(document):
            raise ValueError("its checksum is wrong")
        values = {entry.name: document[entry.name] for entry in fields(cls) if entry.name in document}
        # a right checksum says that nothing was damaged, and not who wrote it
        wrong = [name for name, kind in _KINDS.items() if not isinstance(values.get(name, kind()), kind)]
        if wrong or not all(isinstance(run, dict) for run in values.get("runs", ())):
            raise ValueError(f"{', '.join(wrong) or 'runs'}: not what belongs there")
        values["blocks"] = [BlockRecord.from_dict(entry) for entry in values["blocks"]]
        values["stages"] = [StageRecord.from_dict(entry) for entry in values["stages"]]
        values["rows"] = [InteractionsRecord.from_dict(entry) for entry in values.get("rows", ())]
        if values.get("open") is not None:
            values["open"] = OpenBlockRecord.from_dict(values["open"])
        if values["epochs"] is not None:
            values["epochs"] = EpochRecord.from_dict(values["epochs"])
        return cls(**values)


def _checksum(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
