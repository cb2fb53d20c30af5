"""Stage 1: a compact student learns from the teacher's rankings (CCD)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.pairs import pairs_matrix
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.windowed import windowed_ranking_loss
from recbole_ccd.model.scoring import factors, has_factors, score_pairs
from recbole_ccd.ranking.uninteresting import UninterestingSampler
from recbole_ccd.seeding import torch_generator
from recbole_ccd.trainer.base import StageTrainer


@dataclass
class TeacherKnowledge:
    """What the teacher says about a block, all the student is taught with.

    Attributes:
        top_items: each user's best items that are not in the train part, shape ``(n_users, K)``, 0-padded.
        top_users: each item's best users, likewise, shape ``(n_items, K)``.
        excluded: pairs that are neither negatives nor uninteresting, users × items: the top items of
            teacher, proxies and current student.
    """

    top_items: Tensor
    top_users: Tensor
    excluded: csr_matrix


@dataclass
class _Side:
    """One direction of distillation: rows that rank columns.

    ``ineligible`` holds the pairs that are not uninteresting: known, excluded or interesting ones.
    """

    interesting: Tensor
    ineligible: csr_matrix
    sampler: UninterestingSampler
    weight: float
    swapped: bool


class DistillationTrainer(StageTrainer):
    """Student generation: the base loss plus list-wise distillation on both sides.

    Each batch adds the user-side loss RRD (Kang et al., DE-RRD, CIKM 2020) of its users; after each
    epoch a pass over all items adds the item-side loss (CCD's IR-RRD). Losses are sums over rows
    divided by the batch size, which keeps them in the proportion to the base loss's mean that the
    paper's sums have.
    """

    stage = "student_generation"

    def learn_from(self, knowledge: TeacherKnowledge) -> DistillationTrainer:
        """Sets what is to be learned; :meth:`at_block` comes first.

        Args:
            knowledge: the teacher's word on the block.
        """
        self._knowledge = knowledge
        taken = self.block.train_matrix + knowledge.excluded
        self._users = self._side(knowledge.top_items, taken, "user", "items", swapped=False)
        self._items = self._side(knowledge.top_users, taken.T, "item", "users", swapped=True)
        return self

    def _side(self, interesting: Tensor, taken: csr_matrix, who: str, what: str, swapped: bool) -> _Side:
        ineligible = (taken + pairs_matrix([interesting], *taken.shape)).tocsr()
        generator = torch_generator(self.seed, "uninteresting", what)
        n_rows, n_columns = ineligible.shape
        sampler = UninterestingSampler(n_columns, n_rows, self.config[f"n_uninteresting_{what}"], generator)
        return _Side(interesting, ineligible, sampler, self.config[f"distill_{who}_weight"], swapped)

    def excluded(self) -> csr_matrix:
        """The exclusion set; it is no source of negatives."""
        return self._knowledge.excluded

    def before_epoch(self, epoch_idx: int) -> None:
        """Draws the uninteresting sets anew every ``uninteresting_redraw`` epochs."""
        if epoch_idx and epoch_idx % self.config["uninteresting_redraw"] == 0:
            self._users.sampler.redraw()
            self._items.sampler.redraw()

    def extra_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The user-side loss of the batch's distinct users."""
        if not self._users.weight:
            return ()
        users = torch.unique(interaction[self.model.USER_ID])
        return (self._list_wise(self._users, users) / len(interaction),)

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """The item-side pass, over all known items in random order."""
        if not self._items.weight:
            return
        size = self.config["train_batch_size"]
        order = (
            torch.randperm(self.block.n_items - 1, generator=torch_generator(self.seed, "items", epoch_idx))
            + 1
        )
        batches = order.split(size)
        for items in self.bar(batches, epoch_idx, ", items") if show_progress else batches:
            self.step(self._list_wise(self._items, items.to(self.device)) / size)

    def _list_wise(self, side: _Side, rows: Tensor) -> Tensor:
        """Weighted sum of the list-wise losses of some rows."""
        interesting = side.interesting.to(rows.device)[rows]
        windows = side.sampler.windows(rows, side.ineligible)
        if not has_factors(type(self.model)):
            mask = windows.mask(side.sampler.n_columns)
            return side.weight * self._pairwise(side, rows, interesting, mask).sum()
        vectors = factors(self.model, self.config["distill_layer"])
        row_vectors, column_vectors = reversed(vectors) if side.swapped else vectors
        score_max = self.config["distill_score_max"]
        return side.weight * windowed_ranking_loss(
            row_vectors[rows], column_vectors, interesting, windows, score_max
        )

    def _pairwise(self, side: _Side, rows: Tensor, interesting: Tensor, mask: Tensor) -> Tensor:
        """The same loss for a model that can only score pairs, on a few shared uninteresting columns."""
        generator = torch_generator(self.seed, "shared", int(rows[0]), self.epochs_run)
        shared = torch.randint(1, mask.shape[1], (self.config["n_uninteresting_pairs"],), generator=generator)
        columns = torch.cat([interesting, shared.to(rows.device).expand(len(rows), -1)], dim=1)
        pair_rows = rows.repeat_interleave(columns.shape[1])
        pair = (columns.flatten(), pair_rows) if side.swapped else (pair_rows, columns.flatten())
        scores = (
            score_pairs(self.model, *pair).view(columns.shape).clamp(max=self.config["distill_score_max"])
        )
        listed, others = scores.split([interesting.shape[1], len(shared)], dim=1)
        usable = mask.gather(1, columns[:, interesting.shape[1] :])
        # the sample stands for all uninteresting columns
        scale = mask.sum(dim=1) / usable.sum(dim=1).clamp(min=1)
        lse = masked_log_sum_exp(others, usable) + torch.log(scale)
        return list_wise_loss(listed, lse, interesting > 0)
