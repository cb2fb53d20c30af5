"""Continual learning of a single model that follows the users who move and holds on to the others."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("pisa")
class PISA(ContinualStrategy):
    """PISA (Yoo, Kang et al., SIGIR 2025): plasticity for users who move, stability for those who do not."""

    needs_inner_product = True
