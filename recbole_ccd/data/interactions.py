"""Who did what, block by block, in as few bytes as it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROWS = {"users": torch.int32, "items": torch.int32, "parts": torch.int8}
"""The columns that are stored of an interaction, and their types."""


@dataclass(frozen=True)
class Interactions:
    """All interactions of some blocks, in order of arrival: 9 bytes for each.

    A block arrives as one, or in several files when the student learns more often than the teacher.

    Attributes:
        users: user id of each interaction, shape ``(n,)``, int32.
        items: item id of each interaction, shape ``(n,)``, int32.
        parts: ``TRAIN``, ``VALID`` or ``TEST``, shape ``(n,)``, int8.
        blocks: the block of each arrival, shape ``(arrivals,)``, from 0 and without gaps.
        ends: number of interactions up to and with each arrival, shape ``(arrivals,)``.
    """

    users: Tensor
    items: Tensor
    parts: Tensor
    blocks: np.ndarray
    ends: np.ndarray

    @classmethod
    def joined(cls, arrivals: Sequence[tuple[int, Mapping[str, Tensor]]]) -> Interactions:
        """Arrivals put together.

        Args:
            arrivals: the block of each, and its ``users``, ``items`` and ``parts``.

        Raises:
            KeyError: If one of these is missing.
            ValueError: If they are not of one shape ``(n,)``, or blocks are missing.
        """
        blocks = np.array([block for block, _ in arrivals], dtype=np.int64)
        if not len(blocks) or blocks[0] != 0 or not np.isin(np.diff(blocks), (0, 1)).all():
            raise ValueError("blocks are missing")
        if any({tuple(rows[name].shape) for name in ROWS} != {(len(rows["users"]),)} for _, rows in arrivals):
            raise ValueError("the columns are not of one length")
        users, items, parts = (
            torch.cat([rows[name] for _, rows in arrivals]).to(kind) for name, kind in ROWS.items()
        )
        return cls(users, items, parts, blocks, np.cumsum([len(rows["users"]) for _, rows in arrivals]))

    def with_more(self, block: int, rows: Mapping[str, Tensor]) -> Interactions:
        """These and what has arrived since.

        Args:
            block: the last block, or the one after it.
            rows: ``users``, ``items`` and ``parts`` of what has arrived.
        """
        users, items, parts = (
            torch.cat([getattr(self, name), rows[name].to(kind)]) for name, kind in ROWS.items()
        )
        blocks, ends = np.append(self.blocks, block), np.append(self.ends, len(users))
        return Interactions(users, items, parts, blocks, ends)

    def __len__(self) -> int:
        """The number of interactions."""
        return len(self.users)

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""
        return int(self.blocks[-1]) + 1

    def arrivals_of_rows(self) -> np.ndarray:
        """The number of the arrival of each interaction, shape ``(n,)``."""
        return np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))

    def blocks_of_rows(self) -> np.ndarray:
        """The block of each interaction, shape ``(n,)``."""
        return self.blocks[self.arrivals_of_rows()]
