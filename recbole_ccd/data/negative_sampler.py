"""Negative sampling among the items that are known, without a loop over interactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.sampler.sampler import AbstractSampler
from scipy.sparse import csr_matrix

from recbole_ccd.data.sparse import contains, csr_rows
from recbole_ccd.utils.errors import DataError


class NegativeSampler(AbstractSampler):
    """Draws negatives among known items that are neither positives nor excluded.

    RecBole's ``Sampler`` draws from the whole vocabulary, future items included. This one draws from
    ids ``1 … n_items - 1`` of the moment, with RecBole's distributions (``uniform``, or ``popularity``
    to the power ``alpha``), and checks whole batches at once.
    """

    def __init__(
        self,
        positives: csr_matrix,
        distribution: str = "uniform",
        alpha: float = 1.0,
        exclude: csr_matrix | None = None,
        seed: int = 0,
    ) -> None:
        """Prepares the pairs that must not be drawn.

        Args:
            positives: users × items of the known prefix, indices sorted; nonzeros are never drawn.
            distribution: ``uniform`` or ``popularity``.
            alpha: power of the popularity.
            exclude: further pairs not to draw, of any earlier prefix, sorted too. A user whom they would
                leave without any candidate keeps only the positives out.
            seed: seed of this sampler's own generator.

        Raises:
            DataError: If a user has interacted with every known item.
        """
        self.n_users, self.n_items = positives.shape
        self._rng = np.random.default_rng(seed)
        self._item_counts = np.asarray(positives.sum(axis=0)).ravel()
        self._positives, self._exclude = positives, exclude
        self._starved = self._check(positives, exclude)
        self._cumulative: np.ndarray | None = None
        super().__init__(distribution=distribution, alpha=alpha)

    @staticmethod
    def saturated_users(positives: csr_matrix) -> np.ndarray:
        """Ids of the users who leave no negative to draw.

        Args:
            positives: users × items of the known prefix, without repeated entries.
        """
        return np.flatnonzero(positives.getnnz(axis=1) >= positives.shape[1] - 1)

    def _check(self, positives: csr_matrix, exclude: csr_matrix | None) -> np.ndarray:
        """Ids of the users whom the exclusion set would leave no negative."""
        full = self.saturated_users(positives)
        if len(full):
            raise DataError(
                f"user id {full[0]} has interacted with all {self.n_items - 1} items known in its block, so "
                "no negative can be drawn; filter with user_inter_num_interval, "
                "or leave the user out of the block's own file"
            )
        if exclude is None:
            return full
        barred = positives.getnnz(axis=1)
        barred[: exclude.shape[0]] += exclude.getnnz(axis=1)
        doubtful = np.flatnonzero(barred >= self.n_items - 1)
        rows, columns = (
            np.concatenate(parts)
            for parts in zip(csr_rows(positives, doubtful), csr_rows(exclude, doubtful), strict=True)
        )
        distinct = np.unique(rows * self.n_items + columns) // self.n_items
        return doubtful[np.bincount(distinct, minlength=len(doubtful)) >= self.n_items - 1]

    def generator_state(self) -> Mapping[str, Any]:
        """The state of the sampler's own generator, in plain values."""
        return self._rng.bit_generator.state

    def set_generator_state(self, state: Mapping[str, Any]) -> None:
        """Goes on drawing where a sampler was that gave :meth:`generator_state`."""
        self._rng.bit_generator.state = state

    def get_used_ids(self) -> csr_matrix:
        """The positives (RecBole keeps a set per user here)."""
        return self._positives

    def _build_alias_table(self) -> None:
        weights = np.where(self._item_counts > 0, np.maximum(self._item_counts, 1) ** self.alpha, 0.0)
        self._cumulative = np.cumsum(weights / weights.sum())

    def _uni_sampling(self, sample_num: int) -> np.ndarray:
        return self._rng.integers(1, self.n_items, sample_num)

    def _pop_sampling(self, sample_num: int) -> np.ndarray:
        assert self._cumulative is not None, "RecBole makes the table of a sampler by popularity"
        drawn = np.searchsorted(self._cumulative, self._rng.random(sample_num), side="right")
        return np.minimum(drawn, self.n_items - 1)

    def is_used(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether pairs must not be drawn, shape ``(n,)`` bool."""
        used = contains(self._positives, users, items)
        if self._exclude is None:
            return used
        excluded = contains(self._exclude, users, items)
        return used | (excluded & ~np.isin(users, self._starved) if len(self._starved) else excluded)

    def sample_by_key_ids(self, key_ids: np.ndarray, num: int) -> torch.Tensor:
        """Draws ``num`` negatives per user in RecBole's order: all first ones, then all second ones.

        Args:
            key_ids: user ids, shape ``(n,)``.
            num: negatives per user.

        Returns:
            Item ids, shape ``(n * num,)``, int64.
        """
        users = np.tile(np.asarray(key_ids), num)
        items = self.sampling(len(users))
        pending = np.flatnonzero(self.is_used(users, items))
        rounds = 0
        while len(pending):
            # popularity may give all its mass to used items; after a while any known item will do
            uniform = self.distribution == "uniform" or rounds > 100
            items[pending] = self._uni_sampling(len(pending)) if uniform else self.sampling(len(pending))
            pending = pending[self.is_used(users[pending], items[pending])]
            rounds += 1
        return torch.from_numpy(items.astype(np.int64))

    def sample_by_user_ids(self, user_ids: np.ndarray, item_ids: np.ndarray, num: int) -> torch.Tensor:
        """RecBole's entry point; the positives' ``item_ids`` are not needed."""
        return self.sample_by_key_ids(user_ids, num)
