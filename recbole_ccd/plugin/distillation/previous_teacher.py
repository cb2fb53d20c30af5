"""Distillation in stages 2 and 3: the rankings of the teacher that has not learned the block yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_ccd.plugin.base import PluginContext, TrainerPlugin, TrainingPass
from recbole_ccd.plugin.distillation.objective import DistillationObjective, distillation_pass
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.utils.seeding import derive_seed


class PreviousTeacherDistillation(TrainerPlugin):
    """Distils the lists of the teacher before the block (``update_distill_teacher``).

    What a block's interactions change about the items reaches the users who are absent from it, and
    nothing of the block speaks for them. So after each epoch a pass over these users distils their lists
    anew; the users who are there are free to follow the block. With ``update_distill_users: all`` the
    passes visit all users and, on the items' side, all items that the teacher knows.

    The weight is that of the role, ``student_update_distill`` or ``teacher_update_distill``.

    Source: ours; the losses are those of stage 1.

    .. code-block:: yaml

        student_update_distill: 1.0
        teacher_update_distill: 1.0
        update_distill_teacher: grown
        update_distill_users: absent
    """

    name = "previous_teacher"

    def __init__(self, role: str, rankings: TeacherRankings) -> None:
        """Says what is to be learned.

        Args:
            role: ``student`` or ``teacher``, whose settings hold.
            rankings: the lists of the teacher before the block; it may know fewer users and items.
        """
        self._role, self._rankings = role, rankings

    def bind(self, context: PluginContext) -> None:
        """Finds the users and items to visit, and draws what the losses need."""
        super().bind(context)
        n_users, n_items = self._rankings.excluded.shape
        config = deepcopy(self.config)
        config["distill_layer"] = config["update_distill_layer"] if self._role == "student" else "final"
        on_ego = config["distill_layer"] == "ego" and config["distill_augmentation"] == "edge_dropout"
        if self._role == "teacher" or on_ego:
            # members are not augmented, and own embeddings know no graph
            config["distill_augmentation"] = None
        users = np.arange(1, n_users)
        if config["update_distill_users"] == "absent":
            users = users[self.block.train_matrix[1:n_users].getnnz(axis=1) == 0]
            # lists of items speak of everybody
            config["distill_item_weight"] = 0.0
        seen = self.block.recent_train_matrix[:n_users, :n_items]
        seed = derive_seed(self.seed, "teaching")
        self._objective = DistillationObjective(config, self.model, self._rankings, seen, seed)
        self._users, self._items = torch.from_numpy(users), torch.arange(1, n_items)

    def parameters(self) -> list[nn.Parameter]:
        """What is learned beside the model: parameters of the losses, and of an auxiliary head."""
        return self._objective.parameters()

    def before_epoch(self, epoch: int) -> None:
        """Draws uninteresting sets anew when they are due."""
        self._objective.before_epoch(epoch)

    def after_epoch(self, epoch: int) -> Iterator[TrainingPass]:
        """The passes over users and over items."""
        size, device = self.config["train_batch_size"], self.model.device
        weight = self.config[f"{self._role}_update_distill"]
        if self._objective.has_users:
            key = (self.seed, "users", epoch)
            yield distillation_pass(self._users, self._objective.user_loss, size, key, device, weight)
        if self._objective.has_items:
            key = (self.seed, "items", epoch)
            yield distillation_pass(self._items, self._objective.item_loss, size, key, device, weight)

    def state_dict(self) -> dict[str, Any]:
        """What the losses have drawn, and these parameters."""
        return self._objective.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._objective.load_state_dict(state)
