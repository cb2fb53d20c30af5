"""RecBole's LightGCN on a CSR graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.general_recommender.lightgcn import LightGCN as RecBoleLightGCN
from torch import Tensor


class _SymmetricProduct(torch.autograd.Function):
    """``A @ x`` for a constant symmetric ``A``: the gradient of ``x`` is the same product."""

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, x: Tensor) -> Tensor:
        ctx.adjacency = adjacency
        return adjacency @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, ctx.adjacency @ grad


def normalized_adjacency(interactions: sp.spmatrix) -> Tensor:
    """The symmetrically normalised bipartite graph ``D^-1/2 A D^-1/2`` (LightGCN, SIGIR 2020, eq. 8).

    Args:
        interactions: users × items; repeated pairs count once.

    Returns:
        Sparse CSR tensor of shape ``(users + items, users + items)``, float32, with int32 indices,
        which is what the fast CPU product wants.
    """
    pairs = sp.csr_matrix(interactions, dtype=np.float32)
    pairs.sum_duplicates()
    pairs.data[:] = 1.0
    graph = sp.bmat([[None, pairs], [pairs.T, None]], format="csr", dtype=np.float32)
    degree = np.maximum(np.diff(graph.indptr), 1).astype(np.float32)
    scale = sp.diags(degree**-0.5, dtype=np.float32)
    graph = (scale @ graph @ scale).tocsr()
    graph.sort_indices()
    return torch.sparse_csr_tensor(
        torch.from_numpy(graph.indptr.astype(np.int32)),
        torch.from_numpy(graph.indices.astype(np.int32)),
        torch.from_numpy(graph.data.astype(np.float32)),
        size=graph.shape,
        check_invariants=False,
    )


class LightGCN(RecBoleLightGCN):
    """LightGCN (He et al., SIGIR 2020) with RecBole's parameters and losses.

    RecBole's class builds its graph through ``scipy.sparse.dok_matrix._update``, which newer scipy
    lacks, and multiplies in COO format, which is slow on CPU. This one changes only those two things,
    and forgets its cached embeddings whenever it switches between training and evaluation.
    """

    def get_norm_adj_mat(self) -> Tensor:
        """The normalised graph of ``self.interaction_matrix`` as a CSR tensor."""
        return normalized_adjacency(self.interaction_matrix)

    def layers(self) -> list[Tensor]:
        """Embeddings before and after each propagation.

        Returns:
            ``n_layers + 1`` tensors of shape ``(users + items, dim)``; the first is the parameters.
        """
        layers = [self.get_ego_embeddings()]
        for _ in range(self.n_layers):
            layers.append(_SymmetricProduct.apply(self.norm_adj_matrix, layers[-1]))
        return layers

    def forward(self) -> tuple[Tensor, Tensor]:
        """Final embeddings of users and items: the mean over the layers (eq. 4 with equal weights)."""
        layers = self.layers()
        mean = sum(layers[1:], start=layers[0]) / len(layers)
        users, items = torch.split(mean, [self.n_users, self.n_items])
        return users, items

    def train(self, mode: bool = True) -> LightGCN:
        """Switches mode and drops the embeddings cached for full-sort prediction."""
        self.restore_user_e = self.restore_item_e = None
        return super().train(mode)
