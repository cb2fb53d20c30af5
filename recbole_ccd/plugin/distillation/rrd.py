"""RRD and IR-RRD: the list-wise likelihood of the teacher's lists, for users and for items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import pairs_matrix, union
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.windowed import windowed_ranking_loss
from recbole_ccd.model.scoring import has_factors, score_pairs
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import list_length, users_at_a_time
from recbole_ccd.ranking.uninteresting import UninterestingSampler
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import torch_generator

if TYPE_CHECKING:
    pass


@dataclass
class _Side:
    """One direction of distillation: rows that rank columns.

    ``ineligible`` holds the pairs that are not uninteresting: known, excluded or interesting ones.
    """

    interesting: Tensor
    ineligible: csr_matrix
    sampler: UninterestingSampler
    swapped: bool


@register("rrd")
class RelaxedRankingDistillation(DistillationLoss):
    r"""Relaxed ranking distillation on the users' side, and with roles swapped on the items' side.

    The likelihood of the teacher's order of its list, before all uninteresting items :math:`Z_u` in any
    order:

    .. math:: L_u = -\sum_{r=1}^{K} \Bigl[s_r - \log\Bigl(\sum_{j \ge r} e^{s_j}
              + \sum_{z \in Z_u} e^{s_z}\Bigr)\Bigr]

    with the student's score :math:`s_r` of the item at place r. Uninteresting items are drawn anew every
    ``uninteresting_redraw`` epochs. On the items' side each item ranks the users of its list.

    Source: RRD, Kang, Hwang, Kweon, Yu, "DE-RRD: A Knowledge Distillation Framework for Recommender System",
    CIKM 2020; the items' side, IR-RRD, Kang, Hwang, Kweon, Yu, "Item-side ranking regularized distillation
    for recommender system", Information Sciences 2021; both as CCD has them (Lee, Kang, Kweon, Yu, KDD 2024).

    .. code-block:: yaml

        distill_loss: rrd
        distill_user_weight: 0.01  # of the users' side
        distill_item_weight: 0.01  # of the items' side; 0 leaves it out
        n_uninteresting_items: 500
        n_uninteresting_users: 500
    """

    has_item_side = True

    def prepare(self, rankings: TeacherRankings) -> None:
        """Makes the side of users, and that of items where ``distill_item_weight`` is above 0."""
        taken = union(self.seen, rankings.excluded)
        self._users = self._side(rankings.top_items, taken, "items", swapped=False)
        self._items: _Side | None = None
        if self.config["distill_item_weight"] > 0:
            self._items = self._side(rankings.top_users, taken.T.tocsr(), "users", swapped=True)

    def _side(self, interesting: Tensor, taken: csr_matrix, what: str, swapped: bool) -> _Side:
        ineligible = union(taken, pairs_matrix([interesting], *taken.shape))
        generator = torch_generator(self.seed, "uninteresting", what)
        n_rows, n_columns = ineligible.shape
        sampler = UninterestingSampler(n_columns, n_rows, self.config[f"n_uninteresting_{what}"], generator)
        return _Side(interesting, ineligible, sampler, swapped)

    def _sides(self) -> dict[str, _Side]:
        sides = {"users": self._users, "items": self._items}
        return {name: side for name, side in sides.items() if side is not None}

    def _seed_epoch(self, epoch: int) -> None:
        # an epoch is what a stage is resumed at, so this one need not be saved
        self._generator = torch_generator(self.seed, "shared", epoch)

    def before_epoch(self, epoch: int) -> None:
        """Draws the uninteresting sets anew every ``uninteresting_redraw`` epochs, shared ones per batch."""
        super().before_epoch(epoch)
        if epoch and epoch % self.config["uninteresting_redraw"] == 0:
            for side in self._sides().values():
                side.sampler.redraw()

    def state_dict(self) -> dict[str, Any]:
        """The uninteresting sets drawn last."""
        return {name: side.sampler.state_dict() for name, side in self._sides().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these sets."""
        for name, side in self._sides().items():
            side.sampler.load_state_dict(state[name])

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the list-wise losses of distinct users."""
        return self._list_wise(self._users, users)

    @torch.no_grad()
    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``, without gradient; a few users at a time."""
        parts = users.split(users_at_a_time(self._users.sampler.n_columns))
        return torch.cat([self._row_losses(self._users, part) for part in parts])

    def item_loss(self, items: Tensor) -> Tensor:
        """Sum of the list-wise losses of distinct items."""
        assert self._items is not None, "there is no item side, as has_items tells"
        return self._list_wise(self._items, items)

    def _list_wise(self, side: _Side, rows: Tensor) -> Tensor:
        interesting = side.interesting.to(rows.device)[rows]
        windows = side.sampler.windows(rows, side.ineligible)
        if not has_factors(type(self.model)):
            return self._of_pairs(side, rows, interesting, windows.mask(side.sampler.n_columns)).sum()
        row_vectors, column_vectors = self.vectors()
        if side.swapped:
            row_vectors, column_vectors = column_vectors, row_vectors
        score_max, known = self.config["distill_score_max"], column_vectors[: side.sampler.n_columns]
        return windowed_ranking_loss(row_vectors[rows], known, interesting, windows, score_max)

    def _row_losses(self, side: _Side, rows: Tensor) -> Tensor:
        """The loss of each row of the users' side, from scores that are all there at once."""
        interesting = side.interesting.to(rows.device)[rows]
        mask = side.sampler.windows(rows, side.ineligible).mask(side.sampler.n_columns)
        if not has_factors(type(self.model)):
            return self._of_pairs(side, rows, interesting, mask)
        users, items = self.vectors()
        scores = (users[rows] @ items[: side.sampler.n_columns].T).clamp_(
            max=self.config["distill_score_max"]
        )
        return list_wise_loss(
            scores.gather(1, interesting), masked_log_sum_exp(scores, mask), interesting > 0
        )

    def _of_pairs(self, side: _Side, rows: Tensor, interesting: Tensor, mask: Tensor) -> Tensor:
        """The loss of a model that can only score pairs, on a few shared uninteresting columns."""
        n_shared = list_length(self.config["n_uninteresting_pairs"], mask.shape[1])
        shared = torch.randint(1, mask.shape[1], (n_shared,), generator=self._generator)
        columns = torch.cat([interesting, shared.to(rows.device).expand(len(rows), -1)], dim=1)
        pair_rows = rows.repeat_interleave(columns.shape[1])
        pair = (columns.flatten(), pair_rows) if side.swapped else (pair_rows, columns.flatten())
        scores = (
            score_pairs(self.model, *pair).view(columns.shape).clamp(max=self.config["distill_score_max"])
        )
        listed, others = scores.split([interesting.shape[1], len(shared)], dim=1)
        usable = mask.gather(1, columns[:, interesting.shape[1] :])
        # the sample stands for all uninteresting columns
        scale = mask.sum(dim=1) / usable.sum(dim=1).clamp(min=1)
        lse = masked_log_sum_exp(others, usable) + torch.log(scale)
        return list_wise_loss(listed, lse, interesting > 0)
