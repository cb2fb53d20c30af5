"""Continual learning of a single model that keeps more of the past of some users than of others."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("piw")
class PIW(ContinualStrategy):
    """LWC-KD with personalised imitation weights (Wang et al., AAAI 2023): ``lwc_kd`` with ``piw``."""

    needs_inner_product = True
