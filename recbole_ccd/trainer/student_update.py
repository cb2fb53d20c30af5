"""Stage 2: the distilled student follows the block that arrived (CCD)."""

from __future__ import annotations

from scipy.sparse import csr_matrix

from recbole_ccd.trainer.replay import ReplayTrainer


class StudentUpdateTrainer(ReplayTrainer):
    """Continual update of the student: its base loss on the block, and annealed proxy-guided replay."""

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
