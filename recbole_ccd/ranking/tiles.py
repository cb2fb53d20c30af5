"""The best of each row of a product of vectors, tile by tile, so that most scores never leave the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_ccd.ranking.highest import GROUP, group_maxima, has_equals, highest

# columns of a tile and rows that share one: 4 MB of scores
TILE = 2048
ROWS = 512
# shorter catalogues are scored whole rows at a time
_WORTH = 1 << 15
# lists longer than this share of the catalogue would take most of each tile
_SHORT = 1 / 64
# columns on which bounds are estimated, one of so many
_SAMPLE = 3072
# standard errors by which bounds are on the safe side; rows where one fails are scored whole
_ERRORS = 2.0
# rows that are scored whole at a time
_WHOLE_ROWS = 32

Choose = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Finds the k highest of each row, such as ``torch.topk``."""

Pairs = tuple[Tensor, Tensor]
"""Places of rows in a batch, and columns, each (P,)."""


@dataclass(frozen=True)
class InnerProducts:
    """Scores that are inner products of the vectors of users and items.

    Called with user ids (B,) it gives their whole rows (B, n_items), as any function of scores does; passes
    over all pairs of a large catalogue go by tiles.

    Attributes:
        users: (n_users, d) vectors.
        items: (n_items, d) vectors, row 0 that of [PAD].
    """

    users: Tensor
    items: Tensor

    def __call__(self, users: Tensor) -> Tensor:
        """(B, n_items) fresh scores of users (B,)."""
        return self.users[users] @ self.items.T

    def up_to(self, n_items: int) -> InnerProducts:
        """Scores of the first items alone."""
        return InnerProducts(self.users, self.items[:n_items])

    def in_tiles(self, k: int) -> bool:
        """Whether the k best items of users are found by tiles: not for NaN, which whole rows show."""
        n_items = len(self.items)
        if not is_large(n_items, self.items.device) or k > _SHORT * n_items:
            return False
        return bool(self.users.isfinite().all() and self.items.isfinite().all())

    def best(
        self, users: Tensor, k: int, parts: Sequence[Part], as_topk: bool = False
    ) -> list[tuple[Tensor, Tensor]]:
        """The k best items of some users, with other items masked in each part.

        Args:
            users: (B,) ids.
            k: how many items.
            parts: which of the users, and what is masked for them.
            as_topk: whether equal scores are taken as ``torch.topk`` takes them of whole rows; otherwise it
                is arbitrary which of them are.

        Returns:
            For each part (b, k) scores, best first, and their items.
        """
        rows = self.users[users]
        found = [RowsBest(part.of(rows), self.items, k, part.masked, as_topk) for part in parts]
        for tile in tiles_of(rows, self.items):
            for part, best in zip(parts, found, strict=True):
                best.take(tile if part.is_last else Tile(part.of(tile.scores), tile.start))
        return [best.best() for best in found]


class Part(NamedTuple):
    """Some rows of a batch.

    Attributes:
        rows: (b,) their places, None for all.
        masked: pairs, of places among these rows and columns, that score ``-inf``.
        is_last: whether nobody looks at the batch's scores afterwards, so that they may be overwritten.
    """

    rows: Tensor | None
    masked: Pairs
    is_last: bool = False

    def of(self, batch: Tensor) -> Tensor:
        """A copy of these rows, or for the last part of all rows the batch itself."""
        if self.rows is None:
            return batch if self.is_last else batch.clone()
        return batch.index_select(0, self.rows)


class Tile(NamedTuple):
    """Scores of some rows for neighbouring columns.

    Attributes:
        scores: (B, ``TILE``), ``-inf`` beyond the last column.
        start: the first column.
    """

    scores: Tensor
    start: int


def is_large(n_items: int, device: torch.device) -> bool:
    """Whether a catalogue is passed over in tiles, which save nothing of a short one, nor on a GPU."""
    return n_items >= _WORTH and device.type == "cpu"


def tiles_of(rows: Tensor, columns: Tensor) -> Iterator[Tile]:
    """The product of (B, d) and (n, d), ``TILE`` columns at a time; each overwrites the one before.

    Args:
        rows: vectors of a batch.
        columns: vectors of all columns, the first that of [PAD], which scores ``-inf``.
    """
    n, scores = len(columns), rows.new_empty(len(rows), TILE)
    for start in range(0, n, TILE):
        width = min(TILE, n - start)
        scores[:, width:] = -torch.inf
        torch.mm(rows, columns[start : start + width].T, out=scores[:, :width])
        if not start:
            scores[:, 0] = -torch.inf
        yield Tile(scores, start)


class RowsBest:
    """The k best columns of each row, while tiles come in.

    A bound that somewhat more than k scores of a row are above is estimated on a sample of the columns. In
    each tile only groups of columns with a maximum above it are looked at. The result is exact: all that is
    above the bound is found, and rows in which that is less than k are scored once more, whole.
    """

    def __init__(self, rows: Tensor, columns: Tensor, k: int, masked: Pairs, as_topk: bool = False) -> None:
        """Estimates bounds.

        Args:
            rows: (B, d) vectors of a batch.
            columns: (n, d) vectors of all columns, the first that of [PAD].
            k: how many are wanted, far fewer than n.
            masked: pairs that count as ``-inf``.
            as_topk: as of :meth:`InnerProducts.best`.
        """
        self._rows, self._columns, self._k, self._as_topk = rows, columns, k, as_topk
        # one more tells whether the last one is chosen among equals
        self._wanted = k + as_topk
        places, masked_columns = masked
        order = masked_columns.argsort()
        self._masked = places[order], masked_columns[order]
        ends = torch.arange(0, len(columns) + TILE, TILE, device=rows.device)
        self._ends = torch.searchsorted(self._masked[1], ends).tolist()
        self._bounds = self._estimated_bounds()
        self._found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._counts = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        self._members = torch.arange(0, TILE, TILE // GROUP, device=rows.device)

    def _estimated_bounds(self) -> Tensor:
        """(B, 1): scores that about as many are above as are wanted, and some more."""
        stride = max(len(self._columns) // _SAMPLE, 1)
        scores = self._rows @ self._columns[::stride].contiguous().T
        places, columns = self._masked
        drawn = columns % stride == 0
        scores[places[drawn], columns[drawn] // stride] = -torch.inf
        scores[:, 0] = -torch.inf
        expected = self._wanted / stride
        rank = math.ceil(expected + _ERRORS * math.sqrt(expected) + 1)
        # so many groups have a score that is as high: a bound that is hardly lower, and sooner found
        best = group_maxima(scores)
        return torch.topk(best, min(rank, best.shape[1]), dim=1).values[:, -1:]

    def take(self, tile: Tile) -> None:
        """Looks at a tile of the batch's scores, and overwrites what is masked."""
        scores, number = tile.scores, tile.start // TILE
        masked = slice(self._ends[number], self._ends[number + 1])
        scores[self._masked[0][masked], self._masked[1][masked] - tile.start] = -torch.inf
        row, group = (group_maxima(scores) > self._bounds).nonzero(as_tuple=True)
        values = scores.view(-1).take((row * TILE + group)[:, None] + self._members)
        hit, member = (values > self._bounds[row]).nonzero(as_tuple=True)
        row, column = row[hit], group[hit] + self._members[member] + tile.start
        counts = torch.bincount(row, minlength=len(scores))
        self._counts += counts
        place = torch.arange(len(row), device=row.device) + (self._counts - counts.cumsum(0))[row]
        self._found.append((row, place, column, values[hit, member]))

    def best(self) -> tuple[Tensor, Tensor]:
        """(B, k) scores, best first, and their columns."""
        row, place, column, value = (torch.cat(part) for part in zip(*self._found, strict=True))
        width = max(int(self._counts.max()), self._wanted) if len(self._counts) else self._wanted
        values = value.new_full((len(self._rows), width), -torch.inf)
        columns = column.new_zeros(values.shape)
        at = row * width + place
        values.view(-1)[at], columns.view(-1)[at] = value, column
        values, order = torch.topk(values, self._wanted, dim=1)
        columns = columns.gather(1, order)
        undecided = self._counts < self._wanted
        if self._as_topk:
            undecided |= has_equals(values)
        values, columns = values[:, : self._k].contiguous(), columns[:, : self._k].contiguous()
        for some in undecided.nonzero().squeeze(1).split(_WHOLE_ROWS):
            values[some], columns[some] = self._by_whole_rows(some)
        return values, columns

    def _by_whole_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        scores = self._rows[rows] @ self._columns.T
        scores[:, 0] = -torch.inf
        place_of = torch.full((len(self._rows),), -1, device=rows.device)
        place_of[rows] = torch.arange(len(rows), device=rows.device)
        places, columns = place_of[self._masked[0]], self._masked[1]
        scores[places[places >= 0], columns[places >= 0]] = -torch.inf
        choose: Choose = torch.topk if self._as_topk else highest
        values, found = choose(scores, self._k)
        return values, found
