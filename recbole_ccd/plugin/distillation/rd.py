"""RD: the teacher's list as weighted positives."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.ranking_distillation import estimated_ranks, ranking_distillation, ranking_weights
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.registry import register


@register("rd")
class RankingDistillation(DistillationLoss):
    r"""Ranking distillation (RD): the teacher's list as positives, weighted by place and by error.

    .. math:: L_u = -\sum_{r=1}^{K} w_r \log \sigma(s_r), \qquad
              w_r \propto e^{-r / \lambda} \tanh\bigl(\mu \max(0, \hat r_r - r)\bigr)

    with the student's score :math:`s_r` and estimated rank :math:`\hat r_r` of the item at place r. Ranks are
    estimated on ``distill_rank_sample`` items drawn for each batch, the same ones for all its users, those
    in a user's train part left out.

    Source: Tang, Wang, "Ranking Distillation: Learning Compact Ranking Models With High Performance for
    Recommender System", KDD 2018, with its hybrid weights and without their warm-up.

    .. code-block:: yaml

        distill_loss: rd
        distill_rank_decay: 10.0   # lambda
        distill_rank_slope: 0.1    # mu
        distill_rank_sample: 100
    """

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        items, sample = self.lists[users], self.sampled_items()
        columns = torch.cat([items, sample.expand(len(users), -1)], dim=1)
        listed, sampled = self.scores(users, columns).split([items.shape[1], len(sample)], dim=1)
        ranks = estimated_ranks(listed, sampled, *self.unseen_among(users, sample))
        decay, slope = self.config["distill_rank_decay"], self.config["distill_rank_slope"]
        return ranking_distillation(listed, ranking_weights(ranks, items > 0, decay, slope))
