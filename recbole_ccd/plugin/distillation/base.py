"""A distillation loss: how far a student is from the teacher's rankings, chosen by ``distill_loss``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn.functional import embedding

from recbole_ccd.model.scoring import clear_cache, has_factors, required_factors, score_pairs, score_rows
from recbole_ccd.plugin.distillation.student import StudentView
from recbole_ccd.ranking.rank_sample import candidates_among, drawn_items
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.tiles import InnerProducts
from recbole_ccd.ranking.topk import ScoreFn, top_k, users_at_a_time
from recbole_ccd.utils.seeding import torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def scores_of_lists(model: GeneralRecommender, users: Tensor, items: Tensor, layer: str) -> Tensor:
    """A student's scores of given items.

    Args:
        model: the student.
        users: ids, shape ``(B,)``.
        items: ids for each user, shape ``(B, C)``.
        layer: of which layer, where the student has layers.

    Returns:
        Shape ``(B, C)``, differentiable.
    """
    if not has_factors(type(model)):
        rows = users.repeat_interleave(items.shape[1])
        return score_pairs(model, rows, items.flatten()).view(items.shape)
    return products(*required_factors(model, layer), users, items)


def products(user_vectors: Tensor, item_vectors: Tensor, users: Tensor, items: Tensor) -> Tensor:
    """Inner products of users, shape ``(B,)``, with the items of each, shape ``(B, C)``; ``(B, C)``."""
    return torch.bmm(embedding(items, item_vectors), user_vectors[users].unsqueeze(2)).squeeze(2)


class DistillationLoss(ABC):
    """A loss of users' rankings, and of items' if it has an item side, against the teacher's lists.

    The student may know more users and items than the lists do: those are left alone. What is drawn at
    random comes from a generator of its own, seeded anew for each epoch.
    """

    kind: ClassVar[str] = "distillation loss"
    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    """Keys of a loss outside the package with their defaults; those of ours are in ``learning.yaml``."""
    has_item_side: ClassVar[bool] = False
    """Whether items have lists of users to learn as well, by :meth:`item_loss`."""
    needs_member_ranks: ClassVar[bool] = False
    """Whether it reads ``member_ranks`` of the teacher's rankings, which are made for such losses alone."""
    needs_grouped_items: ClassVar[bool] = False
    """Whether it reads the ``item_groups`` and ``grouped_items`` of the teacher's rankings; likewise."""

    def __init__(
        self,
        config: CCDConfig,
        model: GeneralRecommender,
        rankings: TeacherRankings,
        seen: csr_matrix,
        seed: int,
        view: StudentView | None = None,
    ) -> None:
        """Says what is to be learned.

        Args:
            config: the stage's configuration.
            model: the student in training.
            rankings: the teacher's lists; with ``top_users`` where :attr:`has_item_side`.
            seen: users × items that are in no list: the train part; its size is what the lists know.
            seed: seed of what is drawn.
            view: what is seen of the student; None for its vectors of the layer ``distill_layer``.
        """
        self.config, self.model, self.seen, self.seed = config, model, seen, seed
        self._view = StudentView(model, config["distill_layer"]) if view is None else view
        self.lists = rankings.top_items.to(model.device)
        self.n_users, self.n_items = seen.shape
        self._places = torch.arange(1, self.lists.shape[1] + 1, dtype=torch.float32, device=model.device)
        self._seed_epoch(0)
        self.prepare(rankings)

    def prepare(self, rankings: TeacherRankings) -> None:  # noqa: B027
        """Called once, when all else is set: makes of the lists what the loss needs beside them.

        Args:
            rankings: the teacher's lists.
        """

    @abstractmethod
    def user_loss(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users; a user without a list adds 0.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            A scalar.
        """

    def user_losses(self, users: Tensor) -> Tensor:
        """The loss of each of distinct users, where a loss can tell; ``distill_pick`` compares them.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            Shape ``(B,)``; it need not be differentiable.
        """
        raise ValueError(f"{type(self).__name__} does not tell the loss of each user")

    def item_loss(self, items: Tensor) -> Tensor:
        """Sum of the losses of distinct items, shape ``(B,)``; called where :attr:`has_item_side` alone."""
        raise ValueError(f"{type(self).__name__} has no item side")

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the loss itself, which the stage's optimizer trains and :meth:`state_dict` has."""
        return []

    def learn_with(self, other: DistillationLoss) -> None:
        """Shares the :meth:`parameters` of a loss of the same class, which is on other lists.

        Args:
            other: the loss; its attributes that are parameters take the place of this one's.
        """
        shared = {name: value for name, value in vars(other).items() if isinstance(value, nn.Parameter)}
        vars(self).update(shared)

    def before_epoch(self, epoch: int) -> None:
        """Called once before each epoch."""
        self._seed_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """What lasts from one epoch to the next beside what each epoch is seeded with."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Goes on where a loss was that gave :meth:`state_dict`."""

    def _seed_epoch(self, epoch: int) -> None:
        self._generator = torch_generator(self.seed, "user loss", epoch)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """User and item vectors whose inner product is the score that is distilled.

        Returns:
            Differentiable tensors of shape ``(n_users, dim)`` and ``(n_items, dim)``.

        Raises:
            ValueError: the student does not score by an inner product.
        """
        return self._view.vectors()

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The student's scores of given items.

        Args:
            users: ids, shape ``(B,)``.
            items: ids for each user, shape ``(B, C)``.

        Returns:
            Shape ``(B, C)``, differentiable; of the layer ``distill_layer`` where the student has layers.
        """
        if not has_factors(type(self.model)):
            return scores_of_lists(self.model, users, items, self.config["distill_layer"])
        return products(*self.vectors(), users, items)

    def item_scores(self, items: Tensor, users: Tensor) -> Tensor:
        """The student's scores of items by given users, as :meth:`scores` gives those of users.

        Args:
            items: ids, shape ``(B,)``.
            users: ids for each item, shape ``(B, C)``.

        Returns:
            Shape ``(B, C)``, differentiable.
        """
        if not has_factors(type(self.model)):
            rows = items.repeat_interleave(users.shape[1])
            return score_pairs(self.model, users.flatten(), rows).view(users.shape)
        user_vectors, item_vectors = self.vectors()
        return torch.bmm(embedding(users, user_vectors), item_vectors[items].unsqueeze(2)).squeeze(2)

    @torch.no_grad()
    def top_items(self, k: int | None = None) -> Tensor:
        """The student's own lists now, by the same scores as in the loss.

        Args:
            k: how many items; as many as the teacher's lists have by default.

        Returns:
            Shape ``(n_users, k)``, 0-padded; the student is in eval mode afterwards.
        """
        model, length = self.model, self.lists.shape[1] if k is None else k
        clear_cache(model)
        model.eval()
        users = torch.arange(self.n_users, device=model.device)
        score = self._scores_of_all()
        lists = top_k(score, users, length, self.seen, users_at_a_time(model.n_items, score, length))
        clear_cache(model)
        return lists

    def _scores_of_all(self) -> ScoreFn:
        """What scores all items that the teacher knows for a batch of users."""
        if not has_factors(type(self.model)):
            return lambda users: score_rows(self.model, users)[:, : self.n_items]
        user_vectors, item_vectors = self.vectors()
        return InnerProducts(user_vectors, item_vectors[: self.n_items])

    def sampled_items(self) -> Tensor:
        """(S,) ``distill_rank_sample`` distinct items that the teacher knows, drawn anew on each call."""
        size = self.config["distill_rank_sample"]
        return drawn_items(self.n_items, size, self._generator).to(self.model.device)

    def unseen_among(self, users: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Which of some distinct items are outside the train part of each user.

        Args:
            users: ids, shape ``(B,)``.
            sample: items, shape ``(S,)``.

        Returns:
            ``(B, S)`` bool, and how many of all items each user has not seen, ``(B,)``.
        """
        return candidates_among(sample, users, self.seen)
