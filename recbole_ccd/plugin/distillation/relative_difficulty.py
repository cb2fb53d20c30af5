"""Relative difficulty: the student's own loss goes where teacher and student find things hard or easy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from logging import getLogger

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import BPR, NGCF, LightGCN
from recbole.model.loss import BPRLoss
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.loss.ranking_distillation import estimated_ranks
from recbole_ccd.loss.relative_difficulty import (
    agreement_weights,
    difference_weights,
    mean_ranks,
    with_mean_one,
)
from recbole_ccd.model.scoring import clear_cache, required_factors, score_rows
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.ranking.pair_ranks import pair_ranks
from recbole_ccd.ranking.rank_sample import candidates_among, drawn_items
from recbole_ccd.utils.seeding import torch_generator


def has_weighable_loss(model_class: type[GeneralRecommender]) -> bool:
    """Whether models of this class have a BPR loss of single interactions, which can be weighed."""
    return issubclass(model_class, BPR | LightGCN | NGCF)


def member_ranks(members: Sequence[GeneralRecommender], pairs: csr_matrix) -> Tensor:
    """Where each of some models ranks each pair of a matrix.

    Args:
        members: models that know all users and items; they are in eval mode afterwards.
        pairs: users × items with sorted indices.

    Returns:
        (nnz, M) int32, in the matrix's order; see
            :func:`~recbole_ccd.ranking.pair_ranks.pair_ranks`.
    """
    ranks = []
    for member in members:
        clear_cache(member)
        member.eval()
        ranks.append(pair_ranks(partial(score_rows, member), pairs, member.device))
        clear_cache(member)
    return torch.stack(ranks, dim=1)


class WeightedBPRLoss(BPRLoss):
    """RecBole's BPR loss, of which each row can be given a weight.

    Attributes:
        weights: (B,) weights of the next batch's rows; None for RecBole's loss.
    """

    weights: Tensor | None = None

    def forward(self, pos_score: Tensor, neg_score: Tensor) -> Tensor:
        """The weighted mean over rows.

        Args:
            pos_score: (B,) scores of positives.
            neg_score: (B,) scores of negatives.
        """
        if self.weights is None:
            return super().forward(pos_score, neg_score)
        return -(self.weights * torch.log(self.gamma + torch.sigmoid(pos_score - neg_score))).mean()


class RelativeDifficulty(TrainerPlugin):
    r"""Weighs the interactions of stage 1 in the student's own loss (``distill_weighting``).

    At first, for a share ``difficulty_warmup`` of the epochs, by how far the members agree
    (:func:`~recbole_ccd.loss.relative_difficulty.agreement_weights`); then by whether an interaction is hard
    for exactly one of teacher and student
    (:func:`~recbole_ccd.loss.relative_difficulty.difference_weights`), the student's rank being estimated on
    ``distill_rank_sample`` items drawn for each batch. Weights are divided by their mean in the batch. What
    is distilled stays as it is.

    Source: RDD, Liang et al., "Relative Difficulty Distillation for Semantic Segmentation", SCIS 2024 (arXiv
    2407.03719): both phases, on the task's loss. Interactions for pixels, the teacher's members for its
    classifiers, and ranks for probabilities are ours.

    .. code-block:: yaml

        distill_weighting: relative_difficulty
        difficulty_warmup: 0.1
        difficulty_rank: 20       # kappa
        difficulty_floor: 0.1
    """

    name = "relative_difficulty"

    def __init__(self, ranks: Tensor) -> None:
        """Says how the teacher ranks what is learned.

        Args:
            ranks: (nnz, M) rank of each pair of the block's train matrix by each member, as of
                :func:`member_ranks`.
        """
        self._agreement, self._teacher = agreement_weights(ranks), mean_ranks(ranks)
        if ranks.shape[1] == 1:
            getLogger("recbole_ccd").info(
                "distill_weighting: a teacher of one member always agrees with itself, so that nothing is "
                "weighed in the first epochs (difficulty_warmup)"
            )

    def bind(self, context: PluginContext) -> None:
        """Puts a loss that can be weighed in the place of the model's own.

        Args:
            context: a stage of a model that :func:`has_weighable_loss`.
        """
        super().bind(context)
        named = {name: child for name, child in self.model.named_children() if isinstance(child, BPRLoss)}
        ((name, child),) = named.items()
        self._loss = WeightedBPRLoss(child.gamma)
        setattr(self.model, name, self._loss)
        matrix = self.block.train_matrix
        users, items = csr_rows(matrix, torch.arange(matrix.shape[0]).numpy())
        self._pairs = torch.from_numpy(users * matrix.shape[1] + items).to(self.model.device)
        self.before_epoch(0)

    def before_epoch(self, epoch: int) -> None:
        """Begins the draws of the epoch, and tells which phase it is in."""
        self._generator = torch_generator(self.seed, "relative difficulty", epoch)
        self._warming = epoch < self.config["difficulty_warmup"] * self.config["epochs"]

    def before_batch(self, interaction: Interaction) -> None:
        """Weighs the batch's interactions."""
        users, items = interaction[self.model.USER_ID], interaction[self.model.ITEM_ID]
        places = torch.searchsorted(self._pairs, users * self.block.train_matrix.shape[1] + items)
        self._loss.weights = with_mean_one(self._weights(places, users, items))

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """No terms; the batch has been weighed."""
        self._loss.weights = None
        return ()

    def _weights(self, places: Tensor, users: Tensor, items: Tensor) -> Tensor:
        if self._warming:
            return self._agreement[places]
        settings = (self.config["difficulty_rank"], self.config["difficulty_floor"])
        return difference_weights(self._teacher[places], self._student_ranks(users, items), *settings)

    @torch.no_grad()
    def _student_ranks(self, users: Tensor, items: Tensor) -> Tensor:
        """(B,) the student's ranks of its positives now, estimated."""
        seen = self.block.train_matrix
        sample = drawn_items(seen.shape[1], self.config["distill_rank_sample"], self._generator)
        user_vectors, item_vectors = required_factors(self.model)
        scores = (user_vectors[users] * item_vectors[items]).sum(dim=1, keepdim=True)
        sampled = user_vectors[users] @ item_vectors[sample.to(users.device)].T
        return estimated_ranks(scores, sampled, *candidates_among(sample, users, seen))[:, 0]
