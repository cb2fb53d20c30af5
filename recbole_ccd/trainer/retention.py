"""What a teacher member must not forget: terms for each kind of member (CCD)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from recbole_ccd.data.block import Block
from recbole_ccd.data.pairs import csr_rows
from recbole_ccd.data.similarity import similarity_graph
from recbole_ccd.loss.lwc_kd import contrastive_terms
from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.loss.piw import ImitationWeight, cluster_loss, soft_assignment
from recbole_ccd.model.history import reading
from recbole_ccd.model.lightgcn import LightGCN
from recbole_ccd.model.scoring import (
    clear_cache,
    factors,
    has_factors,
    is_autoencoder,
    score_pairs,
    score_rows,
)
from recbole_ccd.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class Retention(ABC):
    """Loss terms that hold a live member near what it was before the block."""

    def __init__(
        self, config: CCDConfig, block: Block, frozen: GeneralRecommender, live: GeneralRecommender, seed: int
    ) -> None:
        """Freezes the past.

        Args:
            config: the member's configuration.
            block: the block being learned; not the base block.
            frozen: the member before the block, of the earlier prefix.
            live: the grown member in training.
            seed: seed of what is initialised here.
        """
        self.config, self.block, self.frozen, self.live, self.seed = config, block, frozen, live, seed
        clear_cache(frozen)
        frozen.eval()
        self.earlier = block.previous.train_matrix

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the terms themselves, learned with the member."""
        return []

    @abstractmethod
    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted terms of one batch."""

    def earlier_users(self, interaction: Interaction) -> Tensor:
        """Distinct users of a batch who were known before the block."""
        users = torch.unique(interaction[self.live.USER_ID])
        return users[users < self.frozen.n_users]

    def _nothing(self) -> tuple[Tensor]:
        # RecBole adds up the batches' terms one by one, so every batch must have as many
        return (torch.zeros((), device=self.live.device),)

    def positives(self, matrix: csr_matrix, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nonzeros of some rows as (position in ``ids``, column) tensors."""
        return tuple(torch.from_numpy(part).to(ids.device) for part in csr_rows(matrix, ids.cpu().numpy()))


class ContrastiveRetention(Retention):
    """LWC-KD (Wang et al., CIKM 2021) with PIW (Wang et al., AAAI 2023), for members with embeddings.

    Four contrastive terms per layer: users with items and items with users along the previous block's
    interactions, users with users and items with items along its similarity graphs. LightGCN uses
    layers ``0 … L-1``; other members their final vectors. PIW weighs the two user terms.
    """

    def __init__(
        self, config: CCDConfig, block: Block, frozen: GeneralRecommender, live: GeneralRecommender, seed: int
    ) -> None:
        """See :class:`Retention`."""
        super().__init__(config, block, frozen, live, seed)
        with torch.no_grad():
            self._old_layers = [layer.clone() for layer in self._layers(frozen)]
        self._generator = torch_generator(self.seed, "anchors")
        self._imitation = self._start_imitation() if config["piw"] else None

    def _start_imitation(self) -> _Imitation:
        items = self._old_layers[0][self.frozen.n_users + 1 :]
        clusters = min(self.config["piw_clusters"], len(items))
        kmeans = KMeans(clusters, n_init=1, random_state=derive_seed(self.seed, "clusters"))
        # with several threads the centres are summed in any order, and two runs differ in the last bits
        with threadpool_limits(limits=1):
            centers = kmeans.fit(items.cpu().numpy()).cluster_centers_
        generator = torch_generator(self.seed, "imitation")
        return _Imitation(centers, self.live.n_items - 2, generator).to(items.device)

    def parameters(self) -> list[nn.Parameter]:
        """PIW's cluster centres and perceptron."""
        return list(self._imitation.parameters()) if self._imitation else []

    @cached_property
    def _neighbours(self) -> dict[str, csr_matrix]:
        degree = self.config["similarity_degree"]
        return {
            "ui": self.earlier,
            "iu": self.earlier.T.tocsr(),
            "uu": similarity_graph(self.earlier, degree),
            "ii": similarity_graph(self.earlier.T.tocsr(), degree),
        }

    @staticmethod
    def _layers(model: GeneralRecommender) -> list[Tensor]:
        """Embeddings of all users, then of all items, in each layer that is held on to."""
        if isinstance(model, LightGCN):
            return model.layers(max(model.n_layers, 1) - 1)
        vectors = factors(model, "ego") if isinstance(model, RecBoleLightGCN) else factors(model)
        return [torch.cat(vectors)]

    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """LWC-KD averaged over layers, and PIW's cluster loss."""
        users = self._anchors(self.earlier_users(interaction))
        items = self._anchors(self._earlier_items(interaction))
        live = self._layers(self.live)
        weights, clustering = None, ()
        if self._imitation is not None:
            weights = self._imitation(self._old_layers[0][users], live[0][users])
            term = self._imitation.clustering(live[0][self.live.n_users + items])
            clustering = (self.config["piw_weight"] / len(interaction) * term,)
        pairs = self._pairs(users, items)
        distances = [
            self._layer_loss(old, new, users, items, pairs, weights)
            for old, new in zip(self._old_layers, live, strict=True)
        ]
        return (self.config["lwc_kd_weight"] * sum(distances) / len(live), *clustering)

    def _anchors(self, ids: Tensor) -> Tensor:
        """All of a batch's ids, or ``lwc_kd_anchors`` of them: of a mean a sample is an unbiased estimate."""
        n_anchors = self.config["lwc_kd_anchors"]
        if n_anchors is None or len(ids) <= n_anchors:
            return ids
        return ids[torch.randperm(len(ids), generator=self._generator)[:n_anchors].to(ids.device)]

    def _earlier_items(self, interaction: Interaction) -> Tensor:
        if self.live.ITEM_ID in interaction:
            items = interaction[self.live.ITEM_ID]
        else:
            items = self.positives(self.block.train_matrix, interaction[self.live.USER_ID])[1]
        items = torch.unique(items)
        return items[items < self.frozen.n_items]

    def _pairs(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Anchor, users before items, and live row of each positive pair."""
        rows, columns = [], []
        for anchor, ids in enumerate((users, items)):
            for target, first in enumerate((0, self.live.n_users)):
                row, column = self.positives(self._neighbours["ui"[anchor] + "ui"[target]], ids)
                rows.append(row + anchor * len(users))
                columns.append(column + first)
        return torch.cat(rows), torch.cat(columns)

    def _layer_loss(
        self,
        old: Tensor,
        new: Tensor,
        users: Tensor,
        items: Tensor,
        pairs: tuple[Tensor, Tensor],
        weights: Tensor | None,
    ) -> Tensor:
        anchors = old[torch.cat([users, self.frozen.n_users + items])]
        n_users = self.live.n_users
        kinds = (slice(1, self.frozen.n_users), slice(n_users + 1, n_users + self.frozen.n_items))
        losses, active = contrastive_terms(anchors, new, kinds, *pairs, self.config["lwc_kd_temperature"])
        by_user, by_item = losses.split([len(users), len(items)])
        if weights is not None:
            by_user = by_user * weights[:, None]
        counts = [part.sum(dim=0).clamp(min=1) for part in active.split([len(users), len(items)])]
        return (by_user.sum(dim=0) / counts[0] + by_item.sum(dim=0) / counts[1]).sum()


class _Imitation(nn.Module):
    """PIW's learned parts: item cluster centres and the perceptron that weighs users."""

    def __init__(self, centers: np.ndarray, degrees_of_freedom: int, generator: torch.Generator) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.from_numpy(centers).float())
        self.degrees_of_freedom = max(degrees_of_freedom, 1)
        self.weight = ImitationWeight(len(centers), generator=generator)

    def forward(self, old_users: Tensor, new_users: Tensor) -> Tensor:
        assignments = (
            soft_assignment(x, self.centers, self.degrees_of_freedom) for x in (old_users, new_users)
        )
        return self.weight(*assignments)

    def clustering(self, items: Tensor) -> Tensor:
        return cluster_loss(soft_assignment(items, self.centers, self.degrees_of_freedom))


class OutputRetention(Retention):
    """For auto-encoders: KL between the frozen and the live output distribution on earlier interactions."""

    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence of the batch's earlier users."""
        users = self.earlier_users(interaction)
        if not len(users):
            return self._nothing()
        with torch.no_grad(), reading(self.frozen, self.earlier):
            frozen = score_rows(self.frozen, users)
        with reading(self.live, self.earlier):
            live = score_rows(self.live, users)[:, : self.frozen.n_items]
        return (self.config["output_kl_weight"] * output_kl(frozen[:, 1:], live[:, 1:]),)


class PairRetention(Retention):
    """For members that score pairs only: Bernoulli KL on the users' earlier interactions."""

    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence on the earlier interactions of the batch's users."""
        users = self.earlier_users(interaction)
        rows, items = self.positives(self.earlier, users)
        if not len(items):
            return self._nothing()
        with torch.no_grad():
            frozen = score_pairs(self.frozen, users[rows], items)
        live = score_pairs(self.live, users[rows], items)
        return (self.config["output_kl_weight"] * pairwise_kl(frozen, live),)


def make_retention(
    config: CCDConfig, block: Block, frozen: GeneralRecommender, live: GeneralRecommender, seed: int
) -> Retention:
    """The continual-learning terms that fit a member; arguments as of :class:`Retention`."""
    if is_autoencoder(live):
        kind: type[Retention] = OutputRetention
    else:
        kind = ContrastiveRetention if has_factors(type(live)) else PairRetention
    return kind(config, block, frozen, live, seed)
