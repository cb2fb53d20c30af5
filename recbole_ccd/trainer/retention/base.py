"""What a model must not forget: the frozen past that the terms of every kind look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from recbole_ccd.data.block import Block
from recbole_ccd.data.pairs import csr_rows
from recbole_ccd.model.scoring import clear_cache

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class Retention(ABC):
    """Loss terms that hold a live model near what it was before the block."""

    def __init__(
        self, config: CCDConfig, block: Block, frozen: GeneralRecommender, live: GeneralRecommender, seed: int
    ) -> None:
        """Freezes the past.

        Args:
            config: the model's configuration.
            block: the block being learned; not the base block.
            frozen: the model before the block, of the earlier prefix.
            live: the grown model in training.
            seed: seed of what is initialised here.
        """
        self.config, self.block, self.frozen, self.live, self.seed = config, block, frozen, live, seed
        clear_cache(frozen)
        frozen.eval()
        self.earlier = block.previous.train_matrix

    @staticmethod
    @abstractmethod
    def is_wanted(config: CCDConfig) -> bool:
        """Whether the settings give any of the terms a weight."""

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the terms themselves, learned with the model."""
        return []

    def state(self) -> dict[str, Any]:
        """What changes in training, :meth:`parameters` included: plain values and tensors."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Goes on where terms were that gave :meth:`state`."""

    @abstractmethod
    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted terms of one batch."""

    def earlier_users(self, interaction: Interaction) -> Tensor:
        """Distinct users of a batch who were known before the block."""
        users = torch.unique(interaction[self.live.USER_ID])
        return users[users < self.frozen.n_users]

    def earlier_items(self, interaction: Interaction) -> Tensor:
        """Distinct items of a batch, or of its users in the block, that were known before it."""
        if self.live.ITEM_ID in interaction:
            items = interaction[self.live.ITEM_ID]
        else:
            items = self.positives(self.block.train_matrix, interaction[self.live.USER_ID])[1]
        items = torch.unique(items)
        return items[items < self.frozen.n_items]

    def _nothing(self) -> tuple[Tensor]:
        # RecBole adds up the batches' terms one by one, so every batch must have as many
        return (torch.zeros((), device=self.live.device),)

    def positives(self, matrix: csr_matrix, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nonzeros of some rows as (position in ``ids``, column) tensors."""
        return tuple(torch.from_numpy(part).to(ids.device) for part in csr_rows(matrix, ids.cpu().numpy()))


def drawn(most: int | None, generator: torch.Generator, *columns: Tensor) -> tuple[Tensor, ...]:
    """All entries of some columns, or so many at random: of a mean a sample is an unbiased estimate.

    Args:
        most: entries that are kept of more; None keeps all.
        generator: moves on where there are more.
        *columns: each of shape ``(n,)``; what belongs together stays together.
    """
    n = len(columns[0])
    if most is None or n <= most:
        return columns
    places = torch.randperm(n, generator=generator)[:most].to(columns[0].device)
    return tuple(column[places] for column in columns)


def cluster_centers(vectors: Tensor, n_clusters: int, seed: int) -> Tensor:
    """Centres of vectors by k-means, the same bits for any number of threads.

    Args:
        vectors: shape ``(n, dim)``, without gradients.
        n_clusters: how many are wanted; there are never more than vectors.
        seed: seed of the first centres.

    Returns:
        Shape ``(min(n_clusters, n), dim)``, float32.
    """
    kmeans = KMeans(min(n_clusters, len(vectors)), n_init=1, random_state=seed)
    # with several threads the centres are summed in any order, and two runs differ in the last bits
    with threadpool_limits(limits=1):
        centers = kmeans.fit(vectors.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centers).float().to(vectors.device)
