"""manifest.json: what a run keeps, where it stands, and what it must be gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from recbole_ccd.errors import RunError, one_line
from recbole_ccd.files import Written, atomic_write, digest_of, first_line, sync_folder

FORMAT = 1
MANIFEST, PREVIOUS, _NEXT = "manifest.json", "manifest.previous.json", "manifest.next.json"
RUN, COMPARISON, BASE_MODELS = "run", "comparison", "base models"
RUNNING, INTERRUPTED, FINISHED = "running", "interrupted", "finished"

# names of files come out of a file: plain ones, below the folder
_PLAIN = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*\.(?:pt|json)", re.ASCII)


@dataclass(frozen=True)
class KeptFile:
    """A file of a run directory.

    Attributes:
        file: its path within the directory, with ``/``.
        sha256: digest of its content.
        bytes: its size.
    """

    file: str
    sha256: str
    bytes: int

    @classmethod
    def at(cls, path: Path, folder: Path, written: Written) -> KeptFile:
        """The entry of a file just written."""
        return cls(path.relative_to(folder).as_posix(), *written)

    @classmethod
    def from_dict(cls, document: Any) -> KeptFile:
        """Read an entry.

        Raises:
            ValueError: If the name could lead anywhere but below the folder, or something is missing.
        """
        kept = cls(str(document["file"]), str(document["sha256"]), int(document["bytes"]))
        if not _PLAIN.fullmatch(kept.file) or ".." in kept.file:
            raise ValueError(f"{one_line(repr(kept.file))} is no plain name of a file")
        return kept

    def in_folder(self, folder: Path) -> Path:
        """Where the file lies."""
        return folder / self.file

    def problem(self, folder: Path) -> str | None:
        """What is wrong with the file now; None if it is what was written."""
        try:
            found = digest_of(self.in_folder(folder))
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if found.bytes != self.bytes:
            return f"is damaged ({found.bytes} bytes instead of {self.bytes})"
        return None if found.sha256 == self.sha256 else "is damaged (another checksum)"


@dataclass
class StageEntry:
    """A finished stage.

    Attributes:
        key: its name, unique within the run.
        block: the block it belongs to.
        record: what result.json has of it.
        file: the model's weights.
    """

    key: str
    block: int
    record: Any
    file: KeptFile

    @classmethod
    def from_dict(cls, document: Any) -> StageEntry:
        """Read an entry."""
        file = KeptFile.from_dict(document["file"])
        return cls(str(document["key"]), int(document["block"]), document["record"], file)


@dataclass
class EpochEntry:
    """A stage that is under way.

    Attributes:
        key: the stage's name.
        epochs: epochs finished.
        file: all that the training needs to go on.
    """

    key: str
    epochs: int
    file: KeptFile

    @classmethod
    def from_dict(cls, document: Any) -> EpochEntry:
        """Read an entry."""
        file = KeptFile.from_dict(document["file"])
        return cls(str(document["key"]), int(document["epochs"]), file)


@dataclass
class BlockEntry:
    """A finished block.

    Attributes:
        block: its index.
        files: weights by the model's name.
        result: the result so far.
    """

    block: int
    files: dict[str, KeptFile]
    result: KeptFile

    @classmethod
    def from_dict(cls, document: Any) -> BlockEntry:
        """Read an entry."""
        files = {str(name): KeptFile.from_dict(file) for name, file in document["files"].items()}
        return cls(int(document["block"]), files, KeptFile.from_dict(document["result"]))

    def all_files(self) -> Iterator[KeptFile]:
        """Everything that the checkpoint of the block consists of."""
        yield from self.files.values()
        yield self.result


@dataclass
class Manifest:
    """What stands in manifest.json.

    Attributes:
        kind: ``run``, ``comparison`` (a folder of runs) or ``base models`` (which runs of it share).
        status: ``running`` (or killed), ``interrupted`` or ``finished``.
        versions: of this package and of those that decide about the last bits.
        settings: those that a run must be gone on with; of a comparison none.
        data: see :func:`~recbole_ccd.data.fingerprint.fingerprint_of`.
        blocks: the last two finished blocks, oldest first.
        stages: finished stages that no block's checkpoint contains yet.
        epochs: the stage that is under way, if it has been saved.
        saving: ``seconds`` spent in saving and number of ``saves``.
        runs: of a comparison: label, folder and configuration of each run.
    """

    kind: str
    status: str = RUNNING
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    blocks: list[BlockEntry] = field(default_factory=list)
    stages: list[StageEntry] = field(default_factory=list)
    epochs: EpochEntry | None = None
    saving: dict[str, Any] = field(default_factory=lambda: {"seconds": 0.0, "saves": 0})
    runs: list[dict[str, Any]] = field(default_factory=list)

    def all_files(self) -> Iterator[KeptFile]:
        """Every checkpoint file that is named."""
        for block in self.blocks:
            yield from block.all_files()
        yield from (stage.file for stage in self.stages)
        if self.epochs is not None:
            yield self.epochs.file

    def write(self, folder: Path) -> None:
        """Write it into a folder; the one before is kept beside it.

        Raises:
            OSError: If it cannot be written; there is a readable one then too.
        """
        body = {"format": FORMAT, **asdict(self)}
        document = {**body, "sha256": _checksum(body)}
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        # nothing is moved before there is room for the new one
        atomic_write(folder / _NEXT, text + "\n")
        with suppress(FileNotFoundError):
            os.replace(folder / MANIFEST, folder / PREVIOUS)
        os.replace(folder / _NEXT, folder / MANIFEST)
        sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> tuple[Manifest, str | None] | None:
        """Read the manifest of a folder, or the one before it where it is damaged.

        Args:
            folder: A run directory.

        Returns:
            The manifest and, if it is not the last one, what is wrong with that; None if there is none.

        Raises:
            RunError: If none of the two can be read, or one may not be, or they are of another format.
        """
        problem, found = None, False
        for name in (MANIFEST, PREVIOUS):
            path = folder / name
            try:
                return cls._from_text(path.read_text(encoding="utf-8")), problem
            except (FileNotFoundError, NotADirectoryError):
                problem = problem or f"{path} is missing"
            except PermissionError as error:
                raise RunError(f"{path} cannot be read ({error.strerror}); make it readable") from error
            except RunError as error:
                raise RunError(f"{path} {error}") from None
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                found = True
                problem = problem or f"{path} cannot be read ({one_line(first_line(error))})"
        if not found:
            return None
        raise RunError(f"{problem}, nor can {PREVIOUS}; start the run anew")

    @classmethod
    def _from_text(cls, text: str) -> Manifest:
        document = json.loads(text)
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
        values = {entry.name: document[entry.name] for entry in fields(cls)}
        values["blocks"] = [BlockEntry.from_dict(entry) for entry in values["blocks"]]
        values["stages"] = [StageEntry.from_dict(entry) for entry in values["stages"]]
        if values["epochs"] is not None:
            values["epochs"] = EpochEntry.from_dict(values["epochs"])
        return cls(**values)


def _checksum(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
