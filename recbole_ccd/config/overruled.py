"""Settings of single stages, which give way to those that are given for more than these."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from recbole_ccd.config.schema import STAGE_KEYS, STAGES


def without_overruled(settings: Mapping[str, Any], given: Collection[str]) -> dict[str, Any]:
    """Settings as they are beside others that lie over them.

    A key of training without a stage holds for all stages, and one of stage 1 for the student of the base
    block too.

    Args:
        settings: defaults, or those of a run.
        given: the keys that lie over them.

    Returns:
        The settings, but for those of single stages, and of ``base_student_args``, that are given for more.
    """
    kept = dict(settings)
    for key in STAGE_KEYS:
        if key in given:
            kept |= {f"{stage}_{key}": None for stage in STAGES}
    base_student = settings.get("base_student_args")
    if isinstance(base_student, Mapping):
        overruled = {key for key in STAGE_KEYS if key in given or f"student_generation_{key}" in given}
        kept["base_student_args"] = {k: v for k, v in base_student.items() if k not in overruled}
    return kept
