"""Replay of past interactions out of a reservoir."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recbole_ccd.data.block import Block
from recbole_ccd.plugin.replay.base import ReplayScheme
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import numpy_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@register("reservoir")
class ReservoirReplay(ReplayScheme):
    r"""Experience replay: every epoch of an update visits the block and a reservoir of past interactions.

    The reservoir is a uniform sample without replacement of the train rows of all blocks before. Every row
    has a random key :math:`x \sim U(0, 1)`, and the n rows with the smallest keys are kept: bottom-k
    sampling. So reservoirs are nested: what has been dropped never comes back.

    Its rows are training data: they are no negatives of their users, and a model that trains on whole
    rows (ENMF) reads them. The graph of a graph model stays the configured one (``graph``), the same as
    under every other scheme: with ``block`` the reservoir is not propagated over.

    Source: Vitter, "Random sampling with a reservoir", ACM TOMS 1985; Cohen, Kaplan, "Summarizing data using
    bottom-k sketches", PODC 2007.

    .. code-block:: yaml

        strategy: fine_tune
        replay: reservoir
        reservoir_size: 20000          # n
    """

    @staticmethod
    def rows(block: Block, config: CCDConfig) -> np.ndarray:
        """Row numbers of the reservoir when a block arrives, in the order of the stream.

        Args:
            block: the block that has arrived, not the base block.
            config: the run's configuration.

        Returns:
            Shape ``(n,)``; ``reservoir_size`` rows, or all earlier train rows where there are fewer.
        """
        earlier = block.earlier_train_rows
        keys = [
            numpy_generator(config["seed"], "reservoir", k).random(len(rows))
            for k, rows in enumerate(earlier)
        ]
        smallest = np.argsort(np.concatenate(keys), kind="stable")[: config["reservoir_size"]]
        return np.sort(np.concatenate(earlier)[smallest])

    @classmethod
    def extend(cls, block: Block, config: CCDConfig) -> Block:
        """The block with the reservoir added to its train rows."""
        return block.with_earlier(cls.rows(block, config))
