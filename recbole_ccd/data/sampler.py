"""Negative sampling among the items that are known, without a loop over interactions."""

from __future__ import annotations

import numpy as np
import torch
from recbole.sampler.sampler import AbstractSampler
from scipy.sparse import csr_matrix

from recbole_ccd.errors import DataError


class KnownItemSampler(AbstractSampler):
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
            positives: users × items of the known prefix; nonzeros are never drawn.
            distribution: ``uniform`` or ``popularity``.
            alpha: power of the popularity.
            exclude: further pairs not to draw, of any earlier prefix. A user whom they would leave
                without any candidate keeps only the positives out.
            seed: seed of this sampler's own generator.

        Raises:
            DataError: a user has interacted with every known item.
        """
        self.n_users, self.n_items = positives.shape
        self._rng = np.random.default_rng(seed)
        self._item_counts = np.asarray(positives.sum(axis=0)).ravel()
        self._used = self._used_keys(positives, exclude)
        self._cumulative: np.ndarray | None = None
        super().__init__(distribution=distribution, alpha=alpha)

    @staticmethod
    def saturated_users(positives: csr_matrix) -> np.ndarray:
        """Ids of the users who leave no negative to draw.

        Args:
            positives: users × items of the known prefix, without repeated entries.
        """
        return np.flatnonzero(positives.getnnz(axis=1) >= positives.shape[1] - 1)

    def _used_keys(self, positives: csr_matrix, exclude: csr_matrix | None) -> np.ndarray:
        keys = self._keys(positives)
        full = self.saturated_users(positives)
        if len(full):
            raise DataError(
                f"user id {full[0]} has interacted with all {self.n_items - 1} items known in its block, so "
                "no negative can be drawn; filter with user_inter_num_interval"
            )
        if exclude is None:
            return keys
        both = np.union1d(keys, self._keys(exclude))
        starved = np.bincount(both // self.n_items, minlength=self.n_users) >= self.n_items - 1
        return np.union1d(both[~starved[both // self.n_items]], keys[starved[keys // self.n_items]])

    def _keys(self, matrix: csr_matrix) -> np.ndarray:
        """Pairs as sorted unique integers ``user * n_items + item``."""
        rows, cols = matrix.nonzero()
        return np.unique(rows.astype(np.int64) * self.n_items + cols)

    def get_used_ids(self) -> np.ndarray:
        """The pairs not to draw, as sorted keys ``user * n_items + item`` (RecBole keeps sets here)."""
        return self._used

    def _build_alias_table(self) -> None:
        weights = np.where(self._item_counts > 0, np.maximum(self._item_counts, 1) ** self.alpha, 0.0)
        self._cumulative = np.cumsum(weights / weights.sum())

    def _uni_sampling(self, sample_num: int) -> np.ndarray:
        return self._rng.integers(1, self.n_items, sample_num)

    def _pop_sampling(self, sample_num: int) -> np.ndarray:
        drawn = np.searchsorted(self._cumulative, self._rng.random(sample_num), side="right")
        return np.minimum(drawn, self.n_items - 1)

    def is_used(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether pairs must not be drawn, shape ``(n,)`` bool."""
        keys = users.astype(np.int64) * self.n_items + items
        found = np.searchsorted(self._used, keys)
        found[found == len(self._used)] = 0
        return self._used[found] == keys if len(self._used) else np.zeros(len(keys), dtype=bool)

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
