"""Continual learning of a single model that keeps near what was near."""

from __future__ import annotations

from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy


@register("lwc_kd")
class LWCKD(ContinualStrategy):
    """LWC-KD (Wang et al., CIKM 2021): contrastive terms of the student's layers with its own past.

    It is :class:`ContinualStrategy` under the regularizer ``lwc_kd``. A student without such layers keeps
    near its scores of past interactions instead (``pair_kl``).
    """
