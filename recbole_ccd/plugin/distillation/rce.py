"""RCE-KD: cross-entropy on item sets that the student's ranking nearly closes."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in
from recbole_ccd.loss.rce import closing_weights, share_of_teacher
from recbole_ccd.loss.soft_targets import listed_scores, top_one_cross_entropy
from recbole_ccd.plugin.distillation.guided import GuidedLoss
from recbole_ccd.ranking.gumbel import weighted_top_k
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.registry import register


@register("rce")
class RejuvenatedCrossEntropy(GuidedLoss):
    r"""Rejuvenated cross-entropy (RCE-KD) on the student's first items and on the teacher's.

    .. math:: L_u = (1 - w_u) \, \mathrm{CE}(S_u) + w_u \, \mathrm{CE}(T_u \cup D_u), \qquad
              \mathrm{CE}(A) = -\sum_{i \in A} \mathrm{softmax}_A(t / \tau)_i \log \mathrm{softmax}_A(s)_i

    Cross-entropy on a set of items bounds NDCG only if the set has every item that the student ranks above
    one of its members. The student's own first K items :math:`S_u` are such a set. The teacher's list
    :math:`T_u` becomes more like one by ``distill_draws`` items :math:`D_u` out of the student's first
    ``distill_propose_depth``, drawn the likelier the more of the teacher's items the student ranks at or
    below them (:func:`~recbole_ccd.loss.rce.closing_weights`). As the lists come to agree,
    :math:`w_u = e^{-\beta |T_u \cap S_u| / |T_u|}` goes from the one term to the other. The student's lists
    are renewed every ``uninteresting_redraw`` epochs.

    The paper's teacher scores all items; here an item outside the list has a floor
    (:func:`~recbole_ccd.loss.soft_targets.listed_scores`), and what the student ranks is known to the depth
    of its list.

    Source: Zhu, Zhang, "Rejuvenating Cross-Entropy Loss in Knowledge Distillation for Recommender Systems",
    2025 (arXiv 2509.20989).

    .. code-block:: yaml

        distill_loss: rce
        distill_user_weight: 0.05
        distill_temperature: 1.0    # tau
        distill_draws: 20
        distill_propose_depth: 100
        rce_temperature: 10.0       # of the draw
        rce_beta: 10.0              # beta
        uninteresting_redraw: 10
    """

    @property
    def own_length(self) -> int:
        """As deep as items are drawn from, and no less than the teacher's lists."""
        return max(self.config["distill_propose_depth"], self.lists.shape[1])

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        lists, own = self.lists[users], self.own_lists(users)
        # who has no list is not taught
        first = own[:, : lists.shape[1]].masked_fill(lists[:, :1] == 0, 0)
        joined = torch.cat([lists, self.draw(users)], dim=1)
        weights = share_of_teacher(lists, first, self.config["rce_beta"])
        columns = torch.cat([first, joined], dim=1)
        scores = self.scores(users, columns)
        teacher = listed_scores(columns, lists) / self.config["distill_temperature"]
        terms = [
            top_one_cross_entropy(scores[:, part], teacher[:, part], columns[:, part] > 0)
            for part in (slice(first.shape[1]), slice(first.shape[1], None))
        ]
        return (1 - weights) * terms[0] + weights * terms[1]

    def draw(self, users: Tensor) -> Tensor:
        """Items of the student's lists that are not in the teacher's, drawn anew on each call.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            Shape ``(B, distill_draws)``, 0-padded.
        """
        lists, own = self.lists[users], self.own_lists(users)
        logarithms = closing_weights(own, lists, self.config["rce_temperature"])
        known = (places_in(own, lists) < torch.inf) | (lists[:, :1] == 0)
        others, n = own.masked_fill(known, 0), list_length(self.config["distill_draws"], self.n_items)
        return weighted_top_k(logarithms, others, n, self._generator)
