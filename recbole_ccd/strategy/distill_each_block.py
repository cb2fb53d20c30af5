"""Distillation and continual learning side by side, without collaboration."""

from __future__ import annotations

from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import chosen_scheme
from recbole_ccd.registry import register
from recbole_ccd.strategy.distilling import DistillingStrategy
from recbole_ccd.strategy.stage import Stage


@register("distill_each_block")
class DistillEachBlock(DistillingStrategy):
    """The teacher follows the stream by plain continual learning; a new student is distilled on each block.

    What CCD adds to this is the student's own update and what flows back from the student side. The
    teacher is the competitor of CCD's: the same members under LWC-KD, with or without PIW (``piw``).
    """

    keeps_teacher = True
    replays = True
    regularizes = "teacher"

    def train_block(self, block: Block) -> None:
        """The teacher learns the block, then a student learns from it."""
        if block.index == 0:
            self.student = self.train_base_student(block, distilled=True)
        else:
            self.teacher = self.update_members(block, update_member)
            self.student = self.generate_student(block)
        self.discard_rankings()


def update_member(stage: Stage, member: GeneralRecommender, old: GeneralRecommender) -> None:
    """A member learns the block under the regularizers, and what is replayed."""
    trainer, scheme = stage.trainer(member, previous=old), chosen_scheme(stage.config)
    if scheme is not None:
        trainer.add(scheme("teacher"))
    trainer.add(*chosen_regularizers(stage.config, member)).run(stage.config["show_progress"])
