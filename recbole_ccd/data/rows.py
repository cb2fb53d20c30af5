"""Which rows of a stream make which part of which block, and who is known by then."""

from __future__ import annotations

import numpy as np

from recbole_ccd.data.cut import TEST, TRAIN, VALID
from recbole_ccd.data.dataset import IncrementalDataset


class StreamRows:
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
        self.parts = [
            {
                part: np.flatnonzero((dataset.block_of_row == k) & (dataset.part_of_row == part))
                for part in (TRAIN, VALID, TEST)
            }
            for k in range(dataset.n_blocks)
        ]

    def known_with(self, rows: np.ndarray, before: tuple[int, int]) -> tuple[int, int]:
        """Users and items known ([PAD] included) once ``rows`` have arrived after ``before``."""
        users, items = (int(ids[rows].max(initial=0)) + 1 for ids in (self._users, self._items))
        return max(users, before[0]), max(items, before[1])

    def only_known(self, rows: np.ndarray, known: tuple[int, int]) -> np.ndarray:
        """The rows whose user and item are both known."""
        return rows[(self._users[rows] < known[0]) & (self._items[rows] < known[1])]

    def before(self, index: int, parts: tuple[int, ...], skip: int | None = None) -> list[np.ndarray]:
        """Rows of some parts of the blocks before ``index``, leaving block ``skip`` out."""
        return [self.parts[k][part] for k in range(index) if k != skip for part in parts]
