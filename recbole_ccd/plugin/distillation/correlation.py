"""Correlation distillation: probabilities and ranks within a list that vary as the teacher's do."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.correlation import correlation_loss
from recbole_ccd.loss.soft_targets import place_scores
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.registry import register


@register("correlation")
class CorrelationDistillation(DistillationLoss):
    r"""Correlation distillation (R2KD) of users' lists, and with roles swapped of items'.

    .. math:: L_u = T^2 \bigl[ w_v \, (1 - \rho(q, p)) + w_r \, (1 - \rho(\tilde r, r)) \bigr], \qquad
              p_r \propto r^{-1/T}, \quad q_r \propto e^{s_r / T}

    with the student's score :math:`s_r` of the item at place r, its soft rank :math:`\tilde r` in the list
    (:func:`~recbole_ccd.loss.correlation.soft_ranks`) and Pearson's :math:`\rho`. Neither the scores' mean
    nor their scale is told. Nothing is said of items outside the list, so that it goes best with another
    loss: ``distill_loss: [rrd, correlation]``.

    The paper's value term has the size of the cosine (``correlation_centered: False``), which of two
    distributions is near 1 whatever they are; its rank term is made of sorted places and has no gradient. Its
    teacher is a mixture with a pruned one, which is ``teacher_prune_rate`` here, for any loss.

    Source: R2KD, Kim, Ham, Cho, Kim, "Robustness-Reinforced Knowledge Distillation With Correlation Distance
    and Network Pruning", TKDE 2024 (arXiv 2311.13934).

    .. code-block:: yaml

        distill_loss: [rrd, correlation]
        distill_loss_weights: [1.0, 0.1]
        distill_temperature: 2.0          # T
        correlation_value_weight: 1.0     # w_v
        correlation_rank_weight: 1.0      # w_r
        correlation_tau: 0.1              # of the soft ranks
        correlation_centered: True
    """

    has_item_side = True

    def prepare(self, rankings: TeacherRankings) -> None:
        """Takes the items' lists of users."""
        self._user_lists = rankings.top_users.to(self.lists.device)

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        items = self.lists[users]
        return self._distance(self.scores(users, items), items > 0)

    def item_loss(self, items: Tensor) -> Tensor:
        """Sum of the losses of distinct items."""
        users = self._user_lists[items]
        return self._distance(self.item_scores(items, users), users > 0).sum()

    def _distance(self, scores: Tensor, valid: Tensor) -> Tensor:
        config = self.config
        places = torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype, device=scores.device)
        weights = (config["correlation_value_weight"], config["correlation_rank_weight"])
        settings = (weights, config["correlation_tau"], config["correlation_centered"])
        temperature = config["distill_temperature"]
        return correlation_loss(scores, place_scores(places), valid, temperature, *settings)
