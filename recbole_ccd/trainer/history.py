"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingHistory:
    """What is recorded of each epoch, by its index.

    Attributes:
        losses: mean of the loss over the batches; passes of their own count in none.
        scores: the metric of early stopping, where the epoch was validated.
    """

    losses: dict[int, float] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {"losses": self.losses, "scores": self.scores}

    @classmethod
    def of_state_dict(cls, state: Mapping[str, Any]) -> TrainingHistory:
        """The history that gave :meth:`state_dict`, to be continued."""
        return cls(dict(state["losses"]), dict(state["scores"]))

    def record(self) -> dict[str, Any]:
        """What result.json has of it.

        Returns:
            ``loss``: one per epoch; ``valid_score``: pairs of an epoch, counted from 1, and its score. Both
            with six significant digits.
        """
        return {
            "loss": [_rounded(loss) for loss in self.losses.values()],
            "valid_score": [[epoch + 1, _rounded(score)] for epoch, score in self.scores.items()],
        }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
