"""KL divergence of softmaxes over the teacher's list."""

from __future__ import annotations

from torch import Tensor

from recbole_ccd.loss.soft_targets import place_scores, soft_target_kl
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.registry import register


@register("kl")
class SoftTargetKL(DistillationLoss):
    """KL divergence of softmaxes at a temperature over the teacher's list (Hinton et al., 2015)."""

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        items = self.lists[users]
        teacher, temperature = place_scores(self._places), self.config["distill_temperature"]
        return soft_target_kl(self.scores(users, items), teacher, items > 0, temperature).sum()
