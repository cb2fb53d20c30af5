"""Where each member of a teacher ranks the items of a list."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.ranking.rank import ranks_of
from recbole_ccd.ranking.topk import ScoreFn, candidates


@torch.no_grad()
def ranks_by_member(
    members: Sequence[ScoreFn],
    users: Tensor,
    lists: Tensor,
    exclude: csr_matrix | None = None,
    batch_size: int = 512,
) -> Tensor:
    """Ranks of listed items among all candidates of a user, by each member of a teacher.

    Args:
        members: scores of all items for a batch of users, by each of the M members.
        users: (n,) user ids.
        lists: (n, K) items of each user, 0-padded.
        exclude: pairs (user, item) that are no candidates, rows indexed by user id.
        batch_size: users scored at a time; memory is batch_size × n_items scores.

    Returns:
        (n, K, M) int32 ranks from 1, equal scores sharing the better one; 0 on the padding.
    """
    result = torch.zeros(*lists.shape, len(members), dtype=torch.int32, device=lists.device)
    for start in range(0, len(users), batch_size):
        part = slice(start, start + batch_size)
        for m, score in enumerate(members):
            result[part, :, m] = ranks_of(candidates(score, users[part], exclude), lists[part]).int()
    return result
