"""Which rows of a stream make which part of which block, and who is known by then."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.splitting import TEST, TRAIN, VALID


class BlockIndex:
    """The rows of a stream by block and part.

    Attributes:
        dataset: the whole stream.
        parts: per block the row numbers of its ``TRAIN``, ``VALID`` and ``TEST`` part.
    """

    def __init__(self, dataset: IncrementalDataset) -> None:
        """Sorts the rows out.

        Args:
            dataset: the whole stream.
        """
        self.dataset = dataset
        self._users = dataset.inter_feat[dataset.uid_field].numpy()
        self._items = dataset.inter_feat[dataset.iid_field].numpy()
        # rows are in order of arrival
        starts = np.searchsorted(dataset.block_of_row, np.arange(dataset.n_blocks + 1))
        self.parts = [
            {
                part: start + np.flatnonzero(dataset.part_of_row[start:end] == part)
                for part in (TRAIN, VALID, TEST)
            }
            for start, end in pairwise(starts)
        ]
        self._starts = starts

    def arrivals(self, index: int) -> list[tuple[int, int]]:
        """First row, and the one after the last, of each file that a block came in, in order."""
        start, end = map(int, self._starts[index : index + 2])
        numbers = self.dataset.arrival_of_row
        if numbers is None or end - start < 2:
            return [(start, end)]
        cuts = start + 1 + np.flatnonzero(np.diff(numbers[start:end]))
        return list(pairwise([start, *map(int, cuts), end]))

    def known_with(self, rows: np.ndarray, before: tuple[int, int]) -> tuple[int, int]:
        """Users and items known ([PAD] included) once ``rows`` have arrived after ``before``."""
        users, items = (int(ids[rows].max(initial=0)) + 1 for ids in (self._users, self._items))
        return max(users, before[0]), max(items, before[1])

    def pairs_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """User and item of each of some rows."""
        return self._users[rows], self._items[rows]

    def only_known(self, rows: np.ndarray, known: tuple[int, int]) -> np.ndarray:
        """The rows whose user and item are both known."""
        return rows[(self._users[rows] < known[0]) & (self._items[rows] < known[1])]

    def before(self, index: int, parts: tuple[int, ...], skip: int | None = None) -> list[np.ndarray]:
        """Rows of some parts of the blocks before ``index``, leaving block ``skip`` out."""
        return [self.parts[k][part] for k in range(index) if k != skip for part in parts]
