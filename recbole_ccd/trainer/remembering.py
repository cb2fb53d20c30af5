"""Stages 2 and 3 read the lists of the teacher that has not learned the block yet."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from recbole_ccd.seeding import derive_seed
from recbole_ccd.trainer.distillation import TaughtTrainer
from recbole_ccd.trainer.teaching import TeacherKnowledge, Teaching


class RememberingTrainer(TaughtTrainer):
    """A stage that learns a block and reads the lists of the teacher before it (``update_distill_teacher``).

    What a block's interactions change about the items reaches the users who are absent from it, and
    nothing of the block speaks for them. So after each epoch a pass over these users teaches them their
    lists anew; the users who are there are free to follow the block. With ``update_distill_users: all`` the
    passes visit all users and, on the items' side, all items that the teacher knows.

    The weight is that of the role, ``student_update_distill`` or ``teacher_update_distill``.
    """

    role = "student"
    _teaching: Teaching | None = None

    def remember(self, knowledge: TeacherKnowledge) -> RememberingTrainer:
        """Sets what was taught; :meth:`at_block` comes first.

        Args:
            knowledge: what the teacher before the block says; it may know fewer users and items.
        """
        n_users, n_items = knowledge.excluded.shape
        config = deepcopy(self.config)
        config["distill_layer"] = config["update_distill_layer"] if self.role == "student" else "final"
        users = np.arange(1, n_users)
        if config["update_distill_users"] == "absent":
            users = users[self.block.train_matrix[1:n_users].getnnz(axis=1) == 0]
            # lists of items speak of everybody
            config["distill_item_weight"] = 0.0
        seen = self.block.recent_train_matrix[:n_users, :n_items]
        self._teaching = Teaching(config, self.model, knowledge, seen, derive_seed(self.seed, "teaching"))
        self._taught = torch.from_numpy(users), torch.arange(1, n_items)
        return self

    def state(self) -> dict[str, Any]:
        """With what the teaching draws, if there is any."""
        teaching = None if self._teaching is None else self._teaching.state()
        return {**super().state(), "teaching": teaching}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """With what the teaching draws, if there is any."""
        super().load_state(state)
        if self._teaching is not None:
            self._teaching.load_state(state["teaching"])

    def before_epoch(self, epoch_idx: int) -> None:
        """Draws uninteresting sets anew when they are due, and whatever else the stage draws."""
        super().before_epoch(epoch_idx)
        if self._teaching is not None:
            self._teaching.before_epoch(epoch_idx)

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """The other passes of the stage, and those over what was taught."""
        super().after_epoch(epoch_idx, show_progress)
        if (teaching := self._teaching) is None:
            return
        weight, (users, items) = self.config[f"{self.role}_update_distill"], self._taught
        if teaching.has_users:
            self.teaching_pass(users, teaching.of_users, epoch_idx, "users", show_progress, weight)
        if teaching.has_items:
            self.teaching_pass(items, teaching.of_items, epoch_idx, "items", show_progress, weight)
