"""From arguments to a result: what ``run_ccd.py`` calls, and the same in a few lines of Python."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_ccd.compat import check_working_folder
from recbole_ccd.config import CCDConfig, Variant, expand, refuse_lists
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.files import atomic_write
from recbole_ccd.report.comparison import comparison_csv, comparison_markdown, comparison_table
from recbole_ccd.report.log import RunLog
from recbole_ccd.report.tables import stream_table
from recbole_ccd.state import RunDirectory, create_folder, default_run_directory
from recbole_ccd.strategy import STRATEGIES, Strategy
from recbole_ccd.strategy.base import BaseModels


def create_stream(config: CCDConfig) -> BlockStream:
    """Loads the configured data and cuts it into blocks.

    Args:
        config: the run's configuration.

    Raises:
        DataError: the data cannot be used; the message names file and remedy.
    """
    return BlockStream(config, IncrementalDataset(config))


def create_strategy(
    config: CCDConfig, run_directory: RunDirectory | None = None, base_models: BaseModels | None = None
) -> Strategy:
    """The configured strategy, untrained.

    Args:
        config: the run's configuration.
        run_directory: where its results go, made before the stream is run; None keeps them in memory.
        base_models: models of the base block that runs of the same seed share; None trains its own.
    """
    return STRATEGIES[config["strategy"]](config, run_directory, base_models)


def run_ccd(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> StreamResult:
    """Runs a strategy over a stream and leaves a run directory; several are for :func:`compare`.

    Args:
        model: the student; default LightGCN.
        dataset: the data set; default ml-100k, which RecBole ships.
        config_file_list: YAML files laid over the defaults, in order.
        config_dict: keys laid over the files.
        argv: ``--key=value`` arguments laid over the dict; None for none.

    Returns:
        The measurements, also written to ``result.json`` in the run directory.

    Raises:
        CCDError: bad input, before any long work.
    """
    refuse_lists(config_file_list, config_dict, argv)
    config = CCDConfig(model, dataset, config_file_list, config_dict, argv)
    stream = create_stream(config)
    where = config["run_dir"] or default_run_directory(
        config["dataset"], config["model"], config["strategy"], config["seed"]
    )
    strategy = _strategy_in(where, config)
    strategy.check(stream)
    check_working_folder()
    return _run(strategy, stream)


def compare(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
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
        argv: ``--key=value`` arguments laid over the dict; None for none.

    Returns:
        Means, deviations, the best and the gains.

    Raises:
        CCDError: bad input, before any long work; all runs are checked before the first one trains.
    """
    runs = expand(model, dataset, config_file_list, config_dict, argv)
    seeds = list(dict.fromkeys(run.config["seed"] for run in runs))
    groups = [[run for run in runs if run.config["seed"] == seed] for seed in seeds]
    top = _top_of(runs)
    strategies, stream = _checked(groups, top)
    check_working_folder()
    create_folder(top)
    results: dict[str, list[StreamResult]] = {run.label: [] for run in runs}
    for group in groups:
        # one stream at a time; that of the first seed is there from the checks
        stream = stream or create_stream(group[0].config)
        for run in group:
            number = sum(map(len, results.values())) + 1
            _note(top, run, f"run {number} of {len(runs)}: {run.label}, seed {run.config['seed']}")
            results[run.label].append(_run(strategies.pop(run.folder), stream))
            # models hold each other in circles, which are not freed when the last name goes
            gc.collect()
        stream = None
    comparison = Comparison(results)
    _write(comparison, top)
    _note(top, runs[0], f"\n{comparison_table(comparison)}")
    _note(top, runs[0], f"comparison: {top / 'comparison.json'}, comparison.md and comparison.csv")
    return comparison


def _strategy_in(
    where: str | os.PathLike[str], config: CCDConfig, base_models: BaseModels | None = None
) -> Strategy:
    """The configured strategy, which knows its run directory before there is one."""
    run_directory = RunDirectory(where)
    config["run_dir"], config["checkpoint_dir"] = str(run_directory.path), str(run_directory.checkpoints)
    return create_strategy(config, run_directory, base_models)


def _run(strategy: Strategy, stream: BlockStream) -> StreamResult:
    """Makes the run directory of a strategy and runs it there."""
    config, run_directory = strategy.config, RunDirectory.create(strategy.run_directory.path)
    run_directory.write_config(config.to_dict())
    with RunLog(run_directory.log, config["state"], config["show_epochs"]):
        logger = getLogger("recbole_ccd")
        words = (config["model"], config["dataset"], config["strategy"], run_directory.path)
        logger.info("%s on %s, strategy %s, in %s", *words)
        logger.info("\n%s", stream_table(stream))
        result = strategy.run(stream)
        logger.info("result: %s", run_directory.result)
    return result


def _checked(groups: Sequence[Sequence[Variant]], top: Path) -> tuple[dict[str, Strategy], BlockStream]:
    """Checks all runs, seed by seed.

    Returns:
        Their strategies by folder, and the stream of the first seed; those of the others are made again.
    """
    strategies = {}
    for group in reversed(groups):
        stream, base_models = create_stream(group[0].config), BaseModels()
        for run in group:
            strategies[run.folder] = _strategy_in(top / run.folder, run.config, base_models)
            strategies[run.folder].check(stream)
    return strategies, stream


def _top_of(runs: Sequence[Variant]) -> Path:
    """The common folder of runs that are compared; nothing is made yet."""
    config = runs[0].config
    strategies = "+".join(dict.fromkeys(run.config["strategy"] for run in runs))
    default = default_run_directory(config["dataset"], config["model"], strategies, None)
    return Path(config["run_dir"] or default)


def _note(top: Path, run: Variant, message: str) -> None:
    """Logs a line about the whole, to the console and to ``comparison.log``."""
    with RunLog(top / "comparison.log", run.config["state"], run.config["show_epochs"]):
        getLogger("recbole_ccd").info(message)


def _write(comparison: Comparison, top: Path) -> None:
    RunDirectory(top).write_json("comparison.json", comparison.to_dict())
    atomic_write(top / "comparison.md", comparison_markdown(comparison))
    atomic_write(top / "comparison.csv", comparison_csv(comparison))
