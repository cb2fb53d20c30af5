"""DCD: what the student ranks too low against what it ranks too high."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import in_order_of
from recbole_ccd.loss.dcd import too_low
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.plugin.distillation.guided import GuidedLoss
from recbole_ccd.ranking.gumbel import weighted_top_k
from recbole_ccd.ranking.lists import top_lists
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import list_length, users_at_a_time
from recbole_ccd.registry import register


@register("dcd")
class DualCorrection(GuidedLoss):
    r"""Dual correction (DCD) of users' rankings, and with roles swapped of items'.

    .. math:: L_u = -\sum_{i \in U_u} \Bigl[s_i - \log\Bigl(\sum_{j \ge i} e^{s_j}
              + \sum_{o \in O_u} e^{s_o}\Bigr)\Bigr]

    the list-wise likelihood of ``distill_draws`` items :math:`U_u` that the student underestimates, in the
    teacher's order (:math:`j \ge i` are those at and after i), above as many :math:`O_u` that it
    overestimates. They are drawn from the teacher's and from the student's list with probability proportional
    to :math:`\tanh(\mu \max(0, r_S - r_T))` and :math:`\tanh(\mu \max(0, r_T - r_S))` in the places of both
    (:func:`~recbole_ccd.loss.dcd.too_low`). The student's lists are renewed every ``uninteresting_redraw``
    epochs. On the items' side, with ``distill_item_weight`` above 0, each item ranks users.

    The paper knows all ranks; here both are known by lists of the same length, and what is missing in one is
    at twice its length there.

    Source: Lee, Kim, "Dual Correction Strategy for Ranking Distillation in Top-N Recommender System", CIKM
    2021 (arXiv 2109.03459).

    .. code-block:: yaml

        distill_loss: dcd
        distill_user_weight: 0.05
        distill_item_weight: 0.05
        distill_draws: 20
        distill_rank_slope: 0.1     # mu
        uninteresting_redraw: 10
    """

    has_item_side = True
    _own_users: Tensor | None = None

    def prepare(self, rankings: TeacherRankings) -> None:
        """Takes the items' lists of users."""
        self._user_lists = rankings.top_users.to(self.lists.device)

    @torch.no_grad()
    def renew(self) -> None:
        """Finds what the student ranks highest now, and where items have a side which users."""
        if not (self.config["distill_item_weight"] > 0 and self._user_lists.shape[1]):
            super().renew()
            return
        model = self.model
        clear_cache(model)
        model.eval()
        users = torch.arange(self.n_users, device=model.device)
        lengths = (self.lists.shape[1], self._user_lists.shape[1])
        score = self._scores_of_all()
        size = users_at_a_time(model.n_items, score, lengths[0])
        self._own, self._own_users = top_lists(score, users, self.n_items, *lengths, self.seen, size)
        clear_cache(model)

    def state_dict(self) -> dict[str, Any]:
        """The student's lists of items and of users."""
        return {**super().state_dict(), "own_users": self._own_users}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these lists."""
        super().load_state_dict(state)
        users = state["own_users"]
        self._own_users = None if users is None else users.to(self.lists.device)

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        drawn = self.draw(self.lists[users], self.own_lists(users), self.n_items)
        return self._corrected(self.scores(users, torch.cat(drawn, dim=1)), *drawn)

    def item_loss(self, items: Tensor) -> Tensor:
        """Sum of the losses of distinct items."""
        lists = self._user_lists[items]
        own = lists[:, :0] if self._own_users is None else self._own_users[items]
        drawn = self.draw(lists, own, self.n_users)
        return self._corrected(self.item_scores(items, torch.cat(drawn, dim=1)), *drawn).sum()

    def draw(self, lists: Tensor, own: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """What the student underestimates, in the teacher's order, and what it overestimates.

        Args:
            lists: the teacher's lists, shape ``(B, K)``, 0-padded.
            own: the student's of the same rows, ``(B, K')``; K' is 0 where there are none yet.
            n: how many there are to list.

        Returns:
            Each ``(B, distill_draws)``, 0-padded; drawn anew on each call.
        """
        length, slope = list_length(self.config["distill_draws"], n), self.config["distill_rank_slope"]
        # who has no list is not corrected
        own = own.masked_fill(lists[:, :1] == 0, 0)
        drawn = []
        for one, other in ((lists, own), (own, lists)):
            weights = too_low(one, other, slope)
            some = one.masked_fill(weights == 0, 0)
            drawn.append(weighted_top_k(weights.log(), some, length, self._generator))
        return in_order_of(drawn[0], lists), drawn[1]

    def _corrected(self, scores: Tensor, low: Tensor, high: Tensor) -> Tensor:
        scores = scores.clamp(max=self.config["distill_score_max"])
        listed, others = scores.split([low.shape[1], high.shape[1]], dim=1)
        return list_wise_loss(listed, masked_log_sum_exp(others, high > 0), low > 0)
