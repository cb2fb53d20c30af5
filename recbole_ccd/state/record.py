"""What a block's checkpoint holds for serving: who did what so far, and the student's final embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.cut import TEST, TRAIN, VALID

if TYPE_CHECKING:
    from recbole_ccd.data.block import Block
    from recbole_ccd.data.stream import BlockStream

RECORD = "serving"
"""The name of its file among those of a block."""

ALL_PARTS = (TRAIN, VALID, TEST)
_ROWS = {"users": torch.int32, "items": torch.int32, "parts": torch.int8}
_VECTORS = ("user_vectors", "item_vectors")


@dataclass(frozen=True)
class Record:
    """All interactions up to a block, which is 9 bytes for each, and final embeddings.

    Attributes:
        users: user id of each interaction in order of arrival, shape ``(n,)``, int32.
        items: likewise the item id.
        parts: ``TRAIN``, ``VALID`` or ``TEST``, shape ``(n,)``, int8.
        ends: number of interactions up to and with each block, shape ``(blocks,)``, int64.
        known: users and items known, [PAD] included.
        vocabulary: digest of their tokens, shape ``(32,)``, uint8.
        vectors: final embeddings of users and items whose inner product is the score; None where the
            student does not score by one.
    """

    users: Tensor
    items: Tensor
    parts: Tensor
    ends: Tensor
    known: tuple[int, int]
    vocabulary: Tensor
    vectors: tuple[Tensor, Tensor] | None

    @classmethod
    def of_block(
        cls,
        stream: BlockStream,
        block: Block,
        vocabulary: Mapping[str, Sequence[str]],
        vectors: tuple[Tensor, Tensor] | None,
    ) -> Record:
        """The record of a block that has been learned.

        Args:
            stream: the blocks.
            block: the last one learned.
            vocabulary: tokens of the users and items known then.
            vectors: final embeddings of the student, if it scores by their inner product.
        """
        rows = stream.rows_until(block)
        return cls(
            *(torch.from_numpy(rows[name]).to(kind) for name, kind in _ROWS.items()),
            torch.from_numpy(np.bincount(rows["blocks"], minlength=block.index + 1).cumsum()),
            (block.n_users, block.n_items),
            digest_of(vocabulary),
            vectors,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The record as named tensors."""
        named = {name: getattr(self, name) for name in (*_ROWS, "ends", "vocabulary")}
        vectors = {} if self.vectors is None else dict(zip(_VECTORS, self.vectors, strict=True))
        return {**named, "known": torch.tensor(self.known), **vectors}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Record:
        """The record that :meth:`tensors` gave.

        Raises:
            KeyError: a tensor is missing.
        """
        rows = [tensors[name] for name in _ROWS]
        n_users, n_items = tensors["known"].tolist()
        found = [tensors[name] for name in _VECTORS if name in tensors]
        vectors = (found[0], found[1]) if len(found) == len(_VECTORS) else None
        return cls(*rows, tensors["ends"], (n_users, n_items), tensors["vocabulary"], vectors)

    @property
    def block(self) -> int:
        """The index of the last block."""
        return len(self.ends) - 1

    def blocks_of_rows(self) -> np.ndarray:
        """The block of each interaction, shape ``(n,)``."""
        ends = self.ends.numpy()
        return np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))

    def matrix(self, parts: Collection[int] = ALL_PARTS, block: int | None = None) -> csr_matrix:
        """Some interactions as 0/1, users × items of the known prefix, float32.

        Args:
            parts: which parts.
            block: of which block; None for all of them.
        """
        chosen = np.isin(self.parts.numpy(), list(parts))
        if block is not None:
            chosen &= self.blocks_of_rows() == block
        places = self.users.numpy()[chosen], self.items.numpy()[chosen]
        matrix = csr_matrix((np.ones(len(places[0]), dtype=np.float32), places), shape=self.known)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    def popular(self) -> tuple[np.ndarray, np.ndarray]:
        """All items by their interactions in the last block; of equal ones by those so far, then by age.

        Returns:
            Ids without [PAD], best first, and the interactions of each in the last block.
        """
        items, first = self.items.numpy(), int(self.ends[-2]) if self.block else 0
        last, total = (np.bincount(part, minlength=self.known[1])[1:] for part in (items[first:], items))
        order = np.lexsort((-total, -last))
        return order + 1, last[order]


def digest_of(vocabulary: Mapping[str, Sequence[str]]) -> Tensor:
    """What tells tokens of users and items from others, shape ``(32,)``, uint8."""
    digest = hashlib.sha256()
    for name in ("users", "items"):
        for token in vocabulary[name]:
            digest.update(token.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
