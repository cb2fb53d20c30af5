"""What manifest.json says of the files that it names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_ccd.utils.atomic_files import Written, digest_of
from recbole_ccd.utils.errors import one_line

# names of files come out of a file: plain ones, below the folder
_PLAIN = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*\.(?:pt|json)", re.ASCII)


@dataclass(frozen=True)
class FileRecord:
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
    def at(cls, path: Path, folder: Path, written: Written) -> FileRecord:
        """The entry of a file just written."""
        return cls(path.relative_to(folder).as_posix(), *written)

    @classmethod
    def from_dict(cls, document: Any) -> FileRecord:
        """Reads an entry of the manifest.

        Raises:
            ValueError: If the name could lead anywhere but below the folder, or something is missing.
        """
        record = cls(str(document["file"]), str(document["sha256"]), int(document["bytes"]))
        if not _PLAIN.fullmatch(record.file) or ".." in record.file:
            raise ValueError(f"{one_line(repr(record.file))} is no plain name of a file")
        return record

    @classmethod
    def of_text(cls, file: str, text: str) -> FileRecord:
        """The entry that a file would have which holds a text."""
        data = text.encode()
        return cls(file, hashlib.sha256(data).hexdigest(), len(data))

    @property
    def below_checkpoints(self) -> str:
        """Its path below ``checkpoints/``."""
        return self.file.removeprefix("checkpoints/")

    def in_folder(self, folder: Path) -> Path:
        """The path of the file in a run directory."""
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
class StageRecord:
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
    file: FileRecord

    @classmethod
    def from_dict(cls, document: Any) -> StageRecord:
        """Reads an entry of the manifest."""
        file = FileRecord.from_dict(document["file"])
        return cls(str(document["key"]), int(document["block"]), document["record"], file)


@dataclass
class EpochRecord:
    """A stage that is under way.

    Attributes:
        key: the stage's name.
        epochs: epochs finished.
        file: all that the training needs to go on.
    """

    key: str
    epochs: int
    file: FileRecord

    @classmethod
    def from_dict(cls, document: Any) -> EpochRecord:
        """Reads an entry of the manifest."""
        file = FileRecord.from_dict(document["file"])
        return cls(str(document["key"]), int(document["epochs"]), file)


@dataclass
class BlockRecord:
    """A finished block.

    Attributes:
        block: its index.
        files: weights by the model's name.
        result: the result so far.
    """

    block: int
    files: dict[str, FileRecord]
    result: FileRecord

    @classmethod
    def from_dict(cls, document: Any) -> BlockRecord:
        """Reads an entry of the manifest."""
        files = {str(name): FileRecord.from_dict(file) for name, file in document["files"].items()}
        return cls(int(document["block"]), files, FileRecord.from_dict(document["result"]))

    def all_files(self) -> Iterator[FileRecord]:
        """Everything that the checkpoint of the block consists of."""
        yield from self.files.values()
        yield self.result


@dataclass
class OpenBlockRecord(BlockRecord):
    """A block that the student has learned so far and the teacher has not.

    Attributes:
        arrivals: how many files of the block it has learned.
    """

    arrivals: int

    @classmethod
    def from_dict(cls, document: Any) -> OpenBlockRecord:
        """Reads an entry of the manifest."""
        whole = BlockRecord.from_dict(document)
        return cls(whole.block, whole.files, whole.result, int(document["arrivals"]))


@dataclass
class InteractionsRecord:
    """Interactions that the run has been given: a block, or a part of one that arrived by itself.

    Attributes:
        block: the block's index.
        known: users and items known with them, [PAD] included.
        vocabulary: digest of the tokens of these, see
            :func:`~recbole_ccd.checkpoint.stored_interactions.digest_of`.
        file: the interactions.
        source: of those that arrived by an update the ``files`` they came from and the ``sha256`` of what
            these held; None of those that the run was begun with.
        given: what these files held, see :class:`~recbole_ccd.data.given_pairs.Given`; None of runs of an
            earlier version.
    """

    block: int
    known: tuple[int, int]
    vocabulary: str
    file: FileRecord
    source: dict[str, Any] | None = None
    given: FileRecord | None = None

    @classmethod
    def from_dict(cls, document: Any) -> InteractionsRecord:
        """Reads an entry of the manifest."""
        users, items = map(int, document["known"])
        file, source = FileRecord.from_dict(document["file"]), document["source"]
        if source is not None:
            source = {"files": list(map(str, source["files"])), "sha256": str(source["sha256"])}
        given = document.get("given")
        given = None if given is None else FileRecord.from_dict(given)
        return cls(int(document["block"]), (users, items), str(document["vocabulary"]), file, source, given)

    def all_files(self) -> Iterator[FileRecord]:
        """The files of the entry."""
        yield self.file
        if self.given is not None:
            yield self.given
