"""One-time distillation: the base student is distilled from the base teacher, and that is all."""

from __future__ import annotations

from recbole_ccd.data.block import Block
from recbole_ccd.model.growth import grow
from recbole_ccd.registry import register
from recbole_ccd.strategy.base import Strategy


@register("distill")
class Distill(Strategy):
    """Stage 1 on the base block; afterwards teacher and student only grow.

    New users and items start from their neighbours, as in CCD, and stay there.
    """

    keeps_teacher = True

    def train_block(self, block: Block) -> None:
        """Base training and distillation on block 0, growth afterwards."""
        if block.index == 0:
            self.student = self.train_base_student(block, distilled=True)
            self.discard_rankings()
            return
        self.student = self.stage(
            "student_update",
            block,
            self.config,
            lambda stage: grow(self.student, stage.config, block).eval(),
        )
        self.teacher = self.update_members(block, lambda stage, member, old: member.eval())
