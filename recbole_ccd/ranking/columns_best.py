"""The best rows of each column, while batches of rows come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# rows whose maximum is held against the bounds before any score of them is
_GROUP = 16
# updates that are sorted in at a time, which bounds how many there are of one column
_UPDATES = 1 << 14


class ColumnUpdates(NamedTuple):
    """Scores of a batch that may be among the best of their column, each (E,).

    Attributes:
        scores: the scores.
        rows: ids of their rows.
        columns: their columns; those of equal columns are in order of rows.
    """

    scores: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def of_tiles(cls, parts: Sequence[ColumnUpdates | None]) -> ColumnUpdates | None:
        """Those of all tiles of a batch, unless there are a lot of one."""
        few = [part for part in parts if part is not None]
        return None if len(few) < len(parts) else cls(*(torch.cat(part) for part in zip(*few, strict=True)))

    def above(self, bounds: Tensor) -> ColumnUpdates:
        """Those above the bound of their column."""
        kept = self.scores > bounds[self.columns]
        return ColumnUpdates(*(part[kept] for part in self))


class ColumnsBest:
    """The k best rows of each column, while batches of rows come in.

    Attributes:
        scores: (n_columns, k) their scores, best first.
        ids: (n_columns, k) their ids.
        is_choosy: whether few of the last scores were among the best.
    """

    def __init__(self, n_columns: int, k: int, device: torch.device) -> None:
        """Begins without any score."""
        self.scores = torch.full((n_columns, k), -torch.inf, device=device)
        self.ids = torch.zeros(n_columns, k, dtype=torch.int64, device=device)
        self.is_choosy = not k

    def copy(self) -> ColumnsBest:
        """A copy that shares no tensor with this one."""
        other = ColumnsBest(0, 0, self.scores.device)
        other.scores, other.ids, other.is_choosy = self.scores.clone(), self.ids.clone(), self.is_choosy
        return other

    @property
    def k(self) -> int:
        """How many there are of each column."""
        return self.ids.shape[1]

    @property
    def bounds(self) -> Tensor:
        """(n_columns,) what a score must be above to get among them, where k is not 0."""
        return self.scores[:, -1]

    def add(self, scores: Tensor, rows: Tensor, start: int = 0) -> ColumnUpdates | None:
        """Takes scores of some rows into account.

        Args:
            scores: (B, n) scores for neighbouring columns; of columns that there are not, none counts.
            rows: (B,) ids of the rows.
            start: the first of the columns.

        Returns:
            Those that have got among the best, unless they are more than a few.
        """
        if not self.k:
            return self._nothing(rows)
        columns = slice(start, min(start + scores.shape[1], len(self.ids)))
        scores = scores[:, : columns.stop - start]
        bounds = self.bounds[columns].contiguous()
        # after some batches hardly any score is among the best of its column
        self.is_choosy = _are_few(scores, bounds)
        if not self.is_choosy:
            self._add_all(scores, rows, columns)
            return None
        row, column = _above(scores, bounds)
        updates = ColumnUpdates(scores[row, column], rows[row], column + start)
        self.add_few(updates)
        return updates

    def add_listed(self, scores: Tensor, columns: Tensor, rows: Tensor) -> ColumnUpdates:
        """Takes scores of some rows for columns of their own into account.

        Args:
            scores: (B, E) scores, ``-inf`` for none.
            columns: (B, E) columns.
            rows: (B,) ids of the rows.

        Returns:
            Those that have got among the best.
        """
        if not self.k:
            return self._nothing(rows)
        row, place = (scores > self.bounds[columns]).nonzero(as_tuple=True)
        self.is_choosy = 4 * len(row) <= scores.numel()
        updates = ColumnUpdates(scores[row, place], rows[row], columns[row, place])
        self.add_few(updates)
        return updates

    @staticmethod
    def _nothing(rows: Tensor) -> ColumnUpdates:
        none = rows[:0]
        return ColumnUpdates(none.float(), none, none)

    def _add_all(self, scores: Tensor, rows: Tensor, columns: slice) -> None:
        ids = torch.cat([self.ids[columns], rows.expand(scores.shape[1], -1)], dim=1)
        known = torch.cat([self.scores[columns], scores.T], dim=1)
        self.scores[columns], best = torch.topk(known, self.k, dim=1)
        self.ids[columns] = ids.gather(1, best)

    def add_few(self, updates: ColumnUpdates) -> None:
        """Takes those scores of a batch into account that are above the bounds."""
        for part in zip(*(ids.split(_UPDATES) for ids in updates), strict=True):
            self._sort_in(ColumnUpdates(*part))

    def _sort_in(self, updates: ColumnUpdates) -> None:
        order = updates.columns.argsort(stable=True)
        scores, rows, column = (part[order] for part in updates)
        touched, place, counts = torch.unique_consecutive(column, return_inverse=True, return_counts=True)
        if not len(touched):
            return
        within = torch.arange(len(column), device=column.device) - (counts.cumsum(0) - counts)[place]
        wide = scores.new_full((len(touched), self.k + int(counts.max())), -torch.inf)
        ids = self.ids.new_zeros(wide.shape)
        wide[:, : self.k], ids[:, : self.k] = self.scores[touched], self.ids[touched]
        wide[place, self.k + within], ids[place, self.k + within] = scores, rows
        self.scores[touched], best = torch.topk(wide, self.k, dim=1)
        self.ids[touched] = ids.gather(1, best)


def _are_few(scores: Tensor, bounds: Tensor) -> bool:
    """Whether at most a quarter of the scores (B, n) is above the bounds of their columns, by some rows."""
    some = scores[:: max(len(scores) // _GROUP, 1)]
    return 4 * int((some > bounds).sum()) <= some.numel()


def _above(scores: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the scores (B, n) above their column's bound, in order of rows in each column."""
    grouped = len(scores) // _GROUP * _GROUP
    best = scores[:grouped].unflatten(0, (grouped // _GROUP, _GROUP)).amax(1)
    group, column = (best > bounds).nonzero(as_tuple=True)
    member = torch.arange(_GROUP, device=scores.device)
    row, column = (group[:, None] * _GROUP + member).flatten(), column.repeat_interleave(_GROUP)
    above = scores[row, column] > bounds[column]
    left_row, left_column = (scores[grouped:] > bounds).nonzero(as_tuple=True)
    return torch.cat([row[above], left_row + grouped]), torch.cat([column[above], left_column])
