"""Where a stream is cut: rows into blocks, and a block's rows into train, valid and test.

Pure functions of arrays; nothing here knows about RecBole.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_ccd.utils.errors import DataError

TRAIN, VALID, TEST, DROPPED = 0, 1, 2, -1
PARTS = ("train", "valid", "test")
LEFT_OUT = {"valid_and_test": (VALID, TEST), "valid_only": (VALID,), "test_only": (TEST,)}
"""RecBole's ways of leaving one out, and the parts that a row is left out for."""


def boundaries_by_ratio(times: np.ndarray, ratios: Sequence[float]) -> list[float]:
    """The moments at which new blocks begin, so that each block holds about its share of all rows (CCD).

    The cuts lie on the global time line: rows of one moment are never divided between two blocks.

    Args:
        times: time of each row, shape ``(n,)``.
        ratios: share of each block; they sum to 1.

    Returns:
        ``len(ratios) - 1`` moments for :func:`blocks_by_boundary`.
    """
    ordered = np.sort(times, kind="stable")
    cuts = np.rint(np.cumsum(ratios[:-1]) * len(times)).astype(np.int64)
    return ordered[np.minimum(cuts, len(times) - 1)].tolist()


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


@dataclass(frozen=True)
class SplitRule:
    """How a block's rows are divided, as RecBole's ``eval_args`` say.

    Attributes:
        ratios: shares of train, valid and test; None leaves one row out for each of ``left_out``.
        left_out: the parts that one row of each user is left out for.
        by_time: whether the last rows are held out (``order: TO``), and not some at random (``RO``).
        per_user: whether each user's rows are divided (``group_by: user``), and not all rows together.
    """

    ratios: tuple[float, ...] | None
    left_out: tuple[int, ...] = ()
    by_time: bool = False
    per_user: bool = True

    @classmethod
    def of(cls, eval_args: Mapping[str, Any]) -> SplitRule:
        """The rule that ``eval_args`` give.

        Args:
            eval_args: RecBole's key, checked.
        """
        ((method, value),) = eval_args["split"].items()
        by_time = eval_args["order"] == "TO"
        if method == "LS":
            return cls(None, LEFT_OUT[value], by_time)
        per_user = str(eval_args["group_by"]).lower() != "none"
        return cls(tuple(value), by_time=by_time, per_user=per_user)

    @property
    def wanted(self) -> list[int]:
        """The parts beside train that get rows."""
        if self.ratios is None:
            return list(self.left_out)
        return [part for part in (VALID, TEST) if self.ratios[part] > 0]

    def sizes(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many rows are for valid and for test.

        Args:
            n: rows that are divided together, any shape.
        """
        if self.ratios is not None:
            valid, test = (_part_size(n, ratio) for ratio in self.ratios[1:])
            return valid, test
        # one more for train
        enough = n > len(self.left_out)
        valid, test = (np.where(enough & (part in self.left_out), 1, 0) for part in (VALID, TEST))
        return valid, test


def split_parts(
    users: np.ndarray,
    items: np.ndarray,
    rule: SplitRule,
    rng: np.random.Generator,
    times: np.ndarray | None = None,
) -> np.ndarray:
    """Splits one block's rows; at random, user by user and 80/10/10 in CCD's published experiment.

    A user with ``n`` rows gives ``max(floor(ratio * n), 1)`` of them to test, as many to valid and the
    rest to train. With fewer than three rows all stay in train (ours: the formula would leave none there).
    Left out (RecBole's ``LS``) is one row for each part, of users who then have one for train. Where all rows
    are divided together, they count as those of one user. By time, the last rows are for test, and those
    before them for valid; of rows of one moment the first in the order given comes first.

    Valid and test rows whose item has no train row in this block are dropped, and so are those of a user
    left without valid or without test; where all rows are divided together, those of a user without a train
    row.

    Args:
        users: user of each row, shape ``(n,)``, any integers.
        items: item of each row, shape ``(n,)``, any integers.
        rule: how they are divided.
        rng: the generator the split is drawn from.
        times: time of each row, shape ``(n,)``; needed by a rule that goes by it.

    Returns:
        For each row ``TRAIN``, ``VALID``, ``TEST`` or ``DROPPED``, shape ``(n,)``, int8.
    """
    groups = users if rule.per_user else np.zeros_like(users)
    # latest first, so that what is held out stands at the beginning
    ranks = -_order_in_time(times) if rule.by_time and times is not None else rng.random(len(users))
    order = np.lexsort((ranks, groups))
    _, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    position = np.arange(len(users)) - np.repeat(start, count)
    n_valid, n_test = rule.sizes(np.repeat(count, count))
    parts = np.full(len(users), TRAIN, dtype=np.int8)
    parts[order] = np.select([position < n_test, position < n_test + n_valid], [TEST, VALID], TRAIN)
    return _drop_unanswerable(users, items, parts, rule)


def times_of_split(where: str, field: str | None, times: np.ndarray | None) -> np.ndarray:
    """The times that a rule goes by.

    Args:
        where: what holds the rows, for the message.
        field: the column of times.
        times: those of all rows; None where some have none.

    Raises:
        DataError: If some rows have none.
    """
    if times is None:
        raise DataError(
            f"{where}: eval_args.order is TO, and there is no column {field!r} with a number in every row to "
            "go by; correct TIME_FIELD, load_col.inter or the file, or set eval_args.order to RO"
        )
    return times


def _order_in_time(times: np.ndarray) -> np.ndarray:
    """The place of each row in order of time, from 0."""
    places = np.empty(len(times), dtype=np.int64)
    places[np.argsort(times, kind="stable")] = np.arange(len(times))
    return places


def _part_size(size: np.ndarray, ratio: float) -> np.ndarray:
    if ratio == 0:
        return np.zeros_like(size)
    # the epsilon keeps 0.3 * 10 from being floored to 2
    share = np.maximum(np.floor(ratio * size + 1e-9).astype(np.int64), 1)
    return np.where(size < 3, 0, share)


def _drop_unanswerable(
    users: np.ndarray, items: np.ndarray, parts: np.ndarray, rule: SplitRule
) -> np.ndarray:
    held_out = parts != TRAIN
    parts[held_out & ~np.isin(items, items[~held_out])] = DROPPED
    if not rule.per_user:
        parts[held_out & ~np.isin(users, users[~held_out])] = DROPPED
        return parts
    for part in rule.wanted:
        parts[held_out & ~np.isin(users, users[parts == part])] = DROPPED
    return parts
