"""Each user's top items within groups of items."""

from __future__ import annotations

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.ranking.highest import highest
from recbole_ccd.ranking.topk import ScoreFn, candidates


@torch.no_grad()
def grouped_lists(
    score: ScoreFn,
    users: Tensor,
    groups: Tensor,
    n_groups: int,
    k: int,
    exclude: csr_matrix | None = None,
    batch_size: int = 512,
    seen_first: bool = False,
) -> Tensor:
    """The items of each group that each user scores highest.

    Args:
        score: scores of all items for a batch of users.
        users: (n,) user ids; the row of [PAD] is all 0.
        groups: (n_items,) group of each item, from 0; a negative one for none.
        n_groups: how many groups there are.
        k: length of the list of a group.
        exclude: pairs (user, item) that are no candidates, rows indexed by user id.
        batch_size: users scored at a time; memory is batch_size × n_items scores.
        seen_first: whether the excluded pairs lead the lists, in any order, in the place of being left out.

    Returns:
        (n, n_groups, k) int64 item ids, best first; 0 fills up short lists.
    """
    result = torch.zeros(len(users), n_groups, k, dtype=torch.int64, device=users.device)
    columns = [(groups == group).nonzero().squeeze(1) for group in range(n_groups)]
    value = torch.inf if seen_first else -torch.inf
    for start in range(0, len(users), batch_size):
        part = slice(start, start + batch_size)
        scores = candidates(score, users[part], exclude, value)
        scores[users[part] == 0] = -torch.inf
        for group, ids in enumerate(columns):
            values, places = highest(scores[:, ids], min(k, len(ids)))
            found = ids[places].masked_fill_(values == -torch.inf, 0)
            result[part, group, : found.shape[1]] = found
    return result
