"""Similarity graphs of users or of items, built block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.sparse import csr_matrix

# rows that others are compared with at a time: what a product adds up in then stays in the cache
_COMPARED = 1 << 14
# products that a block of rows is made of at most, and so its pairs: at first all of them are among the best
_PRODUCTS = 1 << 22

_Found = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Squared cosines, rows and columns of some pairs."""


def similarity_graph(matrix: csr_matrix, mean_degree: float, block_rows: int = 1024) -> csr_matrix:
    r"""Graph of the most similar pairs of rows of a binary interaction matrix.

    The similarity of two rows is the cosine of their interaction vectors, :math:`o_{ij} / \sqrt{d_i d_j}`
    with the overlap :math:`o` and the numbers of interactions :math:`d`. The most similar pairs become edges,
    as many as give the rows with interactions the wanted mean degree; rows that share nothing are never
    joined. Pairs that tie at the threshold are taken in the order of their ids until the budget is used up,
    so that the result is symmetric and the same for every ``block_rows``.

    Source: the user-user and item-item neighbours of LWC-KD, Wang et al., CIKM 2021.

    Args:
        matrix: (n, m) interactions, n rows to compare; stored values other than 0 count as 1. Pass the
            transpose to compare columns.
        mean_degree: wanted mean number of neighbours of a row that has interactions.
        block_rows: rows whose similarities are computed at a time.

    Returns:
        (n, n) symmetric float32 adjacency of ones with sorted indices and an empty diagonal.

    Raises:
        ValueError: If ``mean_degree`` is negative or ``block_rows`` is not positive.
    """
    if mean_degree < 0 or block_rows < 1:
        raise ValueError(f"mean_degree {mean_degree} and block_rows {block_rows} are out of range")
    binary = _binary(matrix)
    degrees = np.diff(binary.indptr).astype(np.float64)
    # An edge is the neighbour of two rows.
    budget = round(mean_degree * np.count_nonzero(degrees) / 2)
    rows, cols = _most_similar_pairs(binary, degrees, budget, block_rows)
    n = matrix.shape[0]
    ends = (np.concatenate([rows, cols]), np.concatenate([cols, rows]))
    graph = csr_matrix((np.ones(len(ends[0]), dtype=np.float32), ends), shape=(n, n))
    graph.sort_indices()
    return graph


def _binary(matrix: csr_matrix) -> csr_matrix:
    binary = csr_matrix(matrix, copy=True)
    binary.sum_duplicates()
    binary.eliminate_zeros()
    binary.data = np.ones(binary.nnz, dtype=np.float32)
    return binary


def _most_similar_pairs(
    binary: csr_matrix, degrees: np.ndarray, budget: int, block_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (row < column) of the ``budget`` most similar pairs."""
    kept, n, n_threads = _Best(budget), binary.shape[0], max(torch.get_num_threads(), 1)
    others = [binary[start : start + _COMPARED].T.tocsr() for start in range(0, n, _COMPARED)]

    def similar(block: slice) -> _Found:
        parts = zip(*_similar(binary[block], block.start, others, degrees, kept.floor), strict=True)
        values, row, col = (np.concatenate(part) for part in parts)
        return values, row, col

    blocks = _blocks(binary, block_rows)
    # scipy releases the interpreter during a product, so threads share the blocks
    with ThreadPoolExecutor(n_threads) as pool:
        for first in range(0, len(blocks), n_threads):
            for found in list(pool.map(similar, blocks[first : first + n_threads])):
                kept.add(*found)
    return kept.pairs()


def _blocks(binary: csr_matrix, block_rows: int) -> list[slice]:
    """Neighbouring rows that are compared with others at a time, at most so many."""
    counts = np.bincount(binary.indices, minlength=binary.shape[1])
    work = np.cumsum(binary @ counts.astype(np.float64))
    blocks, start = list[slice](), 0
    while start < len(work):
        limit = _PRODUCTS + (work[start - 1] if start else 0.0)
        stop = min(max(int(np.searchsorted(work, limit, side="right")), start + 1), start + block_rows)
        blocks.append(slice(start, min(stop, len(work))))
        start = stop
    return blocks


def _similar(
    rows: csr_matrix, start: int, others: Sequence[csr_matrix], degrees: np.ndarray, floor: float
) -> Iterator[_Found]:
    """Pairs of some rows and of later ones that are more similar than a floor.

    Args:
        rows: (b, m) neighbouring rows.
        start: the first of them.
        others: all rows, transposed, ``_COMPARED`` in each.
        degrees: (n,) numbers of interactions.
        floor: what a squared cosine has to be above.
    """
    for number in range(start // _COMPARED, len(others)):
        overlap, first = rows @ others[number], number * _COMPARED
        row = np.repeat(np.arange(start, start + rows.shape[0], dtype=np.int32), np.diff(overlap.indptr))
        col = overlap.indices + np.int32(first)
        # The square of the cosine: a quotient of whole numbers, so that equal similarities are equal floats.
        values = overlap.data.astype(np.float64) ** 2 / (degrees[row] * degrees[col])
        high = values > floor
        if first < start + rows.shape[0]:
            high &= row < col
        yield values[high], row[high], col[high]


class _Best:
    """The most similar pairs so far, of equal ones those with the lowest ids.

    Attributes:
        floor: what a further pair has to be above.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self.floor, self._size = budget, 0.0 if budget else np.inf, 0
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> None:
        """Takes pairs, none of which has lower row ids than earlier ones, into account."""
        high = values > self.floor
        self._parts.append((values[high], rows[high], cols[high]))
        self._size += int(high.sum())
        # Cutting back costs as much as what there is to cut, so it waits until that has doubled.
        if self._size > 2 * self._budget:
            self._cut()

    def _cut(self) -> None:
        values, rows, cols = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        if len(values) > self._budget:
            self.floor = np.partition(values, -self._budget)[-self._budget]
            above, equal = values > self.floor, np.flatnonzero(values == self.floor)
            first = np.lexsort((cols[equal], rows[equal]))[: self._budget - int(above.sum())]
            above[equal[first]] = True
            values, rows, cols = values[above], rows[above], cols[above]
        self._parts, self._size = [(values, rows, cols)], len(values)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the best pairs."""
        if not self._parts:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._cut()
        return self._parts[0][1:]
