"""Stage 3: a member of the teacher learns the block, its own past and, in CCD, the student side."""

from __future__ import annotations

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.model.scoring import is_autoencoder
from recbole_ccd.trainer.remembering import RememberingTrainer
from recbole_ccd.trainer.replay import ReplayTrainer
from recbole_ccd.trainer.retaining import RetainingTrainer


class RetainingTeacherTrainer(RetainingTrainer):
    """Update of one member by continual learning alone: base loss and retention terms, no replay."""

    stage = "teacher_update"


class TeacherUpdateTrainer(RetainingTrainer, RememberingTrainer, ReplayTrainer):
    """Continual update of one member: base loss, retention terms, and knowledge of the student side.

    With ``teacher_update_distill`` above 0 a member also reads the lists of the whole teacher that has not
    learned the block yet (``update_distill_teacher``).
    Members with scores of pairs replay in a pass of their own; auto-encoders read and reconstruct the
    replayed pairs as interactions of value ``pseudo_interaction_value``.
    """

    stage = "teacher_update"
    role = "teacher"

    def visited_users(self) -> Tensor | None:
        """For auto-encoders everybody known, since replay gives old users rows too."""
        return torch.arange(1, self.block.n_users) if is_autoencoder(self.model) else None

    def training_rows(self) -> csr_matrix:
        """The block's interactions and, with less weight, the replayed pairs."""
        users, items, _ = (part.cpu().numpy() for part in self.pairs)
        value = torch.full((len(users),), self.config["pseudo_interaction_value"]).numpy()
        own = self.block.train_matrix
        return (own + csr_matrix((value, (users, items)), shape=own.shape)).tocsr()

    def _weight(self, epoch_idx: int) -> float:
        """An auto-encoder's is the same in all epochs."""
        own = is_autoencoder(self.model)
        return self.config["pseudo_interaction_value"] if own else super()._weight(epoch_idx)

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """The replay pass of members other than auto-encoders."""
        if not is_autoencoder(self.model):
            super().after_epoch(epoch_idx, show_progress)
