"""Several runs over the same blocks: checked together, followed one after the other, compared at the end."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_ccd.checkpoint import CheckpointManager, Manifest, RunDirectory, RunLock, default_run_directory
from recbole_ccd.checkpoint.compatibility import check_data, versions
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.manifest import COMPARISON, FINISHED
from recbole_ccd.checkpoint.restoration import restore_manifest
from recbole_ccd.checkpoint.run_directory import folder_name
from recbole_ccd.checkpoint.session import session
from recbole_ccd.config import CCDConfig, GridRun
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.experiment.run import execute, finished_result, rebuild_config, strategy_in
from recbole_ccd.report.comparison import comparison_csv, comparison_markdown, comparison_table
from recbole_ccd.report.log import RunLog
from recbole_ccd.report.writing import REPORT, write_report_page
from recbole_ccd.strategy import BaseModels, Strategy
from recbole_ccd.utils.parallel import workers_of
from recbole_ccd.utils.resource_errors import translate_resource_errors
from recbole_ccd.utils.signals import resumable

if TYPE_CHECKING:
    from recbole_ccd.utils.signals import InterruptHandler

MakeStream = Callable[[CCDConfig], BlockStream]


@dataclass
class CheckedRuns:
    """Runs that have been looked at before the first one trains.

    Attributes:
        strategies: by the run's folder, untrained.
        stream: that of the first seed; those of the others are made again. None where there is no run.
        data: by seed, what tells the data apart.
    """

    strategies: dict[str, Strategy]
    stream: BlockStream | None
    data: dict[str, Any]


def top_folder(runs: Sequence[GridRun]) -> Path:
    """The common folder of runs that are compared; nothing is made yet."""
    config = runs[0].config
    strategies = "+".join(dict.fromkeys(run.config["strategy"] for run in runs))
    default = default_run_directory(config["dataset"], config["model"], strategies, None)
    return Path(config["run_dir"] or default)


def check_all(runs: Sequence[GridRun], top: Path, make_stream: MakeStream) -> CheckedRuns:
    """Checks all runs, seed by seed, the first seed last.

    Args:
        runs: the runs.
        top: their common folder; nothing is made there.
        make_stream: loads the data of a configuration and cuts them.

    Raises:
        CCDError: one of them cannot work.
    """
    checked = CheckedRuns({}, None, {})
    for group in reversed(_by_seed(runs)):
        seed = group[0].config["seed"]
        checked.stream = make_stream(group[0].config)
        checked.data[str(seed)] = checked.stream.fingerprint
        base_models = BaseModels(
            checkpoints=CheckpointManager.of_base_models(_base_of(top, seed), checked.stream)
        )
        for run in group:
            strategy = strategy_in(top / run.folder, run.config, base_models)
            strategy.check(checked.stream)
            checked.strategies[run.folder] = strategy
    return checked


def begin_comparison(runs: Sequence[GridRun], top: Path, data: Mapping[str, Any]) -> Manifest:
    """Writes down which runs there will be, so that they can be resumed.

    Args:
        runs: the runs.
        top: their common folder.
        data: by seed, what tells the data apart.
    """
    entries = [{"label": run.label, "folder": run.folder, "config": run.config.to_dict()} for run in runs]
    manifest = Manifest(COMPARISON, versions=versions(), data=dict(data), runs=entries)
    manifest.sessions.append(session(runs[0].config["device"]))
    FileStore(top).write(manifest)
    return manifest


def resume_comparison(
    top: Path,
    manifest: Manifest,
    sources: tuple[Any, ...],
    make_stream: MakeStream,
    stop: InterruptHandler | None,
) -> Comparison:
    """Goes on with a comparison: finished runs are read, the others taken up or begun.

    Args:
        top: the common folder.
        manifest: its manifest.
        sources: files, dictionary and arguments that are laid over the configuration of each run.
        make_stream: as of :func:`check_all`.
        stop: who may want it to end early.

    Raises:
        CCDError: settings or data are not those it was begun with, or something cannot be read.
    """
    runs = []
    for entry in manifest.runs:
        folder = folder_name(top, entry["folder"])
        config = rebuild_config(top / folder, entry["config"], *sources)
        runs.append(GridRun(str(entry["label"]), folder, config))
    restore_manifest(top)
    found = {run.folder: finished_result(top / run.folder, run.config) for run in runs}
    results = {folder: result for folder, result in found.items() if result is not None}
    with resumable(top), RunLock(top), translate_resource_errors(top, lambda: "the comparison"):
        # in the order in which they are followed, since the stream of the first is kept
        unfinished = [run for run in _in_order(runs) if run.folder not in results]
        checked = check_all(unfinished, top, make_stream)
        for seed, data in checked.data.items():
            check_data(top, manifest.data[seed], data)
        with workers_of(runs[0].config):
            for folder in checked.strategies:
                RunDirectory.prepare(top / folder)
            if checked.strategies:
                manifest.sessions.append(session(runs[0].config["device"]))
                FileStore(top).write(manifest)
            return run_all(runs, top, manifest, checked, results, make_stream, stop)


def run_all(
    runs: Sequence[GridRun],
    top: Path,
    manifest: Manifest,
    checked: CheckedRuns,
    results: dict[str, StreamResult],
    make_stream: MakeStream,
    stop: InterruptHandler | None,
) -> Comparison:
    """Follows what has been checked, seed by seed, and compares all.

    Args:
        runs: all runs.
        top: their common folder, which is this process's.
        manifest: its manifest.
        checked: those that are not finished.
        results: of those that are, by folder.
        make_stream: as of :func:`check_all`.
        stop: who may want it to end early.
    """
    order = _in_order(runs)
    results, stream, store = dict(results), checked.stream, FileStore(top)
    with resumable(top), translate_resource_errors(top, lambda: "the comparison"):
        for group in _by_seed([run for run in order if run.folder in checked.strategies]):
            # one stream at a time; that of the first seed is there from the checks
            stream = stream or make_stream(group[0].config)
            for run in group:
                store.check()
                number = order.index(run) + 1
                _note(top, run, f"run {number} of {len(runs)}: {run.label}, seed {run.config['seed']}")
                results[run.folder] = run_variant(checked.strategies.pop(run.folder), stream, stop)
                # models hold each other in circles, which are not freed when the last name goes
                gc.collect()
            stream = None
            store.check()
            shutil.rmtree(_base_of(top, group[0].config["seed"]), ignore_errors=True)
        return _concluded(runs, store, manifest, results)


def _concluded(
    runs: Sequence[GridRun], store: FileStore, manifest: Manifest, results: Mapping[str, StreamResult]
) -> Comparison:
    """Compares finished runs, and says that there is nothing left to do."""
    top = store.folder
    labels = dict.fromkeys(run.label for run in runs)
    comparison = Comparison(
        {label: [results[run.folder] for run in runs if run.label == label] for label in labels}
    )
    store.check()
    with_report = any(run.config["write_report"] for run in runs)
    write_comparison(comparison, top, with_report, manifest.sessions)
    manifest.status = FINISHED
    store.write(manifest)
    _note(top, runs[0], f"\n{comparison_table(comparison)}")
    others = ["comparison.md", "comparison.csv", *([REPORT] if with_report else [])]
    _note(top, runs[0], f"comparison: {top / 'comparison.json'}, {', '.join(others[:-1])} and {others[-1]}")
    return comparison


def _base_of(top: Path, seed: int) -> Path:
    """Where the base models of a seed are kept until all its runs are finished."""
    return top / f"base-{seed}"


def _by_seed(runs: Sequence[GridRun]) -> list[list[GridRun]]:
    seeds = dict.fromkeys(run.config["seed"] for run in runs)
    return [[run for run in runs if run.config["seed"] == seed] for seed in seeds]


def _in_order(runs: Sequence[GridRun]) -> list[GridRun]:
    """The runs as they are followed: seed by seed."""
    return [run for group in _by_seed(runs) for run in group]


def run_variant(strategy: Strategy, stream: BlockStream, stop: InterruptHandler | None) -> StreamResult:
    """Runs a strategy in a folder below the common one, from where it stands there if it was begun.

    Args:
        strategy: the strategy, checked.
        stream: the blocks.
        stop: who may want it to end early.
    """
    folder = strategy.run_state.directory.path
    directory = RunDirectory.prepare(folder) if folder.exists() else RunDirectory.create(folder)
    with RunLock(directory.path):
        return execute(strategy, stream, stop)


def _note(top: Path, run: GridRun, message: str) -> None:
    """Logs a line about the whole, to the console and to ``comparison.log``."""
    with RunLog(top / "comparison.log", run.config["state"], run.config["show_epochs"]):
        getLogger("recbole_ccd").info(message)


def write_comparison(
    comparison: Comparison, top: Path, with_report: bool, sessions: Sequence[Any] = ()
) -> None:
    """Writes a comparison into the common folder of its runs.

    Args:
        comparison: the comparison.
        top: the common folder.
        with_report: whether its report is written too.
        sessions: who has worked on it, for the report.
    """
    directory, document = RunDirectory(top), comparison.to_dict()
    directory.write_json("comparison.json", document)
    directory.write_text("comparison.md", comparison_markdown(comparison))
    directory.write_text("comparison.csv", comparison_csv(comparison))
    if with_report:
        write_report_page(directory, "comparison.json", document, sessions)
