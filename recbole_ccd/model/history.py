"""Users' rows as auto-encoders read them, swapped between training and inference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from recbole.model.abstract_recommender import AutoEncoderMixin
from scipy.sparse import csr_matrix
from torch import Tensor


class PaddedRows:
    """Rows of a sparse matrix, padded with zeros as they are asked for.

    RecBole's auto-encoders index a dense (users × longest history) tensor; this gives the same
    answers from the sparse matrix, so its memory is that of the interactions.
    """

    def __init__(self, matrix: csr_matrix, values: np.ndarray, width: int, device: torch.device) -> None:
        """Wraps one array of a CSR matrix.

        Args:
            matrix: gives the row boundaries.
            values: what stands at the nonzeros, shape ``(nnz,)``.
            width: columns to pad to.
            device: where the rows are wanted.
        """
        self._start = torch.from_numpy(matrix.indptr.astype(np.int64))
        self._values = torch.cat(
            [torch.from_numpy(values), torch.zeros(1, dtype=torch.from_numpy(values).dtype)]
        )
        self._columns = torch.arange(width)
        self._device = device
        self.shape = (matrix.shape[0], width)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Rows of shape ``(B, width)``; zero beyond a row's end."""
        rows = rows.cpu()
        start, end = self._start[rows].unsqueeze(1), self._start[rows + 1].unsqueeze(1)
        position = start + self._columns
        return self._values[torch.where(position < end, position, len(self._values) - 1)].to(self._device)


History = tuple[PaddedRows, PaddedRows]
"""What an auto-encoder reads: items and weights of each user's row."""


def padded(matrix: csr_matrix, device: torch.device) -> History:
    """Items and weights of each row; it costs a pass over all interactions.

    Args:
        matrix: users × items with the interactions' weights; 1 for real ones.
        device: where the rows are wanted.
    """
    width = max(int(np.diff(matrix.indptr).max(initial=0)), 1)
    ids, weights = matrix.indices.astype(np.int64), matrix.data.astype(np.float32)
    return PaddedRows(matrix, ids, width, device), PaddedRows(matrix, weights, width, device)


def use_history(model: AutoEncoderMixin, matrix: csr_matrix) -> None:
    """Makes an auto-encoder read these rows from now on.

    Args:
        model: a RecBole auto-encoder (MultiVAE, MultiDAE, RecVAE, CDAE, …).
        matrix: as of :func:`padded`.
    """
    model.history_item_id, model.history_item_value = padded(matrix, model.device)


@contextmanager
def reading(model: AutoEncoderMixin, rows: History) -> Iterator[None]:
    """Makes an auto-encoder read other rows for a while, which :func:`padded` has made once."""
    before = model.history_item_id, model.history_item_value
    model.history_item_id, model.history_item_value = rows
    try:
        yield
    finally:
        model.history_item_id, model.history_item_value = before
