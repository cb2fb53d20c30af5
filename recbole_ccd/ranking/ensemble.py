"""The ensemble that averages powers of its members' ranks, by whole rows or by each member's first items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_ccd.ranking.descending import descending_order
from recbole_ccd.ranking.highest import highest
from recbole_ccd.ranking.tiles import InnerProducts, Pairs, Part

# Rows that are added up at a time, of all items.
_ADDED_ROWS = 16


def ensemble_scores(
    member_scores: Iterable[Tensor], exponent: float = 0.05, depth: int | None = None
) -> Tensor:
    r"""Scores of the teacher's ensemble: the mean over its members of a power of the rank.

    .. math:: s(u, i) = \frac{1}{M} \sum_m \mathrm{rank}_m(u, i)^{-p}

    Source: the teacher of CCD, Lee et al., KDD 2024 (arXiv 2405.19046), with :math:`p = 0.05`.

    Args:
        member_scores: (B, n) scores of each member; read one at a time.
        exponent: the :math:`p` above.
        depth: ranks beyond this one count as the last, which spares sorting most of a large catalogue; items
            that no member ranks so high are ``-inf``. None ranks all.

    Returns:
        (B, n) float32 scores; column 0 ([PAD]) is ``-inf``.

    Raises:
        ValueError: If there is no member.
    """
    total, members = None, 0
    for scores in member_scores:
        if total is None:
            places = torch.arange(1, scores.shape[1] + 1, dtype=torch.float32, device=scores.device)
            table = places.pow_(-exponent)
            shallow = depth if depth is not None and depth < scores.shape[1] - 1 else None
            total = torch.zeros_like(scores, dtype=torch.float32)
        if shallow is not None:
            # what their entries are above the last, which all others have
            first = highest(scores[:, 1:], shallow)[1].add_(1)
            total.scatter_add_(1, first, (table[:shallow] - table[-1]).expand(len(scores), -1))
        else:
            order = descending_order(scores[:, 1:]).add_(1)
            total.scatter_add_(1, order, table[:-1].expand(len(scores), -1))
        # Released before the next member's scores are asked for.
        del scores
        members += 1
    if total is None:
        raise ValueError("an ensemble needs at least one member")
    total /= members
    if shallow:
        torch.threshold_(total, 0.0, -torch.inf).add_(table[-1])
    total[:, 0] = -torch.inf
    return total


@dataclass(frozen=True)
class ShallowEnsemble:
    """The :func:`ensemble_scores` of members that rank their first items only, item by item.

    Called with user ids (B,) it gives their whole rows (B, n_items), as any function of scores does.

    Attributes:
        members: scores of each member, over one catalogue.
        exponent: as of :func:`ensemble_scores`.
        depth: the ranks that count, fewer than there are items.
    """

    members: Sequence[InnerProducts]
    exponent: float
    depth: int

    def __call__(self, users: Tensor) -> Tensor:
        """(B, n_items) fresh scores of users (B,)."""
        return ensemble_scores((score(users) for score in self.members), self.exponent, self.depth)

    def in_tiles(self, k: int) -> bool:
        """Whether the k best items of users are found among the members' first ones, these by tiles."""
        return k <= self.depth and all(member.in_tiles(self.depth) for member in self.members)

    def listed(self, users: Tensor, masked: Pairs) -> tuple[Tensor, Tensor]:
        """All items that some member ranks high enough.

        Args:
            users: (B,) ids.
            masked: places among the users and items of pairs that are left out; they have ranks all the same.

        Returns:
            (B, E) scores, ``-inf`` where an item is left out or comes a second time, and the items.
        """
        nothing = users.new_zeros(0), users.new_zeros(0)
        everybody = [Part(None, nothing, is_last=True)]
        items = [member.best(users, self.depth, everybody)[0][1] for member in self.members]
        columns = torch.cat(items, dim=1)
        scores = torch.empty(columns.shape, device=users.device)
        order = masked[0].argsort()
        places, masked_items = (part[order] for part in masked)
        starts = torch.arange(0, len(users) + _ADDED_ROWS, _ADDED_ROWS, device=users.device)
        ends = torch.searchsorted(places, starts).tolist()
        added = torch.zeros(_ADDED_ROWS, len(self.members[0].items), device=users.device)
        for number, start in enumerate(range(0, len(users), _ADDED_ROWS)):
            rows, mine = slice(start, start + _ADDED_ROWS), slice(ends[number], ends[number + 1])
            scores[rows] = self._added(added, columns[rows], (places[mine] - start, masked_items[mine]))
        return scores, columns

    def _added(self, added: Tensor, columns: Tensor, masked: Pairs) -> Tensor:
        """Scores of some rows; ``added`` is zero before and afterwards."""
        n_items, n_members = added.shape[1], len(self.members)
        places = torch.arange(1, n_items + 1, dtype=torch.float32, device=added.device)[
            [*range(self.depth), -1]
        ]
        table = places.pow_(-self.exponent)
        added = added[: len(columns)]
        gain = (table[:-1] - table[-1]).repeat(n_members).expand(columns.shape)
        added.scatter_add_(1, columns, gain)
        scores = added.gather(1, columns).div_(n_members).add_(table[-1])
        # from here on negative where an item must not be listed (again)
        added[masked] = -1.0
        for column, score in zip(columns.split(self.depth, 1), scores.split(self.depth, 1), strict=True):
            score.masked_fill_(added.gather(1, column) < 0, -torch.inf)
            added.scatter_(1, column, -1.0)
        added.scatter_(1, columns, 0.0)
        added[masked] = 0.0
        return scores
