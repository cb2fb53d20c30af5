"""Stage 1: a compact student learns from the teacher's rankings (CCD)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.seeding import torch_generator
from recbole_ccd.trainer.base import StageTrainer
from recbole_ccd.trainer.teaching import TeacherKnowledge, Teaching


class TaughtTrainer(StageTrainer):
    """A stage in which the student reads the teacher's lists.

    Losses are sums over rows divided by the batch size, which keeps them in the proportion to the base
    loss's mean that the paper's sums have.
    """

    def teaching_pass(
        self,
        ids: Tensor,
        loss: Callable[[Tensor], Tensor],
        epoch_idx: int,
        what: str,
        show_progress: bool,
        weight: float = 1.0,
    ) -> None:
        """Optimizer steps on batches of users or items, in random order.

        Args:
            ids: distinct users or items, shape ``(n,)``.
            loss: weighted sum of the losses of some of them.
            epoch_idx: the epoch.
            what: what they are, for the seed and the bar.
            show_progress: whether to draw a bar.
            weight: weight of the pass.
        """
        if not len(ids):
            return
        size = self.config["train_batch_size"]
        order = torch.randperm(len(ids), generator=torch_generator(self.seed, what, epoch_idx))
        batches = ids[order].split(size)
        for batch in self.bar(batches, epoch_idx, f", {what}") if show_progress else batches:
            self.step(weight / size * loss(batch.to(self.device)))


class DistillationTrainer(TaughtTrainer):
    """Student generation: the base loss plus distillation of the teacher's lists.

    Each batch adds the user-side loss of its users; after each epoch a pass over the known users that the
    block does not show (``distill_absent_users``) and one over all items add the rest.
    """

    stage = "student_generation"

    def learn_from(self, knowledge: TeacherKnowledge) -> DistillationTrainer:
        """Sets what is to be learned; :meth:`at_block` comes first.

        Args:
            knowledge: the teacher's word on the block.
        """
        self._knowledge = knowledge
        self._absent = torch.from_numpy(np.flatnonzero(self.block.train_matrix.getnnz(axis=1)[1:] == 0) + 1)
        self._teaching = Teaching(self.config, self.model, knowledge, self.block.train_matrix, self.seed)
        return self

    def state(self) -> dict[str, Any]:
        """With what the teaching draws."""
        return {**super().state(), "teaching": self._teaching.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """With what the teaching draws."""
        super().load_state(state)
        self._teaching.load_state(state["teaching"])

    def excluded(self) -> csr_matrix:
        """The exclusion set; it is no source of negatives."""
        return self._knowledge.excluded

    def before_epoch(self, epoch_idx: int) -> None:
        """Draws the uninteresting sets anew every ``uninteresting_redraw`` epochs."""
        self._teaching.before_epoch(epoch_idx)

    def extra_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The user-side loss of the batch's distinct users."""
        if not self._teaching.has_users:
            return ()
        users = torch.unique(interaction[self.model.USER_ID])
        return (self._teaching.of_users(users) / len(interaction),)

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """The passes over absent users and over all items."""
        if self.config["distill_absent_users"] and self._teaching.has_users:
            taught = self._teaching.of_users
            self.teaching_pass(self._absent, taught, epoch_idx, "absent users", show_progress)
        if self._teaching.has_items:
            items = torch.arange(1, self.block.n_items)
            self.teaching_pass(items, self._teaching.of_items, epoch_idx, "items", show_progress)
