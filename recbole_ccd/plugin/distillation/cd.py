"""CD: items drawn by the better rank of teacher and student, with soft labels."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import best_places, collaborative_loss, places_in
from recbole_ccd.loss.soft_targets import place_scores
from recbole_ccd.plugin.distillation.guided import GuidedLoss
from recbole_ccd.ranking.gumbel import weighted_top_k
from recbole_ccd.ranking.topk import list_length
from recbole_ccd.registry import register


@register("cd")
class CollaborativeDistillation(GuidedLoss):
    r"""Collaborative distillation (CD): soft labels for items that teacher or student rank high.

    .. math:: L_u = -\sum_{i \in D_u} \bigl[y_{ui} \log \sigma(s_{ui}) + (1 - y_{ui}) \log(1 - \sigma(s_{ui}))
              \bigr]

    For each user of a batch ``distill_draws`` unknown items :math:`D_u` are drawn without replacement, with
    probability proportional to :math:`e^{-r / \lambda}` in the rank r: at first the teacher's (rank-aware
    sampling); from the first redraw on the better one of the teacher's and the student's (student-guided
    training), the student's lists being renewed every ``uninteresting_redraw`` epochs. An item at place r of
    the teacher's list has the label :math:`y = r^{-1/T}`, one that only the student ranks high the label 0.

    The paper samples among all unknown items and labels them by the teacher's scores. Here the teacher is
    known by its lists: items in neither list are never drawn, labels come from the place, and what stands
    for the paper's student-guided resampling is said at
    :func:`~recbole_ccd.loss.collaborative.best_places`.

    Source: Lee, Choi, Lee, Shim, "Collaborative Distillation for Top-N Recommendation", ICDM 2019.

    .. code-block:: yaml

        distill_loss: cd
        distill_draws: 20
        distill_rank_decay: 10.0   # lambda
        distill_temperature: 2.0   # T
        uninteresting_redraw: 10
    """

    from_the_start = False

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        lists, items = self.lists[users], self.draw(users)
        labels = torch.exp(place_scores(places_in(items, lists)) / self.config["distill_temperature"])
        return collaborative_loss(self.scores(users, items), labels, items > 0)

    def draw(self, users: Tensor) -> Tensor:
        """Items to be learned by some users, drawn anew on each call.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            Shape ``(B, distill_draws)``, 0-padded.
        """
        lists = self.lists[users]
        items, ranks = best_places(lists, self.own_lists(users))
        sharpness = 1 / self.config["distill_rank_decay"]
        n = list_length(self.config["distill_draws"], self.n_items)
        return weighted_top_k(-sharpness * ranks, items, n, self._generator)
