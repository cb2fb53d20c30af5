"""What a block's checkpoint holds for serving, and the interactions up to the block."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.splitting import TEST, TRAIN, VALID

if TYPE_CHECKING:
    from recbole_ccd.data.interactions import Interactions

RECORD = "serving"
"""The name of its file among those of a block."""

ALL_PARTS = (TRAIN, VALID, TEST)
_VECTORS = ("user_vectors", "item_vectors")


@dataclass(frozen=True)
class ServingSnapshot:
    """All interactions up to a block, and final embeddings.

    Attributes:
        rows: the interactions.
        known: users and items known, [PAD] included.
        vectors: final embeddings of users and items whose inner product is the score; None where the
            student does not score by one.
    """

    rows: Interactions
    known: tuple[int, int]
    vectors: tuple[Tensor, Tensor] | None

    @staticmethod
    def tensors(known: tuple[int, int], vectors: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
        """What is written of it in every block, as named tensors; interactions have files of their own."""
        named = {} if vectors is None else dict(zip(_VECTORS, vectors, strict=True))
        return {"known": torch.tensor(known), **named}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], rows: Interactions) -> ServingSnapshot:
        """The record of which :meth:`tensors` were written.

        Raises:
            KeyError: If a tensor is missing.
        """
        n_users, n_items = tensors["known"].tolist()
        found = [tensors[name] for name in _VECTORS if name in tensors]
        vectors = (found[0], found[1]) if len(found) == len(_VECTORS) else None
        return cls(rows, (n_users, n_items), vectors)

    @property
    def block(self) -> int:
        """The index of the last block."""
        return self.rows.n_blocks - 1

    def matrix(self, parts: Collection[int] = ALL_PARTS, block: int | None = None) -> csr_matrix:
        """Some interactions as 0/1, users × items of the known prefix, float32.

        Args:
            parts: which parts.
            block: of which block; None for all of them.
        """
        chosen = np.isin(self.rows.parts.numpy(), list(parts))
        if block is not None:
            chosen &= self.rows.blocks_of_rows() == block
        places = self.rows.users.numpy()[chosen], self.rows.items.numpy()[chosen]
        matrix = csr_matrix((np.ones(len(places[0]), dtype=np.float32), places), shape=self.known)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    def popular(self) -> tuple[np.ndarray, np.ndarray]:
        """All items by their interactions in the last block; of equal ones by those so far, then by age.

        Returns:
            Ids without [PAD], best first, and the interactions of each in the last block.
        """
        items, in_last = self.rows.items.numpy(), self.rows.blocks_of_rows() == self.block
        last, total = (np.bincount(part, minlength=self.known[1])[1:] for part in (items[in_last], items))
        order = np.lexsort((-total, -last))
        return order + 1, last[order]
