"""Continual learning of a single model that keeps more of the past of some users than of others."""

from __future__ import annotations

from recbole_ccd.strategy.lwc_kd import LWCKD


class PIW(LWCKD):
    """LWC-KD with personalised imitation weights (Wang et al., AAAI 2023); its settings tell them apart."""

    name = "piw"
