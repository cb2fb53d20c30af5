"""A run in its directory: begun there, found there again, and resumed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_ccd.checkpoint import CheckpointManager, Manifest, RunDirectory
from recbole_ccd.checkpoint.compatibility import check_settings, settings_of
from recbole_ccd.checkpoint.manifest import FULL
from recbole_ccd.checkpoint.restoration import FinishedRun, recorded_config
from recbole_ccd.checkpoint.serving_snapshot import RECORD, ServingSnapshot
from recbole_ccd.checkpoint.stored_interactions import read_rows, read_vocabulary
from recbole_ccd.config import CCDConfig
from recbole_ccd.config.sources import argument_list, read_layers
from recbole_ccd.config.yaml_reader import merged
from recbole_ccd.data.stored_stream import StoredStream
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.registry import KEY
from recbole_ccd.report.log import RunLog
from recbole_ccd.report.tables import final_table, stream_table
from recbole_ccd.report.writing import REPORT
from recbole_ccd.strategy import BaseModels, Strategy, strategy_class
from recbole_ccd.strategy.evaluation import final_vectors
from recbole_ccd.utils.commands import named, request
from recbole_ccd.utils.errors import RunError, one_line
from recbole_ccd.utils.resource_errors import translate_resource_errors
from recbole_ccd.utils.signals import resumable
from recbole_ccd.utils.wandb_log import wandb_run

if TYPE_CHECKING:
    from recbole_ccd.utils.signals import InterruptHandler

_FILES = "--config_files="


def strategy_of(
    config: CCDConfig, run_directory: RunDirectory | None = None, base_models: BaseModels | None = None
) -> Strategy:
    """The configured strategy, untrained; arguments as of :class:`~recbole_ccd.strategy.Strategy`."""
    return strategy_class(config)(config, run_directory, base_models)


def strategy_in(
    where: str | os.PathLike[str], config: CCDConfig, base_models: BaseModels | None = None
) -> Strategy:
    """The configured strategy, which knows its run directory before there is one."""
    run_directory = RunDirectory(where)
    config["run_dir"], config["checkpoint_dir"] = str(run_directory.path), str(run_directory.checkpoints)
    return strategy_of(config, run_directory, base_models)


def split_resume(
    argv: Sequence[str] | None, resume: str | os.PathLike[str] | None = None
) -> tuple[list[str], str | None]:
    """The arguments without ``--resume=DIR``, and the run directory to go on with, if there is one.

    Args:
        argv: all arguments.
        resume: a directory that is taken in the place of DIR.

    Raises:
        ConfigError: DIR is nothing, or there are two.
    """
    asked = request(named("resume"), argument_list(argv))
    return asked.rest, asked.values["resume"] if resume is None else os.fspath(resume)


def load_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run or of a comparison that is to be resumed.

    Args:
        folder: its directory.

    Returns:
        The manifest; None of a run that was killed before it had one.

    Raises:
        RunError: If the folder is no run directory, or of another version.
    """
    found = Manifest.read(folder)
    if found is not None:
        return found[0]
    run = RunDirectory(folder)
    # unlike a path's own methods these take every name
    if not os.path.isfile(run.config):
        raise RunError(f"{folder} is not a run directory: it holds no config.yaml; give the one of a run")
    if os.path.lexists(run.result):
        raise RunError(
            f"{folder} holds a run but no manifest.json, as earlier versions left it; start the run anew"
        )
    return None


def rebuild_config(
    folder: Path,
    recorded: Mapping[str, Any],
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> CCDConfig:
    """The configuration of a run that is resumed.

    Args:
        folder: the run directory, for messages.
        recorded: the configuration it was begun with, as ``CCDConfig.to_dict`` gave it.
        config_file_list: YAML files laid over it.
        config_dict: settings laid over these.
        argv: arguments laid over all.
        settings: the settings that must be the same; default those of ``recorded``.

    Raises:
        ConfigError: If a source or a setting is wrong.
        RunError: If a setting that matters differs, or the run needs plugins and is given none.
    """
    *layers, arguments_layer = read_layers(config_file_list, config_dict, argv)
    recorded = dict(recorded)
    modules = recorded.pop(KEY, None)
    if modules and not any(layer.holds(KEY) for layer in (*layers, arguments_layer)):
        named = one_line(",".join(map(str, modules)) if isinstance(modules, list) else modules)
        raise RunError(
            f"the run in {folder} was begun with code of {named}, which no file may name; give "
            f"--{KEY}={named} once more"
        )
    given = merged(*(layer.values for layer in (*layers, arguments_layer)))
    if "strategy" in given:
        # before what another strategy could not do with the recorded settings
        check_settings(folder, {"strategy": recorded["strategy"]}, {"strategy": given["strategy"]})
    arguments = [text for text in argument_list(argv) if not text.startswith(_FILES)]
    config = CCDConfig.from_dict(recorded, arguments, merged(*(layer.values for layer in layers)))
    check_settings(folder, settings or settings_of(recorded), settings_of(config.to_dict()))
    return config


def finished_result(folder: Path, config: CCDConfig, held: bool = False) -> StreamResult | None:
    """The result of a run that is finished and needs nothing to be learned again; None of any other.

    All its files are looked at. What is damaged is restored where the folder holds it twice, and named.

    Args:
        folder: the run directory; there may be none.
        config: the configuration of the run.
        held: whether this process holds its lock.

    Raises:
        RunError: If the manifest there cannot be read, or a file not be restored.
    """
    run = FinishedRun.find(folder, held)
    document = None if run is None else run.document()
    if run is None or document is None:
        return None
    recorded_config(folder, run.manifest, held)
    lost = run.lost()
    if lost and lost == [run.last.files.get(RECORD)] and _record_again(run, config):
        lost = []
    for file in lost:
        path, problem = file.in_folder(folder), file.problem(folder)
        getLogger("recbole_ccd").warning("%s %s; going on with the run to make it anew", path, problem)
    if not run.has_vocabulary() or lost:
        return None
    run.tell_of_others()
    return StreamResult.from_dict(document, config)


def _record_again(run: FinishedRun, config: CCDConfig) -> bool:
    """Makes what serving reads anew, of the weights it was made of; returns whether that could be done."""
    path = run.last.files[RECORD].in_folder(run.folder)
    try:
        rows = run.rows()
        stream = StoredStream(config, read_rows(run.folder, rows), read_vocabulary(run.folder, rows[-1]))
        strategy, block = strategy_of(config), stream[run.last.block]
        strategy.restore(block, run.states())
        tensors = ServingSnapshot.tensors(rows[-1].known, final_vectors(config, strategy.student, block))
    except Exception as error:  # whatever a model's own code raises without the columns of its data
        reason = one_line(f"{type(error).__name__}: {error}")
        getLogger("recbole_ccd").warning("%s cannot be made anew of the weights (%s)", path, reason)
        return False
    run.keep_record(tensors)
    getLogger("recbole_ccd").warning("%s was damaged; it is made anew of the weights", path)
    return True


def show_finished(folder: Path, result: StreamResult, config: CCDConfig) -> None:
    """Says of a run that there is nothing left to do, and what it has measured."""
    # nothing is written into a finished run
    with RunLog(None, config["state"], config["show_epochs"]):
        getLogger("recbole_ccd").info("%s: the run is finished\n%s", folder, final_table(result))


def execute(
    strategy: Strategy, stream: BlockStream, stop: InterruptHandler | None = None, cycle: str = FULL
) -> StreamResult:
    """Runs a strategy in its run directory, from the beginning or from where it stands there.

    The folder exists and is this process's (:class:`~recbole_ccd.checkpoint.RunLock`).

    Args:
        strategy: the strategy, checked.
        stream: the blocks.
        stop: who may want it to end early.
        cycle: ``student`` leaves the teacher at the block before the last one.

    Raises:
        RunError: training went wrong, or the machine has no room or no memory left.
        Stopped: somebody wanted it to end; the directory to go on with is told.
    """
    config, state = strategy.config, strategy.run_state
    directory, state.stop = state.directory, stop
    with (
        resumable(directory.path),
        translate_resource_errors(directory.path, lambda: state.doing),
        wandb_run(config, directory),
    ):
        # there is no manifest without a configuration, and no new one before the old one has been compared
        if not directory.config.is_file():
            directory.write_config(config.to_dict())
        checkpoints = state.checkpoints = CheckpointManager.of_run(directory.path, config, stream)
        try:
            directory.write_config(config.to_dict())
            with RunLog(directory.log, config["state"], config["show_epochs"]):
                result = _logged(strategy, stream, stop, cycle)
                _tell_of_files(directory, checkpoints, config["write_report"])
                return result
        except BaseException:
            checkpoints.interrupt()
            raise


def _logged(
    strategy: Strategy, stream: BlockStream, stop: InterruptHandler | None, cycle: str
) -> StreamResult:
    config, logger = strategy.config, getLogger("recbole_ccd")
    words = (config["model"], config["dataset"], config["strategy"], strategy.run_state.directory.path)
    logger.info("%s on %s, strategy %s, in %s", *words)
    for line in config.warnings():
        logger.warning("%s", line)
    logger.info("\n%s", stream_table(stream))
    with nullcontext() if stop is None else stop.gracefully():
        result = strategy.run(stream, whole=cycle == FULL)
        # runs that are compared are seldom updated
        if cycle == FULL and config["prepare_update"] and strategy.stages.base_models is None:
            strategy.prepare_next(stream)
    return result


def _tell_of_files(directory: RunDirectory, checkpoints: CheckpointManager, with_report: bool) -> None:
    logger, saving = getLogger("recbole_ccd"), checkpoints.manifest.saving
    logger.info("saving: %d times, %.1fs", saving["saves"], saving["seconds"])
    logger.info("result: %s", directory.result)
    if with_report:
        logger.info("report: %s", directory.path / REPORT)
