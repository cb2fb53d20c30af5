"""Adds a new block to a run directory, and discards one that was replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.manifest import FINISHED, INTERRUPTED, RUNNING, Manifest
from recbole_ccd.checkpoint.run_directory import RunDirectory
from recbole_ccd.checkpoint.stored_interactions import VOCABULARY, write_rows


def append_interactions(
    folder: Path,
    manifest: Manifest,
    rows: Mapping[str, Tensor],
    vocabulary: Mapping[str, Sequence[str]],
    given: Mapping[str, Tensor],
    source: dict[str, Any],
) -> None:
    """Stores interactions of the block after the last one that student and teacher have learned.

    From the moment the manifest names them the files they came from are not needed any more.

    Args:
        folder: the run directory.
        manifest: its manifest; it is changed, and written by :func:`start_cycle`.
        rows: the interactions.
        vocabulary: tokens known with them, beginning with those known before.
        given: what the files held that they came from, see :class:`~recbole_ccd.data.given_pairs.Given`.
        source: where they came from.

    Raises:
        RunError: If they cannot be written; the run is as it was then.
        OSError: If the tokens cannot be written.
    """
    block = manifest.last_learned + 1
    number = sum(entry.block == block for entry in manifest.rows)
    # the first tokens stay those that earlier blocks are checked against
    RunDirectory(folder).write_json(VOCABULARY, vocabulary)
    manifest.rows.append(write_rows(FileStore(folder), rows, vocabulary, given, block, number, source))


def start_cycle(folder: Path, manifest: Manifest, cycle: str) -> None:
    """Records that an update is under way, so that it can be resumed.

    Args:
        folder: the run directory.
        manifest: its manifest.
        cycle: ``full`` or ``student``.

    Raises:
        RunError: If the manifest cannot be written.
    """
    manifest.status, manifest.cycle = RUNNING, cycle
    FileStore(folder).write(manifest)


def discard_unlearned(folder: Path, manifest: Manifest) -> None:
    """Discards what was added since the last block that student and teacher have learned.

    A block that is being learned again, as its checkpoint was damaged, is none of that.

    Args:
        folder: the run directory.
        manifest: its manifest; it is changed and written.

    Raises:
        RunError: If the manifest cannot be written.
    """
    learned, store = manifest.last_learned, FileStore(folder)
    whole = manifest.last_whole == learned
    manifest.rows = [entry for entry in manifest.rows if entry.block <= learned]
    manifest.stages = [entry for entry in manifest.stages if entry.block <= learned]
    manifest.epochs = manifest.open = manifest.cycle = None
    manifest.status = FINISHED if whole else INTERRUPTED
    store.write(manifest)
    store.prune(manifest)
    if whole:
        document = store.load_document(manifest.blocks[-1].result, "result.json stays ahead of it")
        if document is not None:
            RunDirectory(folder).write_json("result.json", document)
