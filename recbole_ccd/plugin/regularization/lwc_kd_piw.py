"""LWC-KD and PIW: near stays near, more so for users whose interests have not moved."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_ccd.data.similarity import similarity_graph
from recbole_ccd.loss.lwc_kd import contrastive_terms
from recbole_ccd.loss.piw import ImitationWeight, cluster_loss, interest_assignment, soft_assignment
from recbole_ccd.model.lightgcn import LightGCN
from recbole_ccd.model.scoring import has_factors, required_factors
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.regularization.base import Regularizer, cluster_centers, drawn
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@register("lwc_kd")
class LWCKDRegularizer(Regularizer):
    r"""LWC-KD with PIW, for models that score by an inner product.

    A contrastive term of each node and layer with its neighbours N of a kind among all nodes C of it:

    .. math:: \ell_v = -\frac{1}{|N|} \sum_{p \in N} \log \frac{e^{h_v \cdot e_p / \tau}}
              {\sum_{j \in C} e^{h_v \cdot e_j / \tau}}

    with frozen embeddings h and live ones e. There are four per layer: users with items and items with users
    along the previous block's interactions, users with users and items with items along its similarity
    graphs. LightGCN uses layers ``0 … L-1``; other models their final vectors. PIW (``piw``) weighs the two
    user terms by what a perceptron makes of the user's change of interest: of the squared difference between
    the user's distributions over item clusters before and now, :math:`\mathrm{softmax}_c(e_u^\top \mu_c W_c)`
    of layer 0. The clusters' centres :math:`\mu_c` are trained by a loss of their own on the block's items,
    which moves the centres and no item.

    Source: LWC-KD, Wang, Zhang, Coates, "Graph Structure Aware Contrastive Knowledge Distillation for
    Incremental Learning in Recommender Systems", CIKM 2021; PIW, Wang, Zhang, Valkanas, Tang, Ma, Hao,
    Coates, "Structure Aware Incremental Learning with Personalized Imitation Weights for Recommender
    Systems", AAAI 2023.

    .. code-block:: yaml

        strategy: fine_tune
        regularizer: lwc_kd
        lwc_kd_weight: 0.1
        lwc_kd_temperature: 5.0    # tau
        lwc_kd_anchors: 64
        piw: True
        piw_clusters: 10
        piw_weight: 1.0
    """

    propagates = True

    def bind(self, context: PluginContext) -> None:
        """Copies the frozen layers, and begins PIW's parts."""
        super().bind(context)
        with torch.no_grad():
            self._old_layers = self._layers(self.frozen)
        self._generator = torch_generator(self.seed, "anchors")
        self._imitation = self._start_imitation() if self.config["piw"] else None

    def _start_imitation(self) -> _Imitation:
        items = self._old_layers[0][self.frozen.n_users + 1 :]
        centers = cluster_centers(items, self.config["piw_clusters"], derive_seed(self.seed, "clusters"))
        generator = torch_generator(self.seed, "imitation")
        return _Imitation(centers, self.live.n_items - 2, generator).to(items.device)

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether LWC-KD has a weight; PIW's clusters change nothing but what weighs its terms."""
        return bool(config["lwc_kd_weight"])

    @staticmethod
    def fits(model: type[GeneralRecommender]) -> bool:
        """Whether models of a class score by an inner product."""
        return has_factors(model) and not issubclass(model, AutoEncoderMixin)

    def parameters(self) -> list[nn.Parameter]:
        """PIW's cluster centres, their matrices and the perceptron."""
        return list(self._imitation.parameters()) if self._imitation else []

    def state_dict(self) -> dict[str, Any]:
        """PIW's learned parts, and where the draw of anchors is."""
        learned = None if self._imitation is None else dict(self._imitation.state_dict())
        return {"generator": self._generator.get_state(), "imitation": learned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._generator.set_state(state["generator"])
        if self._imitation is not None:
            self._imitation.load_state_dict(state["imitation"])

    @cached_property
    def _neighbours(self) -> dict[str, csr_matrix]:
        degree = self.config["similarity_degree"]
        return {
            "ui": self.earlier,
            "iu": self.earlier.T.tocsr(),
            "uu": similarity_graph(self.earlier, degree),
            "ii": similarity_graph(self.earlier.T.tocsr(), degree),
        }

    @cached_property
    def _block_items(self) -> Tensor:
        """Live rows of the items that the block's interactions are with."""
        items = np.flatnonzero(self.block.train_matrix.getnnz(axis=0))
        return torch.from_numpy(items).to(self.live.device) + self.live.n_users

    @staticmethod
    def _layers(model: GeneralRecommender) -> list[Tensor]:
        """Copies of all users' embeddings, then of all items', in each layer that is held on to."""
        if isinstance(model, LightGCN):
            return model.layers(max(model.n_layers, 1) - 1)
        layer = "ego" if isinstance(model, RecBoleLightGCN) else "final"
        return [torch.cat(required_factors(model, layer))]

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """LWC-KD averaged over layers, and PIW's cluster loss."""
        users = self._anchors(self.earlier_users(interaction))
        items = self._anchors(self.earlier_items(interaction))
        live = self._layers(self.live)
        weights: Tensor | None = None
        clustering: tuple[Tensor, ...] = ()
        if self._imitation is not None:
            weights = self._imitation(self._old_layers[0][users], live[0].index_select(0, users))
            term = self._imitation.clustering(live[0].detach().index_select(0, self._block_items))
            clustering = (self.config["piw_weight"] / len(interaction) * term,)
        pairs = self._pairs(users, items)
        distances = [
            self._layer_loss(old, new, users, items, pairs, weights)
            for old, new in zip(self._old_layers, live, strict=True)
        ]
        return (self.config["lwc_kd_weight"] * sum(distances) / len(live), *clustering)

    def _anchors(self, ids: Tensor) -> Tensor:
        """All of a batch's ids, or ``lwc_kd_anchors`` of them."""
        return drawn(self.config["lwc_kd_anchors"], self._generator, ids)[0]

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
    """PIW's learned parts: item cluster centres, a matrix of each, and the perceptron that weighs users."""

    def __init__(self, centers: Tensor, degrees_of_freedom: int, generator: torch.Generator) -> None:
        super().__init__()
        n_clusters, width = centers.shape
        self.centers = nn.Parameter(centers)
        self.projections = nn.Parameter(torch.empty(n_clusters, width, width))
        self.degrees_of_freedom = max(degrees_of_freedom, 1)
        self.weight = ImitationWeight(n_clusters, width, generator)
        for matrix in self.projections.data:
            nn.init.xavier_uniform_(matrix, generator=generator)

    def forward(self, old_users: Tensor, new_users: Tensor) -> Tensor:
        distributions = (
            interest_assignment(users, self.centers, self.projections) for users in (old_users, new_users)
        )
        return self.weight(*distributions)

    def clustering(self, items: Tensor) -> Tensor:
        return cluster_loss(soft_assignment(items, self.centers, self.degrees_of_freedom))
