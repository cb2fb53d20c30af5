"""What a teacher says about a block: who ranks where, as far as it is distilled."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_matrix
from torch import Tensor


@dataclass
class TeacherRankings:
    """The teacher's top lists of a block, all that is distilled.

    Attributes:
        top_items: each user's best items that are not in the train part (``distill_lists: seen_first``: those
            in it, and then the best others), shape ``(n_users, K)``, 0-padded.
        top_users: each item's best users, likewise, shape ``(n_items, K)``; K is 0 where no loss reads them.
        excluded: pairs that are neither negatives nor uninteresting, users × items: the top items of
            teacher, proxies and current student.
        excluded_items: the teacher's part of these pairs: each user's items, ``(n_users, A)``, 0-padded.
        member_ranks: where each of M members ranks the ``top_items``, among what the lists are made of, shape
            ``(n_users, K, M)``, 0 on the padding; None where no loss reads them.
        item_groups: the group of each item by popularity, shape ``(n_items,)``, -1 for [PAD]; likewise.
        grouped_items: each user's best items of each of G groups, shape ``(n_users, G, k)``, 0-padded;
            likewise.
    """

    top_items: Tensor
    top_users: Tensor
    excluded: csr_matrix
    excluded_items: Tensor
    member_ranks: Tensor | None = None
    item_groups: Tensor | None = None
    grouped_items: Tensor | None = None
