"""ListNet: top-one cross-entropy on the teacher's list."""

from __future__ import annotations

from torch import Tensor

from recbole_ccd.loss.soft_targets import place_scores, top_one_cross_entropy
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.registry import register


@register("listnet")
class ListNet(DistillationLoss):
    r"""Cross-entropy of the probabilities that an item of the teacher's list is its best one.

    .. math:: L_u = -\sum_{r=1}^{K} p_r \log q_r, \qquad p_r \propto r^{-1/T}, \quad q_r \propto e^{s_r}

    with the student's score :math:`s_r` of the item at place r. The temperature softens the teacher's
    probabilities only.

    Source: Cao, Qin, Liu, Tsai, Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML
    2007. The teacher's scores are those of places
    (:func:`~recbole_ccd.loss.soft_targets.place_scores`), which is ours.

    .. code-block:: yaml

        distill_loss: listnet
        distill_temperature: 2.0
        distill_user_weight: 0.05
    """

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        items = self.lists[users]
        teacher = place_scores(self._places) / self.config["distill_temperature"]
        return top_one_cross_entropy(self.scores(users, items), teacher, items > 0)
