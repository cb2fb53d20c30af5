"""What result.json has of one stage of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ccd.utils.memory import peak_rss_mb


def stage_record(
    block: int,
    stage: str,
    member: int | None,
    epochs: int,
    seconds: float,
    learned: Mapping[str, Any] | None = None,
    rss_mb: float | None = None,
) -> dict[str, Any]:
    """What result.json has of a finished stage, with this process's peak resident memory so far, in MB.

    Args:
        block: the block it belongs to.
        stage: ``base``, ``student_generation``, ``student_update`` or ``teacher_update``.
        member: the teacher member trained; None for the student.
        epochs: epochs run.
        seconds: Wall-clock time.
        learned: what else is recorded: ``loss`` and ``valid_score`` by epoch and, where pairs were
            replayed, ``replayed`` by source, see :attr:`~recbole_ccd.trainer.StageTrainer.history`.
        rss_mb: the largest resident memory of the process while the stage ran, in MB; None if unknown.
    """
    return {
        "block": int(block),
        "stage": stage,
        "member": member,
        "epochs": int(epochs),
        "seconds": round(float(seconds), 3),
        "rss_mb": rss_mb,
        "peak_rss_mb": peak_rss_mb(),
        **(learned or {}),
    }
