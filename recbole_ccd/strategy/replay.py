"""Go on training on each block and on a sample of the past."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("replay")
class ExperienceReplay(ContinualStrategy):
    """Every epoch of an update visits the block and a reservoir of past interactions (``reservoir``)."""
