"""Settings: where they come from, which exist, and what they may be."""

from recbole_ccd.config.ccd_config import DERIVED_KEYS, STAGE_KEYS, STAGES, CCDConfig, given_config
from recbole_ccd.config.variants import VARIANT_KEYS, Variant, expand, has_lists, refuse_lists

__all__ = [
    "DERIVED_KEYS",
    "STAGES",
    "STAGE_KEYS",
    "VARIANT_KEYS",
    "CCDConfig",
    "Variant",
    "expand",
    "given_config",
    "has_lists",
    "refuse_lists",
]
