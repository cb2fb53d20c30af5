"""From arguments to a result: what ``run_ccd.py`` calls, and the same in a few lines of Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any

from recbole_ccd.config import CCDConfig
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.report.log import RunLog
from recbole_ccd.report.tables import stream_table
from recbole_ccd.state import RunDirectory, default_run_directory
from recbole_ccd.strategy import STRATEGIES, Strategy


def create_stream(config: CCDConfig) -> BlockStream:
    """Loads the configured data and cuts it into blocks.

    Args:
        config: the run's configuration.

    Raises:
        DataError: the data cannot be used; the message names file and remedy.
    """
    return BlockStream(config, IncrementalDataset(config))


def create_strategy(config: CCDConfig, run_directory: RunDirectory | None = None) -> Strategy:
    """The configured strategy, untrained.

    Args:
        config: the run's configuration.
        run_directory: where its results go; None keeps them in memory.
    """
    return STRATEGIES[config["strategy"]](config, run_directory)


def run_ccd(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> StreamResult:
    """Runs a strategy over a stream and leaves a run directory.

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
    config = CCDConfig(model, dataset, config_file_list, config_dict, argv)
    stream = create_stream(config)
    where = config["run_dir"] or default_run_directory(
        config["dataset"], config["model"], config["strategy"], config["seed"]
    )
    strategy = create_strategy(config)
    strategy.check(stream)
    run_directory = RunDirectory.create(where)
    config["run_dir"], config["checkpoint_dir"] = str(run_directory.path), str(run_directory.checkpoints)
    run_directory.write_config(config.to_dict())
    with RunLog(run_directory.log, config["state"], config["show_epochs"]):
        logger = getLogger("recbole_ccd")
        logger.info(
            "%s on %s, strategy %s, in %s", config["model"], config["dataset"], config["strategy"], where
        )
        logger.info("\n%s", stream_table(stream))
        result = create_strategy(config, run_directory).run(stream)
        logger.info("result: %s", run_directory.result)
    return result
