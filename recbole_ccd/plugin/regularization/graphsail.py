"""GraphSAIL's terms: each node keeps its neighbourhood, its place among all nodes, and its embedding."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.loss.graphsail import (
    global_structure_loss,
    local_structure_loss,
    self_embedding_loss,
    share_of_past,
)
from recbole_ccd.model.scoring import has_factors, required_factors
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.regularization.base import Regularizer, cluster_centers
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import derive_seed

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

Vectors = tuple[Tensor, Tensor]


@register("graphsail")
class GraphSAILRegularizer(Regularizer):
    r"""GraphSAIL, for models that score by an inner product.

    .. math:: L = \lambda_l \sum_v \bigl(h_v \cdot \bar h_{N(v)} - e_v \cdot \bar e_{N(v)}\bigr)^2
              + \lambda_g \sum_v \sum_A \mathrm{KL}\bigl(\pi_A(h_v) \,\Vert\, \pi_A(e_v)\bigr)
              + \lambda_s \sum_v w_v \lVert e_v - h_v \rVert^2

    with frozen embeddings h and live ones e, the mean :math:`\bar h_{N(v)}` of a node's neighbours before the
    block, its softmax :math:`\pi_A` over the cluster centres of users or of items, and the share
    :math:`w_v` of its interactions that are old. Embeddings are the vectors of the inner product: propagated
    ones of graph models, the parameters of BPR.

    Every term is the mean over the users plus the mean over the items of a batch that were known before
    the block; neighbours are those of the previous block's interactions. Degrees count the train
    interactions of all blocks so far, so that a node which only the last block lacked keeps its past.

    Source: Xu, Zhang, Guo, Guo, Tang, Coates, "GraphSAIL: Graph Structure Aware Incremental Learning for
    Recommender Systems", CIKM 2020.

    .. code-block:: yaml

        strategy: fine_tune
        regularizer: graphsail
        graphsail_local_weight: 1.0
        graphsail_global_weight: 1.0
        graphsail_self_weight: 1.0
        graphsail_temperature: 1.0
        graphsail_clusters: 10
    """

    propagates = True

    def bind(self, context: PluginContext) -> None:
        """Copies the frozen vectors."""
        super().bind(context)
        with torch.no_grad():
            users, items = required_factors(self.frozen)
            self._old: Vectors = (users.clone(), items.clone())
        terms = {"local": self._local, "global": self._global, "self": self._self}
        weighted = ((self.config[f"graphsail_{name}_weight"], term) for name, term in terms.items())
        self._terms = [(weight, term) for weight, term in weighted if weight]

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether any of the three terms has a weight."""
        return any(config[f"graphsail_{name}_weight"] for name in ("local", "global", "self"))

    @staticmethod
    def fits(model: type[GeneralRecommender]) -> bool:
        """Whether models of a class score by an inner product."""
        return has_factors(model) and not issubclass(model, AutoEncoderMixin)

    @cached_property
    def _neighbours(self) -> tuple[csr_matrix, csr_matrix]:
        return self.earlier, self.earlier.T.tocsr()

    @cached_property
    def _centers(self) -> list[Tensor]:
        n_clusters = self.config["graphsail_clusters"]
        return [
            cluster_centers(vectors[1:], n_clusters, derive_seed(self.seed, "clusters", side))
            for side, vectors in zip(("users", "items"), self._old, strict=True)
        ]

    @cached_property
    def _weights(self) -> list[Tensor]:
        past, now = self.block.before.train_so_far, self.block.train_matrix
        return [
            share_of_past(*(torch.from_numpy(m.getnnz(axis)[: len(old)]) for m in (past, now))).to(old.device)
            for axis, old in zip((1, 0), self._old, strict=True)
        ]

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The terms that have a weight."""
        nodes = self.earlier_users(interaction), self.earlier_items(interaction)
        live = required_factors(self.live)
        return tuple(
            weight * (term(0, nodes[0], live) + term(1, nodes[1], live)) for weight, term in self._terms
        )

    def _local(self, side: int, ids: Tensor, live: Vectors) -> Tensor:
        pairs = self.positives(self._neighbours[side], ids)
        others = self._old[1 - side], live[1 - side]
        return local_structure_loss(self._old[side][ids], live[side][ids], *others, *pairs)

    def _global(self, side: int, ids: Tensor, live: Vectors) -> Tensor:
        temperature = self.config["graphsail_temperature"]
        old, new = self._old[side][ids], live[side][ids]
        terms = (global_structure_loss(old, new, centers, temperature) for centers in self._centers)
        return sum(terms, start=torch.zeros((), device=old.device))

    def _self(self, side: int, ids: Tensor, live: Vectors) -> Tensor:
        return self_embedding_loss(self._old[side][ids], live[side][ids], self._weights[side][ids])
