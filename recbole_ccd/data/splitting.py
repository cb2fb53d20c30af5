"""Where a stream is cut: rows into blocks, and a block's rows into train, valid and test.

Pure functions of arrays; nothing here knows about RecBole.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
import pandas as pd

TRAIN, VALID, TEST, DROPPED = 0, 1, 2, -1
PARTS = ("train", "valid", "test")


def blocks_by_ratio(times: np.ndarray, ratios: Sequence[float]) -> np.ndarray:
    """Assigns rows to blocks so that each holds about its share of all rows (CCD).

    The cuts lie on the global time line: rows of one moment are never divided between two blocks.

    Args:
        times: time of each row, shape ``(n,)``.
        ratios: share of each block; they sum to 1.

    Returns:
        Block index of each row, shape ``(n,)``, int64.
    """
    ordered = np.sort(times, kind="stable")
    cuts = np.rint(np.cumsum(ratios[:-1]) * len(times)).astype(np.int64)
    return np.searchsorted(ordered[np.minimum(cuts, len(times) - 1)], times, side="right")


def blocks_by_boundary(times: np.ndarray, boundaries: Sequence[float | str | datetime.date]) -> np.ndarray:
    """Assigns rows to blocks by given moments; a row at a boundary belongs to the later block.

    Args:
        times: time of each row, shape ``(n,)``; seconds since 1970 where boundaries are dates.
        boundaries: increasing raw times or dates (UTC).

    Returns:
        Block index of each row, shape ``(n,)``, int64, from 0 to ``len(boundaries)``.
    """
    return np.searchsorted(np.array([raw_time(b) for b in boundaries]), times, side="right")


def raw_time(moment: float | str | datetime.date) -> float:
    """A boundary as a number: dates become seconds since 1970 (UTC), numbers stay as they are."""
    if isinstance(moment, int | float):
        return float(moment)
    stamp = pd.Timestamp(moment)
    return (stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp).timestamp()


def split_parts(
    users: np.ndarray, items: np.ndarray, ratios: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Splits one block's rows at random, user by user (CCD's published experiment, 80/10/10).

    A user with ``n`` rows gives ``max(floor(ratio * n), 1)`` of them to test, as many to valid and the
    rest to train. With fewer than three rows all stay in train (ours: the formula would leave none there).
    Valid and test rows whose item has no train row in this block are dropped, and so are those of a user
    left without valid or without test.

    Args:
        users: user of each row, shape ``(n,)``, any integers.
        items: item of each row, shape ``(n,)``, any integers.
        ratios: shares of train, valid and test.
        rng: the generator the split is drawn from.

    Returns:
        For each row ``TRAIN``, ``VALID``, ``TEST`` or ``DROPPED``, shape ``(n,)``, int8.
    """
    order = np.lexsort((rng.random(len(users)), users))
    _, start, count = np.unique(users[order], return_index=True, return_counts=True)
    position = np.arange(len(users)) - np.repeat(start, count)
    size = np.repeat(count, count)
    n_valid, n_test = (_part_size(size, ratio) for ratio in ratios[1:])
    parts = np.full(len(users), TRAIN, dtype=np.int8)
    parts[order] = np.select([position < n_test, position < n_test + n_valid], [TEST, VALID], TRAIN)
    return _drop_unanswerable(users, items, parts, wanted=[p for p in (VALID, TEST) if ratios[p] > 0])


def _part_size(size: np.ndarray, ratio: float) -> np.ndarray:
    if ratio == 0:
        return np.zeros_like(size)
    # the epsilon keeps 0.3 * 10 from being floored to 2
    share = np.maximum(np.floor(ratio * size + 1e-9).astype(np.int64), 1)
    return np.where(size < 3, 0, share)


def _drop_unanswerable(
    users: np.ndarray, items: np.ndarray, parts: np.ndarray, wanted: list[int]
) -> np.ndarray:
    held_out = parts != TRAIN
    parts[held_out & ~np.isin(items, items[~held_out])] = DROPPED
    for part in wanted:
        parts[held_out & ~np.isin(users, users[parts == part])] = DROPPED
    return parts
