"""What result.json has of one stage of training."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def stage_record(
    block: int,
    stage: str,
    member: int | None,
    epochs: int,
    seconds: float,
    learned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What result.json has of a finished stage, with this process's peak resident memory so far, in MB.

    Args:
        block: the block it belongs to.
        stage: ``base``, ``student_generation``, ``student_update`` or ``teacher_update``.
        member: the teacher member trained; None for the student.
        epochs: epochs run.
        seconds: Wall-clock time.
        learned: what else is recorded: ``loss`` and ``valid_score`` by epoch and, where pairs were
            replayed, ``replayed`` by source, see the trainers' ``learned``.
    """
    return {
        "block": int(block),
        "stage": stage,
        "member": member,
        "epochs": int(epochs),
        "seconds": round(float(seconds), 3),
        "peak_rss_mb": peak_rss_mb(),
        **(learned or {}),
    }


def peak_rss_mb() -> float | None:
    """This process's largest resident memory so far, in MB (10**6 bytes); None if unknown."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
