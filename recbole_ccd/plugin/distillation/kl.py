"""KL divergence of softmaxes over the teacher's list."""

from __future__ import annotations

from torch import Tensor

from recbole_ccd.loss.soft_targets import place_scores, soft_target_kl
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.registry import register


@register("kl")
class SoftTargetKL(DistillationLoss):
    r"""KL divergence of softmaxes at a temperature over the teacher's list, an item of it for a class.

    .. math:: L_u = T^2 \sum_{r=1}^{K} p_r \log \frac{p_r}{q_r}, \qquad p_r \propto r^{-1/T}, \quad
              q_r \propto e^{s_r / T}

    with the student's score :math:`s_r` of the item at place r.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531).
    The teacher's scores are those of places (:func:`~recbole_ccd.loss.soft_targets.place_scores`), which is
    ours.

    .. code-block:: yaml

        distill_loss: kl
        distill_temperature: 2.0
        distill_user_weight: 0.05
    """

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        items = self.lists[users]
        teacher, temperature = place_scores(self._places), self.config["distill_temperature"]
        return soft_target_kl(self.scores(users, items), teacher, items > 0, temperature)
