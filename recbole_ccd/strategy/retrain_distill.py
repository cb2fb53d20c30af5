"""Train the teacher anew on everything so far, and distil a student from it: the way that CCD spares."""

from __future__ import annotations

from recbole_ccd.data.block import Block
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.registry import register
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.stage_runner import learn_plainly


@register("retrain_distill")
class RetrainDistill(Strategy):
    """At every block a fresh teacher learns the train rows of all blocks so far, and a student is distilled.

    Each member is trained from scratch in a stage ``base``, with the ``base_*`` settings and the configured
    validation (``valid_blocks``), as on the base block. The student then goes through stage 1 on these rows.
    Nothing is forgotten, at a cost that grows with the stream: what is lost by following it more cheaply, and
    what is gained in time, is measured against this.
    """

    keeps_teacher = learns_everything = True

    def train_block(self, block: Block) -> None:
        """Base training and distillation on all that there is by now."""
        if block.index:
            (whole,) = self.pieces(block)
            self.teacher = self.retrain_teacher(whole)
            self.student = self.generate_student(whole)
        else:
            self.student = self.train_base_student(block, distilled=True)
        self.discard_rankings()

    def retrain_teacher(self, whole: Block) -> TeacherEnsemble:
        """Trains every member from scratch.

        Args:
            whole: the block with all rows before it.
        """
        tasks = [self.stages.task("base", whole, config, m) for m, config in enumerate(self.members)]
        return self.ensemble(self.stages.run(whole, learn_plainly, tasks), whole)
