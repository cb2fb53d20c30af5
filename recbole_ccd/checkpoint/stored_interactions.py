"""The interactions and tokens that a run directory keeps, and how they are read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_ccd.checkpoint.file_store import ROWS_FOLDER, FileStore
from recbole_ccd.checkpoint.manifest_schema import FileRecord, InteractionsRecord
from recbole_ccd.checkpoint.run_directory import DamagedFile, RunDirectory
from recbole_ccd.data.given_pairs import Given
from recbole_ccd.data.interactions import Interactions
from recbole_ccd.utils.atomic_files import load_tensors, save_tensors
from recbole_ccd.utils.errors import RunError, one_line

VOCABULARY = "vocabulary.json"

REMEDY = "restore it from a copy, or start the run anew"
"""Of a file without which nothing can be done."""


def write_rows(
    store: FileStore,
    rows: Mapping[str, Tensor],
    vocabulary: Mapping[str, Sequence[str]],
    given: Mapping[str, Tensor],
    block: int,
    number: int = 0,
    source: dict[str, Any] | None = None,
) -> InteractionsRecord:
    """Writes a file of interactions and one of what was given, which are not written again.

    Args:
        store: the files of the run directory.
        rows: ``users``, ``items`` and ``parts``, see :class:`~recbole_ccd.data.interactions.Interactions`.
        vocabulary: tokens of the ``users`` and ``items`` known with them.
        given: what the files held that they came from, see :class:`~recbole_ccd.data.given_pairs.Given`.
        block: the block they belong to.
        number: how many files of the block have come before.
        source: see :class:`~recbole_ccd.checkpoint.manifest_schema.InteractionsRecord`.

    Returns:
        The manifest's entry for it.

    Raises:
        RunError: If it cannot be written.
    """
    name = f"block-{block}" if not number else f"block-{block}-{number + 1}"
    file = store.save(f"{ROWS_FOLDER}/{name}.pt", partial(save_tensors, tensors=rows))
    held = store.save(f"{ROWS_FOLDER}/{name}-given.pt", partial(save_tensors, tensors=given))
    known = (len(vocabulary["users"]), len(vocabulary["items"]))
    return InteractionsRecord(block, known, digest_of(vocabulary), file, source, held)


def read_rows(folder: Path, entries: Sequence[InteractionsRecord]) -> Interactions:
    """The interactions that a run keeps.

    Args:
        folder: the run directory.
        entries: which, from block 0 on.

    Raises:
        RunError: If a file is missing, damaged or not what it should be.
    """
    remedy = _remedy(folder, entries[-1])
    arrivals = [(entry.block, read_tensors(folder, entry.file, remedy)) for entry in entries]
    try:
        return Interactions.joined(arrivals)
    except (KeyError, ValueError) as error:
        where = folder / "checkpoints" / ROWS_FOLDER
        raise RunError(f"{where} holds no interactions ({one_line(error)}); {REMEDY}") from error


def _remedy(folder: Path, entry: InteractionsRecord) -> str:
    # what has come by an update is nowhere else
    return restored_by(folder) if entry.source is None else REMEDY


def restored_by(folder: Path) -> str:
    """What to do about a damaged file that can be made anew of others, or of the data."""
    return f"restore it by --resume={folder}, or from a copy"


def read_given(folder: Path, entries: Sequence[InteractionsRecord]) -> Given:
    """What a run has been given.

    Args:
        folder: the run directory.
        entries: with which interactions.

    Raises:
        RunError: If a file is missing, damaged or not what it should be, or the run is of an earlier version.
    """
    kept = [(entry, entry.given) for entry in entries if entry.given is not None]
    if len(kept) < len(entries):
        raise RunError(
            f"{folder} is of an earlier version, which kept no record of what the run was given; start the "
            "run anew"
        )
    try:
        parts = [read_tensors(folder, given, _remedy(folder, entry)) for entry, given in kept]
        return Given.joined([Given.from_tensors(part) for part in parts])
    except KeyError as error:
        where = folder / "checkpoints" / ROWS_FOLDER
        raise RunError(f"{where} holds no record of what the run was given; {REMEDY}") from error


def read_tensors(folder: Path, file: FileRecord, remedy: str | None = None) -> dict[str, Tensor]:
    """Named tensors without which nothing can be done.

    Args:
        folder: the run directory.
        file: where they are.
        remedy: what to do if it is damaged; None if it can be made anew.

    Raises:
        RunError: If the file is missing or not what was written.
    """
    problem = file.problem(folder)
    if problem is not None:
        raise RunError(f"{file.in_folder(folder)} {problem}; {remedy or restored_by(folder)}")
    return load_tensors(file.in_folder(folder))


def read_vocabulary(folder: Path, entry: InteractionsRecord) -> dict[str, list[str]]:
    """Tokens known with some interactions, in order of id; the file may be ahead of them for a moment.

    Raises:
        RunError: If the file is missing, damaged or of another run.
    """
    try:
        document = RunDirectory(folder).read_json(VOCABULARY)
    except DamagedFile as error:
        raise DamagedFile(error.what, _remedy(folder, entry)) from error
    try:
        known = zip(("users", "items"), entry.known, strict=True)
        tokens = {name: list(map(str, document[name][:n])) for name, n in known}
        same = digest_of(tokens) == entry.vocabulary
    except (KeyError, TypeError):
        same = False
    if not same:
        what = f"{folder / VOCABULARY} is damaged or that of another run"
        raise DamagedFile(what, _remedy(folder, entry))
    return tokens


def digest_of(vocabulary: Mapping[str, Sequence[str]]) -> str:
    """The digest of the tokens of ``users`` and ``items``, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in ("users", "items"):
        for token in vocabulary[name]:
            digest.update(token.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()
