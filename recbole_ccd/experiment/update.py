"""Tomorrow's block: a finished run takes in new interactions and goes on from there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_ccd.checkpoint import Manifest, RunDirectory, RunLock
from recbole_ccd.checkpoint.ingest import append_interactions, discard_unlearned, start_cycle
from recbole_ccd.checkpoint.manifest import FINISHED, FULL, RUN, STUDENT
from recbole_ccd.checkpoint.manifest_schema import InteractionsRecord
from recbole_ccd.checkpoint.restoration import recorded_config, restore_manifest
from recbole_ccd.checkpoint.stored_interactions import read_given, read_rows, read_vocabulary
from recbole_ccd.config import CCDConfig
from recbole_ccd.data.new_block import (
    Files,
    NewBlock,
    check_later,
    check_unlearned,
    divided,
    filtered,
    new_files,
    numbered,
    read_new_block,
)
from recbole_ccd.data.stored_stream import StoredStream
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.experiment.run import (
    execute,
    finished_result,
    load_manifest,
    rebuild_config,
    show_finished,
    strategy_in,
)
from recbole_ccd.report.log import RunLog
from recbole_ccd.strategy import strategy_class
from recbole_ccd.utils.atomic_files import given_path
from recbole_ccd.utils.errors import ConfigError, DataError, RunError, one_line
from recbole_ccd.utils.guard import guarded
from recbole_ccd.utils.resource_errors import translate_resource_errors
from recbole_ccd.utils.seeding import exclusive
from recbole_ccd.utils.signals import resumable

if TYPE_CHECKING:
    from torch import Tensor

    from recbole_ccd.utils.signals import InterruptHandler

CYCLES = (FULL, STUDENT)


@guarded("the run directory, or the new block,")
@exclusive()
def update(
    run_dir: str | os.PathLike[str],
    new_block: Files | None = None,
    cycle: str = FULL,
    replace: bool = False,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    stop: InterruptHandler | None = None,
    allow_repeated: bool = False,
) -> StreamResult:
    """Goes on with a finished run on a block that was not there yet when it was begun.

    The run directory and the new file are all that is read. A full cycle gives what a run on all blocks
    would have given, bit for bit on the same machine and a CPU. With ``cycle="student"`` the student of
    ``ccd`` learns the interactions at once and the block stays open: further files are further parts of it,
    until a full cycle lets the teacher learn all of them. An update that was interrupted is resumed by
    calling it again or by :func:`~recbole_ccd.resume`; what was learned before remains in use meanwhile.

    Args:
        run_dir: the run directory.
        new_block: an atomic ``.inter`` file, which is divided into train, valid and test; or three. None
            closes the block that is open, or goes on with an update that was interrupted.
        cycle: ``full``, or ``student``.
        replace: lets go of what has arrived and the teacher has not learned, before the new block is read.
        config_file_list: YAML files laid over the run's configuration, as in
            :func:`~recbole_ccd.resume`.
        config_dict: keys laid over the files.
        argv: ``--key=value`` arguments laid over all.
        stop: who may want it to end early; None for nobody.
        allow_repeated: says that most pairs of user and item in the new block were given before because they
            have met again, and not because the file, or a part of it, was given before.

    Returns:
        The measurements, a row longer than before.

    Raises:
        CCDError: the run cannot be updated, or the new block not be used, before anything is changed; or
            what went wrong in training.
    """
    folder = given_path("run_dir", run_dir, "a run directory")
    _updatable(folder)
    if cycle not in CYCLES:
        raise ConfigError(f"cycle is {one_line(repr(cycle))}; give one of: {', '.join(CYCLES)}")
    files = None if new_block is None else new_files(new_block)
    with resumable(folder), RunLock(folder):
        # by now, nobody else is at it
        restore_manifest(folder, held=True)
        manifest = _updatable(folder)
        recorded = recorded_config(folder, manifest, held=True)
        sources = (config_file_list, config_dict, argv)
        config = rebuild_config(folder, recorded, *sources, settings=manifest.settings)
        cycle = _possible(config, cycle)
        arrival = None if files is None else read_new_block(config, files)
        result = finished_result(folder, config, held=True)
        # with what has been restored
        manifest = _updatable(folder)
        if _is_done(folder, manifest, arrival, cycle, replace) and result is not None:
            show_finished(folder, result, config)
            return result
        return _update(folder, manifest, config, arrival, cycle, replace, allow_repeated, stop)


def stored_stream(folder: Path, manifest: Manifest, config: CCDConfig) -> StoredStream:
    """All blocks that a run has been given, those that have arrived by an update among them.

    Args:
        folder: the run directory.
        manifest: its manifest.
        config: the run's configuration.

    Raises:
        RunError: they cannot be read.
    """
    rows, vocabulary = read_rows(folder, manifest.rows), read_vocabulary(folder, manifest.rows[-1])
    return StoredStream(config, rows, vocabulary, manifest.data)


def cycle_of(manifest: Manifest) -> str:
    """The cycle that a run is to be resumed with."""
    return manifest.cycle or (FULL if manifest.open is None else STUDENT)


def _updatable(folder: Path) -> Manifest:
    """The manifest of a run that has followed all its blocks."""
    manifest = load_manifest(folder)
    if manifest is not None and manifest.kind != RUN:
        held = ", ".join(str(run.get("folder")) for run in manifest.runs)
        which = f", such as one of: {one_line(held)}" if held else ""
        raise RunError(f"{folder} holds {manifest.kind} and no single run; give the folder of a run{which}")
    if manifest is None or (manifest.status != FINISHED and not manifest.is_updated):
        raise RunError(f"the run in {folder} is not finished; go on with it first: --resume={folder}")
    if len(manifest.rows) <= manifest.last_whole:
        raise RunError(
            f"{folder} is of an earlier version, which kept no interactions to go on from; start the run anew"
        )
    return manifest


def _possible(config: CCDConfig, cycle: str) -> str:
    """The cycle that is gone through: without a teacher every one is full."""
    strategy = strategy_class(config)
    if cycle == STUDENT and strategy.keeps_teacher and not strategy.student_cycle:
        raise ConfigError(
            f"cycle is student, and the student of strategy {config['strategy']} learns from a teacher that "
            "has learned the block; leave cycle out"
        )
    if cycle == STUDENT and strategy.student_cycle and config["mutual_learning"]:
        raise ConfigError(
            "cycle is student, and with mutual_learning the student learns a block together with the "
            "teacher; leave cycle out"
        )
    return cycle if strategy.student_cycle else FULL


def _open_rows(manifest: Manifest) -> list[InteractionsRecord]:
    """What has arrived and the teacher has not learned."""
    return [entry for entry in manifest.rows if entry.block > manifest.last_learned]


def _known(manifest: Manifest, arrival: NewBlock) -> InteractionsRecord | None:
    """The entry of rows that have arrived before."""
    return next(
        (entry for entry in manifest.rows if entry.source and entry.source["sha256"] == arrival.sha256), None
    )


def _is_done(folder: Path, manifest: Manifest, arrival: NewBlock | None, cycle: str, replace: bool) -> bool:
    """Whether an update has been done before; refuses those that cannot be.

    Raises:
        ConfigError: there is nothing to learn.
        DataError: the rows are those of an earlier block.
        RunError: another update is under way.
    """
    waiting, under_way = _open_rows(manifest), manifest.status != FINISHED
    if arrival is None:
        if not (waiting or under_way or manifest.is_updated):
            raise ConfigError(f"no block is open in {folder}; give new_block a file")
        # where none is open any more, an update that was killed after its end is asked for once more
        return not under_way and (cycle == STUDENT or not waiting)
    found = _known(manifest, arrival)
    if found is None:
        if under_way and not replace:
            raise _under_way(folder, manifest, discard_unlearned=bool(waiting))
        if under_way and not waiting:
            raise _under_way(folder, manifest, discard_unlearned=False)
        return False
    if found.block < manifest.rows[-1].block or (under_way and found is not manifest.rows[-1]):
        raise DataError(
            f"{arrival.label}: these interactions are in block {found.block} already; give the next ones"
        )
    return not under_way and (cycle == STUDENT or not waiting)


def _under_way(folder: Path, manifest: Manifest, discard_unlearned: bool) -> RunError:
    """The error of a block that has to wait; one that has been learned is not let go of."""
    source = manifest.rows[-1].source
    what = "block" if source is None else one_line(source["files"][0])
    remedy = f"go on with it first by --resume={folder}"
    if discard_unlearned:
        return RunError(
            f"an update of {folder} with {what} is under way; {remedy}, or let go of it by --replace=True"
        )
    again = f"block {manifest.last_learned} of {folder} is being learned again"
    return RunError(f"{again}, as its checkpoint was damaged, and is not let go of; {remedy}")


@dataclass(frozen=True)
class _TakenIn:
    """A new block that can be learned, with what is known then."""

    arrival: NewBlock
    rows: dict[str, Tensor]
    vocabulary: dict[str, list[str]]
    remark: str | None


def _update(
    folder: Path,
    manifest: Manifest,
    config: CCDConfig,
    arrival: NewBlock | None,
    cycle: str,
    replace: bool,
    allow_repeated: bool,
    stop: InterruptHandler | None,
) -> StreamResult:
    if arrival is not None and _known(manifest, arrival) is not None:
        arrival = None
    kept, block = _kept_rows(manifest, replace and arrival is not None), manifest.last_learned + 1
    interactions, vocabulary = read_rows(folder, kept), read_vocabulary(folder, kept[-1])
    new = None
    if arrival is not None:
        new = _looked_at(folder, config, arrival, kept, block, vocabulary, allow_repeated)
        interactions = interactions.with_more(block, new.rows)
        vocabulary = new.vocabulary
    stream = StoredStream(config, interactions, vocabulary, manifest.data)
    strategy = strategy_in(folder, config)
    strategy.check_new_block(stream)
    with strategy.run_state.workers:
        # from here on the folder changes
        RunDirectory.prepare(folder)
        with translate_resource_errors(folder, lambda: "taking in the new block"):
            if new is not None:
                _take_in(folder, manifest, new, config, replaced=len(kept) < len(manifest.rows))
            begun = cycle if _open_rows(manifest) else FULL
            start_cycle(folder, manifest, begun)
        return execute(strategy, stream, stop, begun)


def _looked_at(
    folder: Path,
    config: CCDConfig,
    arrival: NewBlock,
    kept: Sequence[InteractionsRecord],
    block: int,
    vocabulary: Mapping[str, Sequence[str]],
    allow_repeated: bool,
) -> _TakenIn:
    """A new block filtered, checked, divided and numbered."""
    given, before = read_given(folder, kept), [entry for entry in kept if entry.block < block]
    left = filtered(arrival, config, given)
    if not allow_repeated:
        check_unlearned(left, given)
    # files of a block that is open may come in any order
    remark = check_later(left, (given if len(before) == len(kept) else read_given(folder, before)).newest)
    rows = divided(left, config, block, len(kept) - len(before))
    return _TakenIn(arrival, *numbered(rows, vocabulary), remark)


def _take_in(folder: Path, manifest: Manifest, new: _TakenIn, config: CCDConfig, replaced: bool) -> None:
    if replaced:
        discard_unlearned(folder, manifest)
    source = {"files": new.arrival.names, "sha256": new.arrival.sha256}
    append_interactions(folder, manifest, new.rows, new.vocabulary, new.arrival.contents.tensors, source)
    if new.remark is not None:
        with RunLog(RunDirectory(folder).log, config["state"], config["show_epochs"]):
            getLogger("recbole_ccd").warning(new.remark)


def _kept_rows(manifest: Manifest, without_open: bool) -> list[InteractionsRecord]:
    return [entry for entry in manifest.rows if not without_open or entry.block <= manifest.last_learned]
