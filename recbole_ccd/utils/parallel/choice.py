"""Chooses the workers of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ccd.utils.parallel.workers import Sequential, Workers

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def workers_of(config: CCDConfig) -> Workers:
    """The configured workers; nothing is begun before they are entered.

    Args:
        config: the run's configuration, for ``parallel``, ``parallel_workers`` and its device.
    """
    if config["parallel"] is None:
        return Sequential()
    from recbole_ccd.utils.parallel.ray_workers import RayWorkers

    return RayWorkers(config["parallel_workers"], on_gpu=config["device"].type == "cuda")
