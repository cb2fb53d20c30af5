"""What ways of distilling cannot work with, refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ccd.model.scoring import has_factors
from recbole_ccd.utils.errors import ModelError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def check_ways(config: CCDConfig) -> None:
    """Refuses ways of distilling that a student, or a teacher, cannot be distilled in.

    Args:
        config: the run's configuration.

    Raises:
        ModelError: If there are some; the message names key and remedy.
    """
    _check_vectors(config, "distill_head", "shared")


def _check_vectors(config: CCDConfig, key: str, otherwise: str) -> None:
    """What acts on vectors needs a student that scores by them."""
    if config[key] != otherwise and not has_factors(config.model_class):
        raise ModelError(
            f"{key}: {config[key]} acts on user and item vectors, by which {config['model']} does not score; "
            f"take LightGCN, BPR, NGCF, SGL or ENMF, or {key}: {otherwise}"
        )
