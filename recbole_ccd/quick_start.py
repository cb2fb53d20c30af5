"""From arguments to a result: what ``run_ccd.py`` calls, and the same in a few lines of Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recbole_ccd.checkpoint import RunDirectory, RunLock, check_vacant, create_folder, default_run_directory
from recbole_ccd.checkpoint.compatibility import check_data
from recbole_ccd.checkpoint.manifest import COMPARISON, FULL, RUN, SEARCH
from recbole_ccd.checkpoint.restoration import recorded_config
from recbole_ccd.config import CCDConfig, expand, given_config, refuse_lists
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.experiment.comparison import (
    begin_comparison,
    check_all,
    resume_comparison,
    run_all,
    top_folder,
)
from recbole_ccd.experiment.run import (
    execute,
    finished_result,
    load_manifest,
    rebuild_config,
    show_finished,
    split_resume,
    strategy_in,
    strategy_of,
)
from recbole_ccd.experiment.search import SearchResult, read_space
from recbole_ccd.experiment.search.folder import begin_search, resume_search
from recbole_ccd.experiment.search.plan import plan
from recbole_ccd.experiment.update import cycle_of, stored_stream, update
from recbole_ccd.strategy import BaseModels, Strategy
from recbole_ccd.utils.atomic_files import given_path
from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.guard import guarded
from recbole_ccd.utils.parallel import workers_of
from recbole_ccd.utils.resource_errors import translate_resource_errors
from recbole_ccd.utils.seeding import exclusive
from recbole_ccd.utils.signals import resumable

if TYPE_CHECKING:
    from recbole_ccd.utils.signals import InterruptHandler

_GIVEN = "what was given"

__all__ = ["compare", "create_strategy", "create_stream", "resume", "run_ccd", "tune", "update"]


def create_stream(config: CCDConfig) -> BlockStream:
    """Loads the configured data and cuts it into blocks.

    Args:
        config: the run's configuration.

    Raises:
        ConfigError: If it is no CCDConfig, or assignments to it do not fit.
        DataError: If the data cannot be used; the message names file and remedy.
    """
    config = given_config(config).check()
    with guarded(f"the data of {config['dataset']}"):
        return BlockStream(config, IncrementalDataset(config))


def create_strategy(
    config: CCDConfig, run_directory: RunDirectory | None = None, base_models: BaseModels | None = None
) -> Strategy:
    """The configured strategy, untrained.

    Args:
        config: the run's configuration.
        run_directory: where its results go, made before the stream is run; None keeps them in memory.
        base_models: models of the base block that runs of the same seed share; None trains its own.

    Raises:
        ConfigError: If it is no CCDConfig, or assignments to it do not fit.
    """
    return strategy_of(given_config(config).check(), run_directory, base_models)


@guarded(_GIVEN)
@exclusive()
def run_ccd(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    stop: InterruptHandler | None = None,
) -> StreamResult:
    """Runs a strategy over a stream and leaves a run directory; several are for :func:`compare`.

    Args:
        model: the student; default LightGCN.
        dataset: the data set; default ml-100k, which RecBole ships.
        config_file_list: YAML files laid over the defaults, in order.
        config_dict: keys laid over the files.
        argv: ``--key=value`` arguments laid over the dict; None for none. ``--resume=DIR`` may be among them.
        resume: the directory of a run to go on with: its configuration takes the place of the defaults, and
            nothing that matters may differ from it.
        stop: who may want the run to end early; None for nobody.

    Returns:
        The measurements, also written to ``result.json`` in the run directory.

    Raises:
        CCDError: If input is bad, before any long work, or training went wrong.
    """
    argv, folder = split_resume(argv, resume)
    if folder is not None:
        given = _with_names(config_dict, model, dataset)
        return cast(StreamResult, _resumed(folder, config_file_list, given, argv, stop, RUN))
    refuse_lists(config_file_list, config_dict, argv)
    config = CCDConfig(model, dataset, config_file_list, config_dict, argv)
    where = config["run_dir"] or default_run_directory(
        config["dataset"], config["model"], config["strategy"], config["seed"]
    )
    check_vacant(where)
    stream = create_stream(config)
    strategy = strategy_in(where, config)
    strategy.check(stream)
    with strategy.run_state.workers, RunLock(RunDirectory.create(where).path):
        return execute(strategy, stream, stop)


@guarded(_GIVEN)
@exclusive()
def resume(
    run_dir: str | os.PathLike[str],
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    stop: InterruptHandler | None = None,
) -> StreamResult | Comparison | SearchResult:
    """Goes on with a run, a comparison of runs or a search, from where it was interrupted.

    The result is that of an uninterrupted run, bit for bit on the same machine and a CPU. What is finished
    is shown again.

    Args:
        run_dir: the run directory, which may have been moved.
        config_file_list: YAML files laid over its configuration.
        config_dict: keys laid over the files.
        argv: ``--key=value`` arguments laid over all.
        stop: who may want it to end early; None for nobody.

    Returns:
        What :func:`run_ccd`, :func:`compare` or :func:`tune` return.

    Raises:
        CCDError: If the folder cannot be resumed, or settings or data are not those it was begun with.
    """
    return _resumed(run_dir, config_file_list, config_dict, argv, stop)


@guarded(_GIVEN)
@exclusive()
def compare(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    stop: InterruptHandler | None = None,
) -> Comparison:
    """Runs several strategies, bases, ablations or seeds over the same blocks and compares them.

    The keys ``strategy``, ``base``, ``ablation`` and ``seed`` may be lists; there is one run for each
    combination. Runs of a seed share its stream and its base models. Each leaves a run directory of its
    own below the common one, at whose top the comparison lies: ``comparison.json``, ``.md`` and ``.csv``.

    Args:
        model: the student; default LightGCN.
        dataset: the data set; default ml-100k, which RecBole ships.
        config_file_list: YAML files laid over the defaults, in order.
        config_dict: keys laid over the files.
        argv: ``--key=value`` arguments laid over the dict; None for none. ``--resume=DIR`` may be among them.
        resume: the common folder of a comparison to go on with; see :func:`resume`.
        stop: who may want it to end early; None for nobody.

    Returns:
        Means, deviations, the best and the gains.

    Raises:
        CCDError: If input is bad, before any long work; all runs are checked before the first one trains.
    """
    argv, folder = split_resume(argv, resume)
    if folder is not None:
        given = _with_names(config_dict, model, dataset)
        return cast(Comparison, _resumed(folder, config_file_list, given, argv, stop, COMPARISON))
    runs = expand(model, dataset, config_file_list, config_dict, argv)
    top = top_folder(runs)
    check_vacant(top)
    checked = check_all(runs, top, create_stream)
    told = translate_resource_errors(top, lambda: "the comparison")
    with workers_of(runs[0].config), RunLock(create_folder(top)), told:
        manifest = begin_comparison(runs, top, checked.data)
        return run_all(runs, top, manifest, checked, {}, create_stream, stop)


@guarded(_GIVEN)
@exclusive()
def tune(
    params_file: str | os.PathLike[str],
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    algorithm: str = "exhaustive",
    n_trials: int | None = None,
    stop: InterruptHandler | None = None,
) -> SearchResult:
    """Searches for the settings with the highest H-mean of the student on the validation parts.

    The file is one of RecBole's HyperTuning. Every trial runs the strategy over the stream, once for each
    seed. All are checked before the first one trains; one in which training goes wrong counts as failed. The
    folder holds them, ``trials.json``, ``.csv`` and ``.md`` and, of the best one, ``best.yaml``. A search
    that was interrupted is resumed by :func:`resume`.

    Args:
        params_file: which keys take which values; they lie over the config files.
        model: the student; default LightGCN.
        dataset: the data set; default ml-100k, which RecBole ships.
        config_file_list: YAML files laid over the defaults, in order.
        config_dict: keys laid over the files; ``seed`` may be a list, over which results are averaged.
        argv: ``--key=value`` arguments laid over the dict; None for none.
        algorithm: ``exhaustive`` makes all combinations of choices, ``random`` so many draws.
        n_trials: the number of draws; default 10.
        stop: who may want it to end early; None for nobody.

    Returns:
        All trials, and the best one.

    Raises:
        CCDError: If input is bad, before any long work, or no trial could be finished.
    """
    space = read_space(os.fspath(given_path("params_file", params_file, "a file of ranges")))
    trials = plan(space, algorithm, n_trials, model, dataset, config_file_list, config_dict, argv)
    return begin_search(space, algorithm, trials, create_stream, stop)


def _with_names(
    config_dict: Mapping[str, Any] | None, model: str | None, dataset: str | None
) -> dict[str, Any]:
    named = {"model": model, "dataset": dataset}
    return {**(config_dict or {}), **{key: value for key, value in named.items() if value is not None}}


# files, dictionary and arguments that are laid over what a run was begun with
_Sources = tuple[Sequence[str] | None, Mapping[str, Any] | None, Sequence[str] | None]


def _resumed(
    run_dir: str | os.PathLike[str],
    config_file_list: Sequence[str] | None,
    config_dict: Mapping[str, Any] | None,
    argv: Sequence[str] | None,
    stop: InterruptHandler | None,
    kind: str | None = None,
) -> StreamResult | Comparison | SearchResult:
    """Goes on with what a folder holds; where a kind is given, with nothing else."""
    folder, sources = given_path("run_dir", run_dir, "a run directory"), (config_file_list, config_dict, argv)
    with guarded(f"the run directory {folder}"):
        return _gone_on_with(folder, sources, stop, kind)


def _gone_on_with(
    folder: Path, sources: _Sources, stop: InterruptHandler | None, kind: str | None
) -> StreamResult | Comparison | SearchResult:
    manifest = load_manifest(folder)
    found = RUN if manifest is None else manifest.kind
    if found not in (RUN, COMPARISON, SEARCH):
        raise RunError(f"{folder} holds {found} that runs share; give the folder above it")
    if kind not in (found, None):
        raise RunError(f"{folder} holds a {found} and no {kind}; call resume, which takes both")
    if manifest is not None and found in (COMPARISON, SEARCH):
        follow = resume_comparison if found == COMPARISON else resume_search
        return follow(folder, manifest, sources, create_stream, stop)
    recorded = recorded_config(folder, manifest)
    settings = None if manifest is None else manifest.settings
    config = rebuild_config(folder, recorded, *sources, settings=settings)
    result = finished_result(folder, config)
    if result is not None:
        show_finished(folder, result, config)
        return result
    with resumable(folder), RunLock(folder):
        strategy, updated = strategy_in(folder, config), manifest is not None and manifest.is_updated
        stream: BlockStream
        if manifest is not None and updated:
            stream = stored_stream(folder, manifest, config)
        else:
            stream = create_stream(config)
        if manifest is not None:
            check_data(folder, manifest.data, stream.fingerprint)
        if updated:
            strategy.check_new_block(stream)
        else:
            strategy.check(stream)
        with strategy.run_state.workers:
            RunDirectory.prepare(folder)
            return execute(strategy, stream, stop, FULL if manifest is None else cycle_of(manifest))
