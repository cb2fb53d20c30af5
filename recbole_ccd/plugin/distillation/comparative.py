"""Comparative distillation: between items or between users, scores differ as the teacher's do."""

from __future__ import annotations

from torch import Tensor

from recbole_ccd.loss.collaborative import places_in
from recbole_ccd.loss.comparative import mean_squared_difference, most_listed
from recbole_ccd.loss.soft_targets import listed_scores, place_scores
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.registry import register


@register("comparative")
class ComparativeDistillation(DistillationLoss):
    r"""Comparative distillation (CKD): the difference of two samples is that which the teacher sees.

    Samples are the items of a list (``distill_compare: items``), with the student's score :math:`s_r` and the
    teacher's :math:`t_r = -\log r` of the item at place r:

    .. math:: L_u = \frac{1}{K^2} \sum_{r, q} \bigl[ (s_r - s_q) - c \, (t_r - t_q) \bigr]^2
              = 2 \, \mathrm{Var}_r(s_r - c \, t_r)

    or the users of a batch (``users``), who are compared on the items J that most of their lists hold:

    .. math:: \sum_u L_u = B \, \frac{2}{|J|} \sum_{j \in J} \mathrm{Var}_u(s_{uj} - c \, t_{uj})

    with :math:`t = -\log 2K` for an item outside a list. An item of a user's train part is no sample of the
    user. The paper's differences are of vectors with many entries, as those of users are here.

    Source: Wilf, Xu, Liang, Obolenskiy, Fried, Morency, "Comparative Knowledge Distillation", WACV 2025
    (arXiv 2311.02253). The teacher's scores are those of places
    (:func:`~recbole_ccd.loss.soft_targets.place_scores`), which is ours.

    .. code-block:: yaml

        distill_loss: [rrd, comparative]
        distill_loss_weights: [1.0, 0.1]
        distill_compare: users
        comparative_scale: 1.0      # c
        comparative_items: 100      # |J|
    """

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        if self.config["distill_compare"] == "users":
            return self._between_users(users)
        items = self.lists[users]
        differences = self.scores(users, items) - self._scale * place_scores(self._places)
        return mean_squared_difference(differences, items > 0, dim=1).sum()

    @property
    def _scale(self) -> float:
        return self.config["comparative_scale"]

    def _between_users(self, users: Tensor) -> Tensor:
        users = users[(self.lists[users] > 0).any(dim=1)]
        lists = self.lists[users]
        shared = most_listed(lists, self.n_items, self.config["comparative_items"])
        columns = shared.expand(len(users), -1)
        differences = self.scores(users, columns) - self._scale * listed_scores(columns, lists)
        # with distill_lists: seen_first what has been seen is listed
        samples = self.unseen_among(users, shared)[0] | places_in(columns, lists).isfinite()
        spread = mean_squared_difference(differences, samples, dim=0).sum()
        return len(users) / max(len(shared), 1) * spread
