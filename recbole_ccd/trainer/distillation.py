"""Stage 1: a compact student learns from the teacher's rankings (CCD)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.dataloader import csr_rows
from recbole_ccd.loss.listwise import list_wise_loss, masked_log_sum_exp, relaxed_ranking_loss
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
    """One direction of distillation: rows that rank columns."""

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
        ineligible = (self.block.train_matrix + knowledge.excluded).tocsr()
        self._users = self._side(knowledge.top_items, ineligible, "user", "items", swapped=False)
        self._items = self._side(knowledge.top_users, ineligible.T.tocsr(), "item", "users", swapped=True)
        return self

    def _side(self, interesting: Tensor, ineligible: csr_matrix, who: str, what: str, swapped: bool) -> _Side:
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
        ineligible = tuple(torch.from_numpy(part) for part in csr_rows(side.ineligible, rows.cpu().numpy()))
        listed = torch.arange(len(rows)).repeat_interleave(interesting.shape[1])
        ineligible_rows = torch.cat([ineligible[0], listed]).to(rows.device)
        ineligible_columns = torch.cat([ineligible[1].to(rows.device), interesting.flatten()])
        mask = side.sampler.mask(rows, ineligible_rows, ineligible_columns)
        if not has_factors(type(self.model)):
            return side.weight * self._pairwise(side, rows, interesting, mask).sum()
        vectors = factors(self.model, self.config["distill_layer"])
        row_vectors, column_vectors = reversed(vectors) if side.swapped else vectors
        scores = row_vectors[rows] @ column_vectors.T
        return (
            side.weight
            * relaxed_ranking_loss(scores, interesting, mask, self.config["distill_score_max"]).sum()
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


def pairs_matrix(lists: list[Tensor], n_users: int, n_items: int) -> csr_matrix:
    """Users' item lists as one 0/1 matrix.

    Args:
        lists: tensors of shape ``(users, K)`` of item ids, 0-padded; row = user id. Some may cover fewer
            users.
        n_users: rows of the result.
        n_items: columns of the result.
    """
    rows = [torch.arange(len(ids)).repeat_interleave(ids.shape[1]) for ids in lists]
    row, col = (
        torch.cat(parts).numpy() if parts else np.zeros(0, dtype=np.int64)
        for parts in (rows, [i.flatten() for i in lists])
    )
    kept = (col > 0) & (row > 0)
    data = np.ones(int(kept.sum()), dtype=np.float32)
    matrix = csr_matrix((data, (row[kept], col[kept])), shape=(n_users, n_items))
    matrix.data[:] = 1.0
    return matrix
