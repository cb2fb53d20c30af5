"""Distillation in stage 1: the student learns the rankings of the teacher of its block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_ccd.plugin.base import PluginContext, TrainerPlugin, TrainingPass
from recbole_ccd.plugin.distillation.objective import DistillationObjective, distillation_pass
from recbole_ccd.ranking.teacher_rankings import TeacherRankings


class TeacherDistillation(TrainerPlugin):
    r"""Adds the configured ``distill_loss`` to student generation.

    .. math:: L = L_{\mathrm{model}} + \lambda_U \sum_u L_u + \lambda_I \sum_i L_i

    Each batch adds the user-side loss of its users; after each epoch a pass over the known users that the
    block does not show (``distill_absent_users``) and one over all items add the rest.

    Source: stage 1 of CCD, Lee, Kang, Kweon, Yu, "Continual Collaborative Distillation for Recommender
    System", KDD 2024 (arXiv 2405.19046).

    .. code-block:: yaml

        distill_loss: [rrd, kl]
        distill_loss_weights: [1.0, 0.1]
        distill_user_weight: 0.01      # lambda_U
        distill_item_weight: 0.01      # lambda_I
        distill_absent_users: True
    """

    name = "distillation"

    def __init__(self, rankings: TeacherRankings, courses: Sequence[Tensor] | None = None) -> None:
        """Says what is to be learned.

        Args:
            rankings: the teacher's lists of the block.
            courses: the courses of its members, as of
                :class:`~recbole_ccd.plugin.distillation.curriculum.Curriculum`; None for no curriculum.
        """
        self._rankings, self._courses = rankings, courses

    def bind(self, context: PluginContext) -> None:
        """Finds the absent users and draws what the losses need."""
        super().bind(context)
        seen = self.block.train_matrix
        self._absent = torch.from_numpy(np.flatnonzero(seen.getnnz(axis=1)[1:] == 0) + 1)
        given = (self.config, self.model, self._rankings, seen, self.seed, self._courses)
        self._objective = DistillationObjective(*given)

    def parameters(self) -> list[nn.Parameter]:
        """What is learned beside the model: parameters of the losses, and of an auxiliary head."""
        return self._objective.parameters()

    def before_epoch(self, epoch: int) -> None:
        """Draws the uninteresting sets anew every ``uninteresting_redraw`` epochs."""
        self._objective.before_epoch(epoch)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The user-side loss of the batch's distinct users."""
        if not self._objective.has_users:
            return ()
        users = torch.unique(interaction[self.model.USER_ID])
        return (self._objective.user_loss(users) / len(interaction),)

    def after_epoch(self, epoch: int) -> Iterator[TrainingPass]:
        """The passes over absent users and over all items."""
        size, device = self.config["train_batch_size"], self.model.device
        if self.config["distill_absent_users"] and self._objective.has_users:
            key = (self.seed, "absent users", epoch)
            yield distillation_pass(self._absent, self._objective.user_loss, size, key, device)
        if self._objective.has_items:
            items, key = torch.arange(1, self.block.n_items), (self.seed, "items", epoch)
            yield distillation_pass(items, self._objective.item_loss, size, key, device)

    def state_dict(self) -> dict[str, Any]:
        """What the losses have drawn, and these parameters."""
        return self._objective.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._objective.load_state_dict(state)
