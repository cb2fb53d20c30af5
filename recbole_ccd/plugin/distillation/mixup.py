"""Mixup: users between two users are distilled as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.loss.mixup import mixed_lists
from recbole_ccd.plugin.distillation.augmentation import Augmentation
from recbole_ccd.plugin.distillation.student import StudentView
from recbole_ccd.plugin.distillation.weighted import DistillationTask, WeightedLosses
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.utils.seeding import derive_seed, numpy_generator


class Mixup(Augmentation):
    r"""Mixtures of the users of a batch (``distill_augmentation: mixup``).

    Each user u of a batch has a partner v among them, by a permutation, and a share
    :math:`\lambda \sim \mathrm{Beta}(a, a)`. The mixture has the vector

    .. math:: \tilde e = \lambda e_u + (1 - \lambda) e_v

    and the list of :func:`~recbole_ccd.loss.mixup.mixed_lists`; what either has seen is left out of both
    lists and draws. It is distilled by the same losses as any user. With ``distill_pick`` above 1 so many
    mixtures are made of each user of a batch, and of them all as many as there are users are learned: those
    with the largest loss.

    Source: mixup with the teacher on the mixture, and picking (there by the teacher's entropy, the student's,
    or their divergence), as of :class:`Augmentation`. Mixing users, and picking by the loss itself, is ours.

    .. code-block:: yaml

        distill_augmentation: mixup
        augmentation_weight: 1.0
        augmentation_beta: 1.0    # a
        distill_pick: 1
    """

    def __init__(self, task: DistillationTask, losses: WeightedLosses) -> None:
        """As of :class:`Augmentation`."""
        super().__init__(task, losses)
        self._lists = task.rankings.top_items.to(task.model.device)
        self.before_epoch(0)

    def before_epoch(self, epoch: int) -> None:
        """Begins the draws of the epoch."""
        self._epoch, self._n_batches = epoch, 0
        self._generator = numpy_generator(self._task.seed, "mixup", epoch)

    def user_loss(self, users: Tensor) -> Tensor:
        """Weighted sum of the losses of as many mixtures as there are users."""
        n, n_pools = len(users), self._task.config["distill_pick"]
        partners, shares = self._draw(users, n_pools)
        losses = self.losses_of(users.repeat(n_pools), partners, shares)
        mixtures = torch.arange(1, n * n_pools + 1, device=users.device)
        if n_pools > 1:
            with torch.no_grad():
                largest = losses.user_losses(mixtures).topk(n).indices
            mixtures = mixtures[largest.sort().values]
        return losses.user_loss(mixtures)

    def _draw(self, users: Tensor, n_pools: int) -> tuple[Tensor, Tensor]:
        """Partners of the users, pool after pool, and the users' shares."""
        order = np.concatenate([self._generator.permutation(len(users)) for _ in range(n_pools)])
        beta = self._task.config["augmentation_beta"]
        shares = self._generator.beta(beta, beta, len(order)).astype(np.float32)
        return users[torch.from_numpy(order).to(users.device)], torch.from_numpy(shares).to(users.device)

    def losses_of(self, users: Tensor, partners: Tensor, shares: Tensor) -> WeightedLosses:
        """The losses of mixtures, which they know by their place, from 1.

        Args:
            users: ids of u, shape ``(M,)``.
            partners: ids of v, shape ``(M,)``.
            shares: the share of u, shape ``(M,)``.
        """
        task, pair = self._task, (users.cpu().numpy(), partners.cpu().numpy())
        lists = mixed_lists(self._lists[users], self._lists[partners], shares)
        lists = torch.cat([lists.new_zeros(1, lists.shape[1]), lists])
        excluded = _of_either(task.rankings.excluded, *pair)
        rankings = TeacherRankings(lists, lists.new_zeros(task.seen.shape[1], 0), excluded, lists[:, :0])
        self._n_batches += 1
        mixed = replace(
            task,
            rankings=rankings,
            seen=_of_either(task.seen, *pair),
            seed=derive_seed(task.seed, "mixup", self._epoch, self._n_batches),
            view=_MixedUsers(task.view, users, partners, shares),
        )
        losses, is_training = WeightedLosses(mixed, like=self._like), task.model.training
        # some ask what the student ranks high for the mixtures, in eval mode
        losses.before_epoch(0)
        task.model.train(is_training)
        return losses


class _MixedUsers(StudentView):
    """A student whose users are mixtures of two; row 0 is that of [PAD]."""

    def __init__(self, inner: StudentView, users: Tensor, partners: Tensor, shares: Tensor) -> None:
        self._inner, self._users, self._partners, self._shares = inner, users, partners, shares[:, None]

    def vectors(self) -> tuple[Tensor, Tensor]:
        users, items = self._inner.vectors()
        mixed = self._shares * users[self._users] + (1 - self._shares) * users[self._partners]
        return torch.cat([mixed.new_zeros(1, mixed.shape[1]), mixed]), items


def _of_either(matrix: csr_matrix, users: np.ndarray, partners: np.ndarray) -> csr_matrix:
    """A row for each pair of users with the nonzeros of both, below that of [PAD]."""
    first, second = (matrix[np.concatenate([[0], rows])] for rows in (users, partners))
    either = csr_matrix(first + second)
    either.sort_indices()
    return either
