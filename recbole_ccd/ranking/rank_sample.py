"""Items on which a model's ranks are estimated, the same ones for all users of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.ranking.tiles import InnerProducts


class RankSample(NamedTuple):
    """A sample with what a model that scores by an inner product knows of it.

    Attributes:
        vectors: (S, d) vectors of its items.
        place: (n_items,) where each item is among them, -1 for the others.
    """

    vectors: Tensor
    place: Tensor

    @classmethod
    def of(cls, score: InnerProducts, sample: Tensor) -> RankSample:
        """Of some items.

        Args:
            score: the model's vectors.
            sample: (S,) distinct items.
        """
        place = torch.full((len(score.items),), -1, device=sample.device)
        place[sample] = torch.arange(len(sample), device=sample.device)
        return cls(score.items[sample], place)


def drawn_items(n_items: int, size: int, generator: torch.Generator) -> Tensor:
    """Distinct items at random.

    Args:
        n_items: how many there are, [PAD] included, which is never drawn.
        size: how many are wanted.
        generator: source of the draw.

    Returns:
        (S,) item ids, on the CPU.
    """
    return (torch.randperm(n_items - 1, generator=generator) + 1)[:size]


def candidates_among(sample: Tensor, users: Tensor, seen: csr_matrix) -> tuple[Tensor, Tensor]:
    """Which items of a sample are candidates of users, who have seen the others.

    Args:
        sample: (S,) distinct items.
        users: (B,) ids.
        seen: users × items that are no candidates.

    Returns:
        (B, S) bool whether an item is a candidate of a user, and (B,) how many candidates each user has, on
        the device of ``users``.
    """
    owners, columns = (torch.from_numpy(part) for part in csr_rows(seen, users.cpu().numpy()))
    # the matrix may know fewer items, and the sample may be empty
    highest = int(sample.max()) if len(sample) else 0
    place = torch.full((max(seen.shape[1], highest + 1),), -1)
    place[sample.cpu()] = torch.arange(len(sample))
    drawn = place[columns] >= 0
    usable = torch.ones(len(users), len(sample), dtype=torch.bool)
    usable[owners[drawn], place[columns[drawn]]] = False
    n_candidates = seen.shape[1] - 1 - torch.bincount(owners, minlength=len(users))
    return usable.to(users.device), n_candidates.to(users.device)
