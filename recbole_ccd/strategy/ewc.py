"""Continual learning of a single model that holds on to the parameters that have mattered."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("ewc")
class EWC(ContinualStrategy):
    """Elastic weight consolidation (Kirkpatrick et al., PNAS 2017) on the student, by ``regularizer``."""
