"""Stage 2: the student follows the block that arrived, by replay (CCD) or as its competitors do."""

from __future__ import annotations

from scipy.sparse import csr_matrix

from recbole_ccd.trainer.base import StageTrainer
from recbole_ccd.trainer.remembering import RememberingTrainer
from recbole_ccd.trainer.replay import ReplayTrainer
from recbole_ccd.trainer.retaining import RetainingTrainer


class StudentUpdateTrainer(RememberingTrainer, ReplayTrainer):
    """Continual update of the student: its base loss on the block, and annealed proxy-guided replay.

    With ``student_update_distill`` above 0 the student also reads the lists of the teacher before the block
    (``update_distill_teacher``).
    """

    stage = "student_update"
    role = "student"

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
