"""How a model follows a stream: one short file per strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ccd.registry import KEY, registered
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.stage import BaseModels

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

__all__ = ["BaseModels", "Strategy", "strategy_class"]


def strategy_class(config: CCDConfig) -> type[Strategy]:
    """The configured strategy, one of ours or out of the user's plugins."""
    return registered(Strategy.kind, config[KEY])[config["strategy"]]
