"""The interactions and tokens that a run directory keeps, and how they are read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_ccd.data.given import Given
from recbole_ccd.data.interactions import Interactions
from recbole_ccd.errors import RunError, one_line
from recbole_ccd.files import load_tensors, save_tensors
from recbole_ccd.state.directory import RunDirectory
from recbole_ccd.state.entries import KeptFile, RowsEntry
from recbole_ccd.state.store import ROWS_FOLDER, Store

VOCABULARY = "vocabulary.json"

REMEDY = "restore it from a copy, or start the run anew"
"""Of a file without which nothing can be done."""


def write_rows(
    store: Store,
    rows: Mapping[str, Tensor],
    vocabulary: Mapping[str, Sequence[str]],
    given: Mapping[str, Tensor],
    block: int,
    number: int = 0,
    source: dict[str, Any] | None = None,
) -> RowsEntry:
    """Writes a file of interactions and one of what was given, which are not written again.

    Args:
        store: the files of the run directory.
        rows: ``users``, ``items`` and ``parts``, see :class:`~recbole_ccd.data.interactions.Interactions`.
        vocabulary: tokens of the ``users`` and ``items`` known with them.
        given: what the files held that they came from, see :class:`~recbole_ccd.data.given.Given`.
        block: the block they belong to.
        number: how many files of the block have come before.
        source: see :class:`~recbole_ccd.state.manifest.RowsEntry`.

    Returns:
        The manifest's entry for it.

    Raises:
        RunError: it cannot be written.
    """
    name = f"block-{block}" if not number else f"block-{block}-{number + 1}"
    file = store.save(f"{ROWS_FOLDER}/{name}.pt", partial(save_tensors, tensors=rows))
    held = store.save(f"{ROWS_FOLDER}/{name}-given.pt", partial(save_tensors, tensors=given))
    known = (len(vocabulary["users"]), len(vocabulary["items"]))
    return RowsEntry(block, known, digest_of(vocabulary), file, source, held)


def read_rows(folder: Path, entries: Sequence[RowsEntry]) -> Interactions:
    """The interactions that a run keeps.

    Args:
        folder: the run directory.
        entries: which, from block 0 on.

    Raises:
        RunError: a file is missing, damaged or not what it should be.
    """
    arrivals = [(entry.block, read_tensors(folder, entry.file)) for entry in entries]
    try:
        return Interactions.joined(arrivals)
    except (KeyError, ValueError) as error:
        where = folder / "checkpoints" / ROWS_FOLDER
        raise RunError(f"{where} holds no interactions ({one_line(error)}); {REMEDY}") from error


def read_given(folder: Path, entries: Sequence[RowsEntry]) -> Given:
    """What a run has been given.

    Args:
        folder: the run directory.
        entries: with which interactions.

    Raises:
        RunError: a file is missing, damaged or not what it should be, or the run is of an earlier version.
    """
    files = [entry.given for entry in entries if entry.given is not None]
    if len(files) < len(entries):
        raise RunError(
            f"{folder} is of an earlier version, which kept no record of what the run was given; start the "
            "run anew"
        )
    try:
        return Given.joined([Given.from_tensors(read_tensors(folder, file)) for file in files])
    except KeyError as error:
        where = folder / "checkpoints" / ROWS_FOLDER
        raise RunError(f"{where} holds no record of what the run was given; {REMEDY}") from error


def read_tensors(folder: Path, file: KeptFile) -> dict[str, Tensor]:
    """Named tensors without which nothing can be done.

    Raises:
        RunError: the file is missing or not what was written.
    """
    problem = file.problem(folder)
    if problem is not None:
        raise RunError(f"{file.in_folder(folder)} {problem}; {REMEDY}")
    return load_tensors(file.in_folder(folder))


def read_vocabulary(folder: Path, entry: RowsEntry) -> dict[str, list[str]]:
    """Tokens known with some interactions, in order of id; the file may be ahead of them for a moment.

    Raises:
        RunError: the file is missing, damaged or of another run.
    """
    document = RunDirectory(folder).read_json(VOCABULARY)
    try:
        known = zip(("users", "items"), entry.known, strict=True)
        tokens = {name: list(map(str, document[name][:n])) for name, n in known}
        same = digest_of(tokens) == entry.vocabulary
    except (KeyError, TypeError):
        same = False
    if not same:
        raise RunError(f"{folder / VOCABULARY} is damaged or that of another run; {REMEDY}")
    return tokens


def digest_of(vocabulary: Mapping[str, Sequence[str]]) -> str:
    """What tells tokens of ``users`` and ``items`` from others, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in ("users", "items"):
        for token in vocabulary[name]:
            digest.update(token.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()
