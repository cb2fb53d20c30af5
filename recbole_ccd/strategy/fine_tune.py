"""Go on training on each block."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("fine_tune")
class FineTune(ContinualStrategy):
    """The student learns each block with its own loss and nothing against forgetting."""
