"""Distillation of logits: the student's scores are those of places, on a scale that is learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recbole_ccd.loss.logits import logit_distance
from recbole_ccd.loss.soft_targets import place_scores
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.registry import register


@register("logits")
class LogitDistillation(DistillationLoss):
    r"""Squared distance of the student's scores from the teacher's (KD-DAGFM).

    .. math:: L_u = \sum_{r=1}^{K} \bigl( s_r - (m + c \, t_r) \bigr)^2, \qquad t_r = -\log r

    with the student's score :math:`s_r` of the item at place r. The teacher has places and no logits, so that
    a shift m and a scale c are learned with the student; they start at 0 and 1. The source's share of labels
    and of logits is ``distill_user_weight``, as the model's own loss stays.

    Source: Tian, Bai, Zhao, Wen, Cao, "Directed Acyclic Graph Factorization Machines for CTR Prediction via
    Knowledge Distillation", WSDM 2023 (arXiv 2211.11159); places for logits, and the learned scale, are ours.

    .. code-block:: yaml

        distill_loss: logits
        distill_user_weight: 0.05
    """

    def prepare(self, rankings: TeacherRankings) -> None:
        """Starts the scale."""
        device = self.lists.device
        self._shift, self._scale = (nn.Parameter(torch.tensor(value, device=device)) for value in (0.0, 1.0))

    def parameters(self) -> list[nn.Parameter]:
        """Shift and scale."""
        return [self._shift, self._scale]

    def state_dict(self) -> dict[str, Any]:
        """Shift and scale."""
        return {"shift": self._shift.detach(), "scale": self._scale.detach()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these, which the optimizer knows."""
        with torch.no_grad():
            self._shift.copy_(state["shift"])
            self._scale.copy_(state["scale"])

    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users."""
        return self.user_losses(users).sum()

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, shape ``(B,)``."""
        items, teacher = self.lists[users], place_scores(self._places)
        return logit_distance(self.scores(users, items), teacher, items > 0, self._shift, self._scale)
