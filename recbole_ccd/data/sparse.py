"""Sparse sets of (row, column) pairs: the rows of a batch, membership, and lists of ids as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from recbole.data.dataset import Dataset
from scipy.sparse import csr_matrix
from torch import Tensor

# rows of lists that are put in order at a time
_ROW_TILE = 1 << 14


def csr_rows(matrix: csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nonzeros of some rows of a sparse matrix.

    Args:
        matrix: the matrix; rows beyond its end count as empty.
        rows: row ids, shape ``(b,)``.

    Returns:
        Position in ``rows`` and column of each nonzero, shapes ``(p,)``.
    """
    inside = rows < matrix.shape[0]
    rows = np.where(inside, rows, 0)
    start = matrix.indptr[rows].astype(np.int64)
    length = np.where(inside, matrix.indptr[rows + 1] - start, 0)
    owner = np.repeat(np.arange(len(rows)), length)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(length) - length, length)
    return owner, matrix.indices[start[owner] + offset].astype(np.int64)


def contains(matrix: csr_matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Whether pairs are nonzeros of a sparse matrix, by a binary search in all their rows at once.

    Args:
        matrix: with sorted indices; rows beyond its end count as empty.
        rows: row of each pair, shape ``(p,)``.
        columns: column of each pair, shape ``(p,)``.

    Returns:
        Shape ``(p,)`` bool.
    """
    inside = rows < matrix.shape[0]
    if not matrix.nnz or not inside.any():
        return np.zeros(len(rows), dtype=bool)
    rows = np.where(inside, rows, 0)
    low = matrix.indptr[rows].astype(np.int64)
    end = np.where(inside, matrix.indptr[rows + 1], low)
    high, last = end.copy(), matrix.nnz - 1
    for _ in range(int((end - low).max()).bit_length()):
        middle = (low + high) >> 1
        below = (middle < high) & (matrix.indices[np.minimum(middle, last)] < columns)
        low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    return (low < end) & (matrix.indices[np.minimum(low, last)] == columns)


def binary_matrix(dataset: Dataset) -> csr_matrix:
    """The interactions of a data set as 0/1, users × items, float32 with sorted indices."""
    matrix = dataset.inter_matrix(form="csr").astype(np.float32)
    matrix.data[:] = 1.0
    matrix.sort_indices()
    return matrix


def union(*matrices: csr_matrix) -> csr_matrix:
    """The nonzeros of any of several matrices.

    Args:
        *matrices: all of one shape, in canonical form.

    Returns:
        bool matrix with sorted indices, of no more memory than these take.
    """
    flags = [
        csr_matrix((np.ones(one.nnz, dtype=bool), one.indices, one.indptr), shape=one.shape)
        for one in matrices
    ]
    total = sum(flags[1:], start=flags[0])
    # a sum keeps room for the nonzeros of both
    parts = total.data.copy(), total.indices.copy(), total.indptr
    return csr_matrix(parts, shape=total.shape)


def pairs_matrix(lists: Sequence[Tensor], n_rows: int, n_columns: int) -> csr_matrix:
    """Lists of ids as one matrix.

    Args:
        lists: tensors of shape ``(rows, K)`` of column ids, 0-padded, such as each user's items. Some may
            cover fewer rows.
        n_rows: rows of the result.
        n_columns: columns of the result.

    Returns:
        bool matrix with sorted indices; row 0 and column 0 ([PAD]) are empty.

    Raises:
        ValueError: If a list lies beyond the rows, or holds an id beyond the columns.
    """
    given = [ids.cpu().numpy() for ids in lists]
    for part in given:
        highest = part[1:].max(initial=0)
        if len(part) > n_rows or highest >= n_columns:
            raise ValueError(
                f"{len(part)} lists of ids up to {highest} do not fit {n_rows} rows and {n_columns} columns"
            )
    lengths, tiles = [np.zeros(1, dtype=np.int64)], [np.zeros(0, dtype=np.int32)]
    for start in range(0, n_rows, _ROW_TILE):
        ids = np.zeros((min(_ROW_TILE, n_rows - start), sum(part.shape[1] for part in given)), dtype=np.int32)
        column = 0
        for part in given:
            found = part[start : start + len(ids)]
            ids[: len(found), column : column + part.shape[1]] = found
            column += part.shape[1]
        ids[: 1 if start == 0 else 0] = 0
        ids.sort(axis=1)
        kept = ids > 0
        kept[:, 1:] &= ids[:, 1:] != ids[:, :-1]
        lengths.append(kept.sum(axis=1))
        tiles.append(ids[kept])
    indices = np.concatenate(tiles)
    data = np.ones(len(indices), dtype=bool)
    return csr_matrix((data, indices, np.cumsum(np.concatenate(lengths))), shape=(n_rows, n_columns))
