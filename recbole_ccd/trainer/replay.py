"""Proxy-guided replay: what a frozen model ranks high and the live one now low (CCD, section 4.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.dataloader import REPLAY_LABEL, ReplayDataLoader
from recbole_ccd.loss.replay import annealed, replay_loss
from recbole_ccd.model.scoring import clear_cache, is_autoencoder, score_pairs, score_rows
from recbole_ccd.ranking.rank import ranks_of
from recbole_ccd.ranking.replay import draw_replay, merge_pairs
from recbole_ccd.ranking.topk import mask_rows, top_k
from recbole_ccd.seeding import derive_seed, torch_generator
from recbole_ccd.trainer.base import StageTrainer

# users ranked at a time: 256 rows of a large catalogue stay in cache-friendly territory
USER_BATCH = 256

Pairs = tuple[Tensor, Tensor, Tensor]


@dataclass
class ReplaySource:
    """A frozen model whose knowledge is replayed.

    Attributes:
        name: for seeds and logs (``stability``, ``plasticity``, ``student``).
        model: the frozen model, of this or an earlier prefix.
        n_draws: items drawn per user.
    """

    name: str
    model: GeneralRecommender
    n_draws: int


class ProxyReplay:
    """Draws replay pairs from frozen sources against a live model's current ranks.

    For each source and user, ``n_draws`` items without replacement among the source's top
    ``n_candidates``, with probability proportional to ``exp(temperature·(live rank - source rank))``.
    Ranks are among the items the source knows, the user's seen items left out.
    """

    def __init__(
        self,
        sources: Sequence[ReplaySource],
        seen: csr_matrix,
        n_candidates: int,
        temperature: float,
        seed: int,
        device: torch.device,
    ) -> None:
        """Finds each source's candidates, once.

        Args:
            sources: frozen models; those that draw nothing are dropped.
            seen: users × items that are no candidates: the train parts of this block and the one before.
            n_candidates: length of a source's list (A).
            temperature: ε.
            seed: seed of the draws.
            device: where the models live.
        """
        self._sources = [source for source in sources if source.n_draws > 0]
        self._seen, self._temperature, self._seed, self._device = seen, temperature, seed, device
        self._candidates = [self._top(source.model, n_candidates) for source in self._sources]

    def _top(self, model: GeneralRecommender, n_candidates: int) -> Tensor:
        clear_cache(model)
        model.eval()
        users = torch.arange(model.n_users, device=self._device)
        seen = self._seen[: model.n_users, : model.n_items]
        return top_k(lambda batch: score_rows(model, batch).clone(), users, n_candidates, seen, USER_BATCH)

    @torch.no_grad()
    def draw(self, live: GeneralRecommender, epoch: int) -> Pairs:
        """Draws anew.

        Args:
            live: the model whose ranks tell what is forgotten; in eval mode.
            epoch: for the seed.

        Returns:
            Users, items and soft labels ``σ(source score)`` (the largest where sources agree), each ``(P,)``.
        """
        empty = torch.zeros(0, dtype=torch.int64, device=self._device)
        users, items, labels = [empty], [empty], [empty.float()]
        generator = torch_generator(self._seed, "replay", epoch)
        n_users = max((source.model.n_users for source in self._sources), default=1)
        for batch in torch.arange(1, n_users, device=self._device).split(USER_BATCH):
            scores = score_rows(live, batch)
            for source, candidates in zip(self._sources, self._candidates, strict=True):
                known = batch[batch < source.model.n_users]
                drawn = self._draw_batch(source, candidates[known], known, scores[: len(known)], generator)
                users.append(known.repeat_interleave(drawn.shape[1]))
                items.append(drawn.flatten())
                labels.append(torch.sigmoid(score_pairs_cached(source.model, users[-1], items[-1])))
        return merge_pairs(users, items, labels)

    def _draw_batch(
        self, source: ReplaySource, items: Tensor, users: Tensor, scores: Tensor, generator: torch.Generator
    ) -> Tensor:
        masked = scores[:, : source.model.n_items].clone()
        mask_rows(masked, users, self._seen[:, : source.model.n_items], -torch.inf)
        now = ranks_of(masked, items).float()
        proxy = torch.arange(1, items.shape[1] + 1, device=items.device).expand_as(items).float()
        return draw_replay(now, proxy, items, source.n_draws, self._temperature, generator)


def score_pairs_cached(model: GeneralRecommender, users: Tensor, items: Tensor) -> Tensor:
    """Scores of pairs from the model's cached propagation; no gradients.

    Args:
        model: a frozen model in eval mode.
        users: ids, shape ``(P,)``, sorted so that equal ones are neighbours.
        items: ids, shape ``(P,)``.
    """
    if getattr(model, "restore_user_e", None) is not None:
        return (model.restore_user_e[users] * model.restore_item_e[items]).sum(dim=1)
    if is_autoencoder(model):
        distinct, place = torch.unique_consecutive(users, return_inverse=True)
        return score_rows(model, distinct)[place, items]
    return score_pairs(model, users, items)


class ReplayTrainer(StageTrainer):
    """A stage that replays: after each epoch a pass of its own over drawn pairs.

    The pass minimises ``Σ BCE(σ(score), label)`` times ``weight·exp(-epoch/decay)``, divided by the
    batch size as all sums are. Pairs are redrawn every ``replay_redraw`` epochs.
    """

    role = "student"

    def replay_from(
        self, sources: Sequence[ReplaySource], rank_with: GeneralRecommender | None = None
    ) -> ReplayTrainer:
        """Sets what is replayed; :meth:`at_block` comes first.

        Args:
            sources: the frozen models to draw from.
            rank_with: the model whose ranks count as current; default the one being trained.
        """
        block, config = self.block, self.config
        candidates = config.per_block(f"{self.role}_replay_candidates", block.index)
        temperature, seed = config["replay_temperature"], derive_seed(self.seed, "draws")
        self._replay = ProxyReplay(
            sources, block.recent_train_matrix, candidates, temperature, seed, self.device
        )
        self._rank_with = rank_with or self.model
        return self

    def before_epoch(self, epoch_idx: int) -> None:
        """Draws replay pairs anew every ``replay_redraw`` epochs."""
        if epoch_idx % self.config["replay_redraw"] == 0:
            self._rank_with.eval()
            self.pairs = self._replay.draw(self._rank_with, epoch_idx)
            clear_cache(self._rank_with)

    def after_epoch(self, epoch_idx: int, show_progress: bool) -> None:
        """The replay pass."""
        weight = annealed(
            self.config[f"{self.role}_replay_weight"], epoch_idx, self.config[f"{self.role}_replay_decay"]
        )
        if weight == 0 or not len(self.pairs[0]):
            return
        loader = ReplayDataLoader(
            self.config, self.block.train, self.pairs, derive_seed(self.seed, "pass", epoch_idx)
        )
        scale = weight / self.config["train_batch_size"]
        for batch in self.bar(loader, epoch_idx, ", replay") if show_progress else loader:
            batch = batch.to(self.device)
            scores = score_pairs(self.model, batch[self.model.USER_ID], batch[self.model.ITEM_ID])
            self.step(scale * replay_loss(scores, batch[REPLAY_LABEL]))
