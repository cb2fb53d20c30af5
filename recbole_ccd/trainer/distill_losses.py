"""What a student can be taught in the place of RRD: losses on the scores of a few items of each user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import embedding

from recbole_ccd.data.pairs import csr_rows
from recbole_ccd.loss.collaborative import best_places, collaborative_loss, places_in
from recbole_ccd.loss.ranking_distillation import estimated_ranks, ranking_distillation, ranking_weights
from recbole_ccd.loss.soft_targets import place_scores, soft_target_kl, top_one_cross_entropy
from recbole_ccd.model.scoring import clear_cache, factors, has_factors, score_pairs, score_rows
from recbole_ccd.ranking.replay import draw_replay
from recbole_ccd.ranking.topk import ScoreFn, list_length, top_k, users_at_a_time
from recbole_ccd.seeding import torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class UserLoss(ABC):
    """A loss that teaches users' rankings by the teacher's lists and nothing else of the teacher.

    The student may know more users and items than the lists do: those are left alone. What is drawn at
    random comes from a generator of its own, seeded anew for each epoch.
    """

    settings: ClassVar[Mapping[str, Any]] = {}
    """Keys of a loss outside the package with their defaults; those of ours are in ``learning.yaml``."""

    def __init__(
        self, config: CCDConfig, model: GeneralRecommender, lists: Tensor, seen: csr_matrix, seed: int
    ) -> None:
        """Says what is to be learned.

        Args:
            config: the stage's configuration.
            model: the student in training.
            lists: each user's best items in the teacher's order, shape ``(n_users, K)``, 0-padded.
            seen: users × items that are in no list: the train part; its size is what the lists know.
            seed: seed of what is drawn.
        """
        self.config, self.model, self.seen, self.seed = config, model, seen, seed
        self.lists = lists.to(model.device)
        self.n_users, self.n_items = seen.shape
        self._places = torch.arange(1, lists.shape[1] + 1, dtype=torch.float32, device=model.device)
        self._seed_epoch(0)

    @abstractmethod
    def __call__(self, users: Tensor) -> Tensor:
        """Sum of the losses of distinct users, shape ``(B,)``; a user without a list adds 0."""

    def before_epoch(self, epoch_idx: int) -> None:
        """Called once before each epoch."""
        self._seed_epoch(epoch_idx)

    def state(self) -> dict[str, Any]:
        """What is kept from one epoch to the next beside what each epoch is seeded with."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Goes on where a loss was that gave :meth:`state`."""

    def _seed_epoch(self, epoch_idx: int) -> None:
        self._generator = torch_generator(self.seed, "user loss", epoch_idx)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The student's scores of given items.

        Args:
            users: ids, shape ``(B,)``.
            items: ids for each user, shape ``(B, C)``.

        Returns:
            Shape ``(B, C)``, differentiable; of the layer ``distill_layer`` where the student has layers.
        """
        if not has_factors(type(self.model)):
            rows = users.repeat_interleave(items.shape[1])
            return score_pairs(self.model, rows, items.flatten()).view(items.shape)
        user_vectors, item_vectors = factors(self.model, self.config["distill_layer"])
        return torch.bmm(embedding(items, item_vectors), user_vectors[users].unsqueeze(2)).squeeze(2)

    @torch.no_grad()
    def top_items(self) -> Tensor:
        """The student's own lists now, as long as the teacher's and by the same scores as in the loss.

        Returns:
            Shape ``(n_users, K)``, 0-padded; the student is in eval mode afterwards.
        """
        model = self.model
        clear_cache(model)
        model.eval()
        users = torch.arange(self.n_users, device=model.device)
        size = users_at_a_time(model.n_items)
        lists = top_k(self._scores_of_all(), users, self.lists.shape[1], self.seen, size)
        clear_cache(model)
        return lists

    def _scores_of_all(self) -> ScoreFn:
        """What scores all items that the teacher knows for a batch of users."""
        if not has_factors(type(self.model)):
            return lambda users: score_rows(self.model, users)[:, : self.n_items]
        user_vectors, item_vectors = factors(self.model, self.config["distill_layer"])
        return lambda users: user_vectors[users] @ item_vectors[: self.n_items].T


class SoftTargets(UserLoss):
    """KL divergence of softmaxes at a temperature over the teacher's list (Hinton et al., 2015)."""

    def __call__(self, users: Tensor) -> Tensor:
        """See :class:`UserLoss`."""
        items = self.lists[users]
        teacher, temperature = place_scores(self._places), self.config["distill_temperature"]
        return soft_target_kl(self.scores(users, items), teacher, items > 0, temperature).sum()


class ListNet(UserLoss):
    """Top-one cross-entropy on the teacher's list (Cao et al., ICML 2007).

    The temperature softens the teacher's probabilities only.
    """

    def __call__(self, users: Tensor) -> Tensor:
        """See :class:`UserLoss`."""
        items = self.lists[users]
        teacher = place_scores(self._places) / self.config["distill_temperature"]
        return top_one_cross_entropy(self.scores(users, items), teacher, items > 0).sum()


class Collaborative(UserLoss):
    r"""Collaborative distillation (CD; Lee, Choi, Lee, Shim, ICDM 2019).

    For each user of a batch ``distill_draws`` unknown items are drawn without replacement, with probability
    proportional to :math:`e^{-r / \lambda}` in the rank r: at first the teacher's (rank-aware sampling);
    from the first redraw on the better one of the teacher's and the student's (student-guided training),
    the student's lists being renewed every ``uninteresting_redraw`` epochs. An item at place r of the
    teacher's list has the label :math:`r^{-1/T}`, one that only the student ranks high the label 0.

    The paper samples among all unknown items and labels them by the teacher's scores. Here the teacher is
    known by its lists: items in neither list are never drawn, labels come from the place, and what stands
    for the paper's student-guided resampling is said at
    :func:`~recbole_ccd.loss.collaborative.best_places`.
    """

    _own: Tensor | None = None

    def before_epoch(self, epoch_idx: int) -> None:
        """Renews the student's lists every ``uninteresting_redraw`` epochs, at first after so many."""
        super().before_epoch(epoch_idx)
        if epoch_idx and epoch_idx % self.config["uninteresting_redraw"] == 0:
            self._own = self.top_items()

    def state(self) -> dict[str, Any]:
        """The student's lists, from the first redraw on."""
        return {"own": self._own}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """See :class:`UserLoss`."""
        own = state["own"]
        self._own = None if own is None else own.to(self.lists.device)

    def __call__(self, users: Tensor) -> Tensor:
        """See :class:`UserLoss`."""
        lists, items = self.lists[users], self.draw(users)
        labels = torch.exp(place_scores(places_in(items, lists)) / self.config["distill_temperature"])
        return collaborative_loss(self.scores(users, items), labels, items > 0).sum()

    def draw(self, users: Tensor) -> Tensor:
        """Items to be learned by some users, drawn anew on each call.

        Args:
            users: ids, shape ``(B,)``.

        Returns:
            Shape ``(B, distill_draws)``, 0-padded.
        """
        lists = self.lists[users]
        own = lists[:, :0] if self._own is None else self._own[users]
        items, ranks = best_places(lists, own)
        # by how much a rank is better than 0 is minus the rank: the same draw
        sharpness = 1 / self.config["distill_rank_decay"]
        n = list_length(self.config["distill_draws"], self.n_items)
        return draw_replay(torch.zeros_like(ranks), ranks, items, n, sharpness, self._generator)


class Ranking(UserLoss):
    """Ranking distillation (RD; Tang & Wang, KDD 2018) with its hybrid weights, without their warm-up.

    The student's ranks are estimated on ``distill_rank_sample`` items drawn for each batch, the same ones
    for all its users, those in a user's train part left out.
    """

    def __call__(self, users: Tensor) -> Tensor:
        """See :class:`UserLoss`."""
        items, sample = self.lists[users], self._sample()
        columns = torch.cat([items, sample.expand(len(users), -1)], dim=1)
        listed, sampled = self.scores(users, columns).split([items.shape[1], len(sample)], dim=1)
        ranks = estimated_ranks(listed, sampled, *self._candidates(users, sample))
        decay, slope = self.config["distill_rank_decay"], self.config["distill_rank_slope"]
        return ranking_distillation(listed, ranking_weights(ranks, items > 0, decay, slope)).sum()

    def _sample(self) -> Tensor:
        """(S,) distinct items that the teacher knows."""
        order = torch.randperm(self.n_items - 1, generator=self._generator) + 1
        return order[: self.config["distill_rank_sample"]].to(self.model.device)

    def _candidates(self, users: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) whether a sampled item is a candidate of a user, and (B,) how many each user has."""
        owners, seen = (torch.from_numpy(part) for part in csr_rows(self.seen, users.cpu().numpy()))
        place = torch.full((self.n_items,), -1)
        place[sample.cpu()] = torch.arange(len(sample))
        drawn = place[seen] >= 0
        usable = torch.ones(len(users), len(sample), dtype=torch.bool)
        usable[owners[drawn], place[seen[drawn]]] = False
        n_candidates = self.n_items - 1 - torch.bincount(owners, minlength=len(users))
        return usable.to(users.device), n_candidates.to(users.device)


USER_LOSSES: dict[str, type[UserLoss]] = {
    "kl": SoftTargets,
    "listnet": ListNet,
    "cd": Collaborative,
    "rd": Ranking,
}
