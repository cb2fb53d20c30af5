"""A line of the hot paths' table, and the checks that come before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from common import Measured, megabytes, percent, ratio, seconds
from machine import Work
from torch import Tensor


class Disagreement(AssertionError):
    """A path and its reference gave different results; no time is worth telling then."""


@dataclass
class Comparison:
    """One hot path, ours and the dense way.

    Attributes:
        path: what was done.
        ours: what it took us.
        reference: what it took the reference.
        checked: what agreed.
        work: what cannot be avoided, or None where no simple bound tells anything.
    """

    path: str
    ours: Measured
    reference: Measured
    checked: str
    work: Work | None = None

    def cells(self) -> dict[str, str]:
        """The line as it is printed."""
        share = None if self.work is None else self.work.share(self.ours.seconds)
        return {
            "path": self.path,
            "ours": seconds(self.ours.seconds),
            "reference": seconds(self.reference.seconds),
            "ratio": ratio(self.reference.seconds, self.ours.seconds),
            "our memory": megabytes(self.ours.peak_mb),
            "reference's": megabytes(self.reference.peak_mb),
            "of limit": percent(share),
            "reference timed": self.reference.note or "in full",
        }


def same_value(what: str, ours: Tensor, reference: Tensor, relative: float = 1e-5) -> float:
    """Relative difference of two tensors, by norm.

    Args:
        what: named where they disagree.
        ours: our tensor.
        reference: the reference's.
        relative: the largest difference that passes.

    Raises:
        Disagreement: they differ by more.
    """
    ours, reference = ours.detach().double(), reference.detach().double()
    difference = float((ours - reference).norm() / reference.norm().clamp(min=1e-30))
    require(difference <= relative, f"{what} differs by {difference:.1e}, more than {relative:.0e}")
    return difference


def require(condition: bool, what: str) -> None:
    """Ends the benchmark where a check fails.

    Raises:
        Disagreement: the condition does not hold.
    """
    if not condition:
        raise Disagreement(what)


def same_up_to_ties(what: str, scores: Tensor, ours: Tensor, reference: Tensor) -> None:
    """Requires that two lists per row hold the same scores in the same order.

    Args:
        what: named where they do not.
        scores: (B, n) scores.
        ours: (B, k) our columns.
        reference: (B, k) the reference's columns.

    Raises:
        Disagreement: scores at some place differ.
    """
    same = torch.equal(scores.gather(1, ours), scores.gather(1, reference))
    require(same, f"{what}: the lists differ")
