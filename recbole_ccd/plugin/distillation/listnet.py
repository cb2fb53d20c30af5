"""ListNet: top-one cross-entropy on the teacher's list."""

from __future__ import annotations

from torch import Tensor

from recbole_ccd.loss.soft_targets import place_scores, top_one_cross_entropy
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.registry import register


@register("listnet")
class ListNet(DistillationLoss):
    """Top-one cross-entropy on the teacher's list (Cao et al., ICML 2007).

    The temperature softens the teacher's probabilities only.
    """

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        items = self.lists[users]
        teacher = place_scores(self._places) / self.config["distill_temperature"]
        return top_one_cross_entropy(self.scores(users, items), teacher, items > 0).sum()
