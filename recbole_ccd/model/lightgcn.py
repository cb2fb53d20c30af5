"""RecBole's LightGCN on a CSR graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender.lightgcn import LightGCN as RecBoleLightGCN
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, pad

from recbole_ccd.registry import register

# the error of own_of falls at least threefold per step with two layers
_SOLVER_STEPS = 20
_TINY = torch.finfo(torch.float32).tiny
# embeddings from this size on are worth leaving out nodes of a product
_WIDE = 32


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


def propagate(adjacency: Tensor, x: Tensor) -> Tensor:
    """``A @ x`` for a sparse ``A``, without gradients.

    Args:
        adjacency: CSR tensor of shape ``(n, n)``.
        x: contiguous, shape ``(n, dim)``.
    """
    if x.is_cuda:
        return adjacency @ x
    # a sparse product is a weighted sum of looked-up rows, and torch's kernel for that is several times as
    # fast on a CPU as its CSR product
    return embedding_bag(
        adjacency.col_indices(),
        x,
        adjacency.crow_indices(),
        mode="sum",
        per_sample_weights=adjacency.values(),
        include_last_offset=True,
    )


def propagate_to(adjacency: Tensor, x: Tensor, nodes: Tensor) -> Tensor:
    """Some rows of ``A @ x``, without gradients: the bits of :func:`propagate` at less cost.

    Args:
        adjacency: CSR tensor of shape ``(n, n)``.
        x: contiguous, shape ``(n, dim)``.
        nodes: rows wanted, shape ``(m,)``, in any order and more than once too.

    Returns:
        Shape ``(m, dim)``.
    """
    if x.is_cuda or x.shape[1] < _WIDE:
        return propagate(adjacency, x).index_select(0, nodes)
    distinct, place = _distinct(nodes, len(x))
    first = adjacency.crow_indices()[distinct]
    lengths = adjacency.crow_indices()[distinct + 1] - first
    offsets = pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    edges = (first - offsets[:-1]).repeat_interleave(lengths)
    edges += torch.arange(len(edges), dtype=torch.int32, device=x.device)
    rows = embedding_bag(
        adjacency.col_indices()[edges],
        x,
        offsets,
        mode="sum",
        per_sample_weights=adjacency.values()[edges],
        include_last_offset=True,
    )
    return rows.index_select(0, place)


class _SymmetricProduct(torch.autograd.Function):
    """``A @ x`` for a constant symmetric ``A``, or what is known of it; the gradient is the same product."""

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, x: Tensor, known: Tensor | None) -> Tensor:
        ctx.adjacency = adjacency
        return propagate(adjacency, x) if known is None else known.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        return None, propagate(ctx.adjacency, grad.contiguous()), None


class _MeanOfAll(torch.autograd.Function):
    """Final embeddings of all nodes: the mean of the layers is a symmetric product as well."""

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, ego: Tensor, n_layers: int) -> Tensor:
        ctx.adjacency, ctx.n_layers = adjacency, n_layers
        return _mean_of_layers(adjacency, ego, n_layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        # the map is its own transpose
        return None, _sum_of_layers(ctx.adjacency, grad.contiguous() / (ctx.n_layers + 1), ctx.n_layers), None


class _MeanOfLayers(torch.autograd.Function):
    """Final and own embeddings of some nodes, and one dense gradient for them all.

    The gradient of the nodes' rows is put together once and takes the same path back.
    """

    @staticmethod
    def forward(
        ctx: Any,
        adjacency: Tensor,
        users: Tensor,
        items: Tensor,
        n_layers: int,
        nodes: Tensor,
        known: _Propagated | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.adjacency, ctx.n_layers, ctx.n_users = adjacency, n_layers, len(users)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(nodes)
        if known is not None and known.are_of(adjacency, users, items):
            return known.final.index_select(0, nodes), known.layers[0].index_select(0, nodes)
        ego = torch.cat([users, items])
        own = ego.index_select(0, nodes)
        if not n_layers:
            return own.clone(), own
        # the last product is made for the wanted nodes alone
        inner = _sum_of_layers(adjacency, ego, n_layers - 1)
        return propagate_to(adjacency, inner, nodes).add_(own).div_(n_layers + 1), own

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, final: Tensor | None, own: Tensor | None
    ) -> tuple[None, Tensor, Tensor, None, None, None]:
        (nodes,) = ctx.saved_tensors
        size = ctx.adjacency.shape[0]
        total = own if own is None else _sum_of_rows(own, nodes, size)
        if final is not None:
            grad = _sum_of_layers_from(ctx.adjacency, final / (ctx.n_layers + 1), nodes, ctx.n_layers)
            total = grad if total is None else total.add_(grad)
        assert total is not None, "autograd asks for a gradient only where one has arrived"
        return None, total[: ctx.n_users], total[ctx.n_users :], None, None, None


def _mean(layers: Sequence[Tensor]) -> Tensor:
    return sum(layers[1:], layers[0]) / len(layers)


def _sum_of_layers(adjacency: Tensor, x: Tensor, n_layers: int) -> Tensor:
    """``(I + A + … + A^L) x`` by Horner's rule: a product and a sum in place per layer."""
    total = x
    for _ in range(n_layers):
        total = propagate(adjacency, total).add_(x)
    return total


def _mean_of_layers(adjacency: Tensor, x: Tensor, n_layers: int) -> Tensor:
    return _sum_of_layers(adjacency, x, n_layers) / (n_layers + 1)


def _sum_of_layers_from(adjacency: Tensor, rows: Tensor, nodes: Tensor, n_layers: int) -> Tensor:
    """As ``_sum_of_layers`` of a matrix that has the sums of ``rows`` at ``nodes`` and is zero elsewhere."""
    size = adjacency.shape[0]
    if rows.shape[1] < _WIDE:
        return _sum_of_layers(adjacency, _sum_of_rows(rows, nodes, size), n_layers)
    distinct, place = _distinct(nodes, size)
    summed = _sum_of_rows(rows, place, len(distinct))
    total = rows.new_zeros(size, rows.shape[1]).index_copy_(0, distinct, summed)
    for _ in range(n_layers):
        total = propagate(adjacency, total).index_add_(0, distinct, summed)
    return total


def _distinct(ids: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """``torch.unique`` of ids below ``size`` with its inverse, without sorting them."""
    among = torch.zeros(size, dtype=torch.bool, device=ids.device).index_fill_(0, ids, True)
    return among.nonzero().squeeze(1), among.cumsum(0).sub_(1)[ids]


def _sum_of_rows(rows: Tensor, places: Tensor, size: int) -> Tensor:
    """Rows summed into a matrix of ``size`` rows, in an order that does not depend on threads."""
    return rows.new_zeros(size, rows.shape[1]).index_add_(0, places, rows)


class _Propagated(NamedTuple):
    """Embeddings of all nodes on a graph.

    Attributes:
        adjacency: the graph.
        layers: the own ones first; those after each propagation as far as they are wanted.
        final: the mean over all layers.
    """

    adjacency: Tensor
    layers: Sequence[Tensor]
    final: Tensor

    def are_of(self, adjacency: Tensor, users: Tensor, items: Tensor) -> bool:
        """Whether they are of this graph and these weights; a fused optimizer does not count its writes."""
        own = self.layers[0]
        if self.adjacency is not adjacency or len(own) != len(users) + len(items):
            return False
        return torch.equal(own[: len(users)], users) and torch.equal(own[len(users) :], items)


@register("LightGCN")
class LightGCN(RecBoleLightGCN):
    """LightGCN (He et al., SIGIR 2020) with RecBole's parameters and losses.

    RecBole's class builds its graph through ``scipy.sparse.dok_matrix._update``, which newer scipy
    lacks, and multiplies in COO format, which is slow on CPU. This one changes only the graph and how
    embeddings are propagated and gathered, and forgets its cached embeddings whenever it switches
    between training and evaluation.

    Attributes:
        shares_propagation: whether all that reads embeddings in a step of training shares one propagation,
            and one path back; worth it where more than the model's own loss does.
    """

    shares_propagation: bool = False
    _known: _Propagated | None = None
    _shared: _Propagated | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or sent: all but embeddings that belong to a step of training."""
        return {**vars(self), "_known": None, "_shared": None}

    def get_norm_adj_mat(self) -> Tensor:
        """The normalised graph of ``self.interaction_matrix`` as a CSR tensor."""
        return normalized_adjacency(self.interaction_matrix)

    def layers(self, n_layers: int | None = None) -> list[Tensor]:
        """Embeddings before and after each propagation.

        Args:
            n_layers: propagations to make; default all.

        Returns:
            ``n_layers + 1`` tensors of shape ``(users + items, dim)``; the first is the parameters.
        """
        wanted = self.n_layers if n_layers is None else n_layers
        if self._shares_now and wanted <= self.n_layers:
            return list(self._of_this_step().layers[: wanted + 1])
        return self._layers_from(self.get_ego_embeddings(), wanted)

    def rows(self, users: Tensor, *items: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Final and own embeddings of some users and of lists of items.

        Args:
            users: ids, shape ``(B,)``.
            *items: ids, each of shape ``(B,)``.

        Returns:
            Two lists, of the users' and each list's embeddings, each of shape ``(B, dim)``: the means over
            the layers (eq. 4 with equal weights), and the parameters.
        """
        nodes = torch.cat([users, *(ids + self.n_users for ids in items)])
        if self._shares_now:
            shared = self._of_this_step()
            final, own = (rows.index_select(0, nodes) for rows in (shared.final, shared.layers[0]))
        else:
            final, own = _MeanOfLayers.apply(
                self.norm_adj_matrix, *self._weights, self.n_layers, nodes, self._known
            )
        sizes = [len(users), *map(len, items)]
        return list(final.split(sizes)), list(own.split(sizes))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Final embeddings of all users and all items."""
        if self._shares_now:
            return tuple(self._of_this_step().final.split([self.n_users, self.n_items]))
        final = _MeanOfAll.apply(self.norm_adj_matrix, self.get_ego_embeddings(), self.n_layers)
        return tuple(final.split([self.n_users, self.n_items]))

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of pairs; without gradients, :meth:`rows` of the same weights need no propagation.

        So the candidates of dynamic negatives, the loss of the batch, and that of pairs replayed with it cost
        one propagation between them.

        Args:
            interaction: users and items, each of shape ``(B,)``.

        Returns:
            Shape ``(B,)``.
        """
        own = self.get_ego_embeddings()
        if torch.is_grad_enabled():
            final = _MeanOfAll.apply(self.norm_adj_matrix, own, self.n_layers)
        else:
            self._known = self._propagated(own)
            final = self._known.final
        users, items = final.split([self.n_users, self.n_items])
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)

    def begin_step(self) -> None:
        """Lets go of what the step before has shared, which has been walked back once and cannot be again.

        A step may leave the weights as they were, by a rate of almost nothing.
        """
        self._shared = None

    @property
    def _weights(self) -> tuple[Tensor, Tensor]:
        return self.user_embedding.weight, self.item_embedding.weight

    @property
    def _shares_now(self) -> bool:
        return self.shares_propagation and torch.is_grad_enabled()

    def _layers_from(self, own: Tensor, n_layers: int, known: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Embeddings before and after each propagation; of ``known`` ones none is made."""
        layers = [own]
        for place in range(1, n_layers + 1):
            found = None if known is None else known[place]
            layers.append(_SymmetricProduct.apply(self.norm_adj_matrix, layers[-1], found))
        return layers

    def _propagated(self, own: Tensor) -> _Propagated:
        """All embeddings on the model's graph, without gradients."""
        adjacency = self.norm_adj_matrix
        if not self.shares_propagation:
            return _Propagated(adjacency, [own], _mean_of_layers(adjacency, own, self.n_layers))
        layers = self._layers_from(own, self.n_layers)
        return _Propagated(adjacency, layers, _mean(layers))

    def _of_this_step(self) -> _Propagated:
        """The embeddings that all readers share as long as the weights and the graph stay what they are."""
        adjacency, weights = self.norm_adj_matrix, self._weights
        if self._shared is None or not self._shared.are_of(adjacency, *weights):
            # what a prediction has left is as large as the model
            known, self._known = self._known, None
            found = None if known is None or not known.are_of(adjacency, *weights) else known.layers
            layers = self._layers_from(self.get_ego_embeddings(), self.n_layers, found)
            self._shared = _Propagated(adjacency, layers, _mean(layers))
        return self._shared

    @torch.no_grad()
    def own_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        r"""The own embeddings that become given final ones on this graph.

        Propagation and the mean of the layers are one linear map,
        :math:`P = \frac{1}{L + 1} \sum_{l=0}^{L} A^l`. The eigenvalues of A lie in [-1, 1], so those of P
        are at least :math:`1 / (2 (L + 1))` for an even L, and conjugate gradients solve
        :math:`P e = f` in a few products. For an odd L a bipartite graph makes P singular.

        Args:
            users: final embeddings of all users, shape ``(n_users, dim)``.
            items: final embeddings of all items, shape ``(n_items, dim)``.

        Returns:
            Own embeddings of users and items, of the same shapes.

        Raises:
            ValueError: If the number of layers is odd.
        """
        if self.n_layers % 2:
            raise ValueError(f"with {self.n_layers} layers the final embeddings do not tell the own ones")
        final = torch.cat([users, items])
        # the own embeddings are of the size of the final ones, which are the start
        own = final.clone()
        residual = final - _mean_of_layers(self.norm_adj_matrix, own, self.n_layers)
        direction = residual.clone()
        power = residual.square().sum(dim=0)
        for _ in range(_SOLVER_STEPS):
            image = _mean_of_layers(self.norm_adj_matrix, direction, self.n_layers)
            step = power / (direction * image).sum(dim=0).clamp(min=_TINY)
            own += step * direction
            residual -= step * image
            last, power = power, residual.square().sum(dim=0)
            direction = residual + power / last.clamp(min=_TINY) * direction
        return own[: self.n_users], own[self.n_users :]

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """RecBole's loss: BPR on the final embeddings, and the regularised own ones."""
        self.restore_user_e = self.restore_item_e = None
        fields = (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID)
        (user, positive, negative), own = self.rows(*(interaction[field] for field in fields))
        loss = self.mf_loss((user * positive).sum(dim=1), (user * negative).sum(dim=1))
        if not self.reg_weight:
            return loss
        return loss + self.reg_weight * self.reg_loss(*own, require_pow=self.require_pow)

    def train(self, mode: bool = True) -> LightGCN:
        """Switches mode and drops the embeddings cached for prediction."""
        self.restore_user_e = self.restore_item_e = self._known = self._shared = None
        return super().train(mode)
