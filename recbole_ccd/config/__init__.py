"""Settings: where they come from, which exist, and what they may be."""

from recbole_ccd.config.config import (
    DERIVED_KEYS,
    MEMBER_STAGES,
    STAGE_KEYS,
    STAGES,
    UPDATES,
    CCDConfig,
    given_config,
)
from recbole_ccd.config.grid import VARIANT_KEYS, GridRun, expand, has_lists, refuse_lists

__all__ = [
    "DERIVED_KEYS",
    "MEMBER_STAGES",
    "STAGES",
    "STAGE_KEYS",
    "UPDATES",
    "VARIANT_KEYS",
    "CCDConfig",
    "GridRun",
    "expand",
    "given_config",
    "has_lists",
    "refuse_lists",
]
