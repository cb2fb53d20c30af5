"""Stage 2: the student follows the block that arrived, by replay (CCD) or as its competitors do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.sparse import csr_matrix

from recbole_ccd.seeding import derive_seed
from recbole_ccd.trainer.base import StageTrainer
from recbole_ccd.trainer.distillation import TaughtTrainer
from recbole_ccd.trainer.replay import ReplayTrainer
from recbole_ccd.trainer.retaining import RetainingTrainer
from recbole_ccd.trainer.teaching import TeacherKnowledge, Teaching


class StudentUpdateTrainer(TaughtTrainer, ReplayTrainer):
    """Continual update of the student: its base loss on the block, and annealed proxy-guided replay.

    With ``student_update_distill`` above 0 the student also goes on reading what the teacher told it in
    stage 1, in passes of their own over the users and the items of the block before.
    """

    stage = "student_update"
    role = "student"
    _teaching: Teaching | None = None

    def remember(self, knowledge: TeacherKnowledge) -> StudentUpdateTrainer:
        """Sets what the student was taught; :meth:`at_block` comes first.

        Args:
            knowledge: the teacher's word on the block before.
        """
        n_users, n_items = knowledge.excluded.shape
        seen = self.block.recent_train_matrix[:n_users, :n_items]
        seed = derive_seed(self.seed, "teaching")
        self._teaching = Teaching(self.config, self.model, knowledge, seen, seed)
        self._taught = tuple(torch.arange(1, n) for n in (n_users, n_items))
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
        """Draws replay pairs and uninteresting sets anew when they are due."""
        super().before_epoch(epoch_idx)
        if self._teaching is not None:
            self._teaching.before_epoch(epoch_idx)

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """The replay pass, and those over what was taught."""
        super().after_epoch(epoch_idx, show_progress)
        if (teaching := self._teaching) is None:
            return
        weight, (users, items) = self.config["student_update_distill"], self._taught
        if teaching.has_users:
            self.teaching_pass(users, teaching.of_users, epoch_idx, "users", show_progress, weight)
        if teaching.has_items:
            self.teaching_pass(items, teaching.of_items, epoch_idx, "items", show_progress, weight)

    def without(self, excluded: csr_matrix) -> StudentUpdateTrainer:
        """Sets the exclusion set of the negatives.

        Args:
            excluded: users × items of any earlier prefix: top items of teacher, proxies and student.
        """
        self._excluded = excluded
        return self

    def excluded(self) -> csr_matrix:
        """The exclusion set; it is no source of negatives."""
        return self._excluded


class PlainUpdateTrainer(StageTrainer):
    """Update of the student with its own loss and nothing else."""

    stage = "student_update"


class RetainingStudentTrainer(RetainingTrainer):
    """Update of the student by continual learning: its own loss, and terms that hold on to its past."""

    stage = "student_update"
