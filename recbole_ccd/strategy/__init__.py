"""How a model follows a stream: one short file per strategy."""

from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.ccd import CCD

STRATEGIES: dict[str, type[Strategy]] = {strategy.name: strategy for strategy in (CCD,)}

__all__ = ["CCD", "STRATEGIES", "Strategy"]
