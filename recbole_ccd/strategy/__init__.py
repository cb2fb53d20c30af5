"""How a model follows a stream: one short file per strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ccd.config.plugins import KEY, plugged
from recbole_ccd.config.plugins import STRATEGIES as PLUGGED
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.ccd import CCD
from recbole_ccd.strategy.distill import Distill
from recbole_ccd.strategy.distill_each_block import DistillEachBlock
from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.strategy.full_batch import FullBatch
from recbole_ccd.strategy.graphsail import GraphSAIL
from recbole_ccd.strategy.lwc_kd import LWCKD
from recbole_ccd.strategy.piw import PIW
from recbole_ccd.strategy.replay import Replay
from recbole_ccd.strategy.stage import BaseModels
from recbole_ccd.strategy.static import Static

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        CCD,
        Distill,
        DistillEachBlock,
        FineTune,
        FullBatch,
        GraphSAIL,
        LWCKD,
        PIW,
        Replay,
        Static,
    )
}

__all__ = ["CCD", "STRATEGIES", "BaseModels", "Strategy", "strategy_class"]


def strategy_class(config: CCDConfig) -> type[Strategy]:
    """The configured strategy, one of ours or out of the user's plugins."""
    return {**plugged(config[KEY], PLUGGED), **STRATEGIES}[config["strategy"]]
