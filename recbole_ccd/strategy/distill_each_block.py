"""Distillation and continual learning side by side, without collaboration."""

from __future__ import annotations

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.strategy.distilling import DistillingStrategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.trainer.teacher_update import RetainingTeacherTrainer


class DistillEachBlock(DistillingStrategy):
    """The teacher follows the stream by plain continual learning and teaches a new student on each block.

    What CCD adds to this is the student's own update and what flows back from the student side. The
    teacher is the competitor of CCD's: the same members under LWC-KD, with or without PIW (``piw``).
    """

    name = "distill_each_block"
    keeps_teacher = True

    def follow(self, block: Block) -> None:
        """The teacher learns the block, then a student learns from it."""
        if block.index == 0:
            self.student = self.train_base_student(block, distilled=True)
        else:
            self.teacher = self.update_members(block, update_member)
            self.student = self.generate_student(block)
        self.forget_lists()


def update_member(stage: Stage, member: GeneralRecommender, old: GeneralRecommender) -> None:
    """A member learns the block with retention terms."""
    stage.trainer(RetainingTeacherTrainer, member).retain(frozen=old).run(stage.config["show_progress"])
