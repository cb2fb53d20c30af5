"""Distillation and continual learning side by side, without collaboration."""

from __future__ import annotations

from functools import partial

from recbole_ccd.data.block import Block
from recbole_ccd.registry import register
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.continual import learn_update


@register("distill_each_block")
class DistillEachBlock(Strategy):
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
            self.teacher = self.update_members(block, partial(learn_update, role="teacher"))
            self.student = self.generate_student(block)
        self.discard_rankings()
