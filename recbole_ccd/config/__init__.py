"""Settings: where they come from, which exist, and what they may be."""

from recbole_ccd.config.ccd_config import DERIVED_KEYS, STAGE_KEYS, STAGES, CCDConfig

__all__ = ["DERIVED_KEYS", "STAGES", "STAGE_KEYS", "CCDConfig"]
