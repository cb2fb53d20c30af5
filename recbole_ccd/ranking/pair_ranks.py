"""Ranks of the pairs of a matrix among all that their rows do not hold."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.ranking.topk import ScoreFn, users_at_a_time


@torch.no_grad()
def pair_ranks(score: ScoreFn, pairs: csr_matrix, device: torch.device) -> Tensor:
    """Rank of each pair's item for its user, among the items that are in no pair of the user.

    Args:
        score: scores of all items for a batch of users.
        pairs: users × items with sorted indices.
        device: where users are wanted.

    Returns:
        (nnz,) int32, in the matrix's order: 1 + the number of such items with a strictly higher score.
    """
    users = np.flatnonzero(np.diff(pairs.indptr))
    size, found = users_at_a_time(pairs.shape[1]), [torch.zeros(0, dtype=torch.int32, device=device)]
    for start in range(0, len(users), size):
        part = users[start : start + size]
        scores = score(torch.from_numpy(part).to(device))
        owners, columns = (torch.from_numpy(ids).to(device) for ids in csr_rows(pairs, part))
        lengths = torch.bincount(owners, minlength=len(part))
        places = torch.arange(len(owners), device=device) - (lengths.cumsum(0) - lengths)[owners]
        wanted = scores.new_zeros(len(part), int(lengths.max()))
        wanted[owners, places] = scores[owners, columns]
        scores[owners, columns], scores[:, 0] = -torch.inf, -torch.inf
        not_higher = torch.searchsorted(scores.sort(dim=1).values, wanted, right=True)
        found.append((1 + scores.shape[1] - not_higher)[owners, places].to(torch.int32))
    return torch.cat(found)
