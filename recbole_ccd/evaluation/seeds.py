"""Numbers over seeds: mean and deviation, the two best, and a gain with its paired t-test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import ttest_rel


@dataclass(frozen=True)
class Spread:
    """A value over seeds.

    Attributes:
        mean: its mean; None where it does not exist.
        std: its sample standard deviation (n - 1); None with fewer than two seeds.
        error: standard error of the mean that comes of a sample of users; None where all were measured.
    """

    mean: float | None
    std: float | None
    error: float | None = None


@dataclass(frozen=True)
class Gain:
    """What CCD gains in H over the best competitor after a block.

    Attributes:
        competitor: label of the competitor whose mean H is the highest.
        gain: difference of the mean H.
        relative: the gain as a share of the competitor's mean H; None if that is 0.
        p: two-sided p-value of a t-test paired by seed; None with fewer than two seeds, or where the
            difference is the same for all seeds.
    """

    competitor: str
    gain: float
    relative: float | None
    p: float | None


def spread_of(values: Sequence[float | None], errors: Sequence[float | None] = (None,)) -> Spread:
    """Mean and sample standard deviation of a value over seeds; both None if one of the values is.

    Args:
        values: one per seed.
        errors: their standard errors, where each seed has drawn users of its own.
    """
    known, own = _all_known(values), _all_known(errors)
    if known is None:
        return Spread(None, None)
    error = None if own is None else math.hypot(*own) / len(own)
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None, error)


def two_best(means: Mapping[str, float | None], lowest: bool) -> tuple[list[str], list[str]]:
    """The labels of the best mean and of the next one.

    Args:
        means: by label; None does not take part.
        lowest: whether the lowest is the best.

    Returns:
        More than one label where means are equal, none where all are.
    """
    levels = sorted({mean for mean in means.values() if mean is not None}, reverse=not lowest)[:2]
    if len(levels) < 2:
        return [], []
    best, second = ([label for label, mean in means.items() if mean == level] for level in levels)
    return best, second


def gain_over(rivals: Mapping[str, Sequence[float | None]], ours: Sequence[float | None]) -> Gain | None:
    """What we gain over the best of several rivals.

    Args:
        rivals: values by label, one per seed; those with a None do not take part.
        ours: our values for the same seeds.

    Returns:
        The gain over the rival with the highest mean; None if there is no rival or one of our values is None.
    """
    found = ((rival, _all_known(values)) for rival, values in rivals.items())
    theirs = {rival: values for rival, values in found if values is not None}
    own = _all_known(ours)
    if not theirs or own is None:
        return None
    means = {rival: fmean(values) for rival, values in theirs.items()}
    best = max(means, key=means.__getitem__)
    gain = fmean(own) - means[best]
    return Gain(best, gain, gain / means[best] if means[best] else None, _paired_test(own, theirs[best]))


def _all_known(values: Sequence[float | None]) -> list[float] | None:
    """The values; None if one of them is."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _paired_test(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Two-sided p-value of a paired t-test, None where differences have no spread to test against."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    # also for a single seed
    if math.isclose(min(differences), max(differences), rel_tol=1e-9, abs_tol=1e-15):
        return None
    return float(ttest_rel(ours, theirs).pvalue)
