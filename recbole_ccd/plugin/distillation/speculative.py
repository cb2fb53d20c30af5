"""Speculative distillation: the student proposes a list, the teacher replaces what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.speculative import finished_lists, verified
from recbole_ccd.plugin.distillation.guided import GuidedLoss
from recbole_ccd.ranking.gumbel import weighted_top_k
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.registry import register


@register("speculative")
class SpeculativeDistillation(GuidedLoss):
    r"""Speculative distillation (SKD): lists that the student proposes and the teacher corrects.

    .. math:: L_u = -\sum_{c \in C_u} \Bigl[ s_c - \log\Bigl( \sum_{c' \ge c} e^{s_{c'}}
              + \sum_{j \in J_u} e^{s_j} + \sum_{z \in Z_u} e^{s_z} \Bigr) \Bigr]

    For each user of a batch ``distill_draws`` items are proposed: drawn without replacement with probability
    proportional to :math:`e^{s / T_S}` among the first ``distill_propose_depth`` of the student's own list.
    Those at the first ``distill_accept_rank`` places of the teacher's list are accepted; each of the others,
    :math:`J_u`, is replaced by an item of these places, drawn with probability proportional to
    :math:`e^{-r / \lambda}`. :math:`C_u` are both in the teacher's order, :math:`c' \ge c` those at and after
    c, :math:`Z_u` are ``distill_rank_sample`` items drawn for each batch, those of the user's list and of the
    train part left out. The student's lists are renewed every ``uninteresting_redraw`` epochs.

    A token of the paper is a place here, the student's model of a sequence Plackett-Luce, and the teacher is
    consulted by its list. That rejected items are among those to be pushed down is ours.

    Source: Xu, Han, Wang, Le, Madeka, Li, Wang, Agarwal, Lee, Pfister, "Speculative Knowledge Distillation:
    Bridging the Teacher-Student Gap Through Interleaved Sampling", ICLR 2025 (arXiv 2410.11325).

    .. code-block:: yaml

        distill_loss: speculative
        distill_user_weight: 0.05
        distill_draws: 20
        distill_accept_rank: 25
        distill_propose_depth: 100
        distill_propose_temperature: 1.0   # T_S
        distill_rank_decay: 10.0           # lambda
        distill_rank_sample: 100
        uninteresting_redraw: 10
    """

    @property
    def own_length(self) -> int:
        """As deep as proposals are made."""
        return self.config["distill_propose_depth"]

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        finished, rejected = self.draw(users)
        sample, width = self.sampled_items(), finished.shape[1]
        usable = self.unseen_among(users, sample)[0]
        others = sample.expand(len(users), -1)
        usable &= places_in(others, torch.cat([self.lists[users], rejected], dim=1)) == torch.inf
        columns = torch.cat([finished, rejected, others], dim=1)
        scores = self.scores(users, columns).clamp(max=self.config["distill_score_max"])
        rest = masked_log_sum_exp(scores[:, width:], torch.cat([rejected > 0, usable], dim=1))
        return list_wise_loss(scores[:, :width], rest, finished > 0)

    def draw(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """What the student proposes for some users, corrected; drawn anew on each call.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            The finished lists in the teacher's order and the items that were rejected, each ``(B,
            distill_draws)`` and 0-padded.
        """
        lists, proposals = self.lists[users], self._propose(users)
        # who has no list is not corrected
        proposals = proposals.masked_fill(lists[:, :1] == 0, 0)
        accept_rank = self.config["distill_accept_rank"]
        accepted = verified(proposals, lists, accept_rank)
        left = lists[:, :accept_rank]
        left = left.masked_fill(places_in(left, proposals) < torch.inf, 0)
        places = self._places[: left.shape[1]].expand_as(left)
        sharpness, n = 1 / self.config["distill_rank_decay"], proposals.shape[1]
        drawn = weighted_top_k(-sharpness * places, left, n, self._generator)
        return finished_lists(proposals, accepted, drawn, lists), proposals.masked_fill(accepted, 0)

    @torch.no_grad()
    def _propose(self, users: Tensor) -> Tensor:
        """(B, distill_draws) items out of the student's own lists, by its scores of now."""
        own = self.own_lists(users)
        scores, n = self.scores(users, own), list_length(self.config["distill_draws"], self.n_items)
        sharpness = 1 / self.config["distill_propose_temperature"]
        return weighted_top_k(sharpness * scores, own, n, self._generator)
