"""GraphSAIL: keep a node's neighbourhood, its place among all nodes, and its own embedding."""

import torch
from torch import Tensor
from torch.nn import functional

from recbole_ccd.loss.output_kl import output_kl


def local_structure_loss(
    old: Tensor, new: Tensor, old_others: Tensor, new_others: Tensor, rows: Tensor, cols: Tensor
) -> Tensor:
    r"""Change of each node's agreement with its neighbourhood.

    For a node :math:`v` with the neighbours :math:`N(v)` before the update, frozen embeddings :math:`h` and
    live ones :math:`e`

    .. math:: \frac{1}{B} \sum_v \Bigl( h_v \cdot \frac{1}{|N(v)|} \sum_{n \in N(v)} h_n
              - e_v \cdot \frac{1}{|N(v)|} \sum_{n \in N(v)} e_n \Bigr)^2

    with the mean over the nodes that have neighbours. Users' neighbours are items, and items' are users.

    Source: local structure distillation of GraphSAIL, Xu, Zhang, Guo, Guo, Tang, Coates, "GraphSAIL: Graph
    Structure Aware Incremental Learning for Recommender Systems", CIKM 2020.

    Args:
        old: (B, d) embeddings of the nodes before the update; taken as constants.
        new: (B, d) live embeddings of the same nodes.
        old_others: (M, d) embeddings of the other side before the update; taken as constants.
        new_others: (N, d) live embeddings of the other side, N >= M.
        rows: (P,) node of each pair of neighbours, in [0, B), in increasing order.
        cols: (P,) its neighbour, in [0, M).

    Returns:
        Scalar; 0, with a gradient, when no node has neighbours.

    Raises:
        ValueError: If the shapes do not agree.
    """
    _check(old, new)
    if old_others.shape[1:] != new_others.shape[1:] or rows.shape != cols.shape:
        raise ValueError(
            f"other side {tuple(old_others.shape)} before and {tuple(new_others.shape)} now, or "
            f"rows {tuple(rows.shape)} columns {tuple(cols.shape)}"
        )
    degrees = torch.bincount(rows, minlength=len(old))
    starts = degrees.cumsum(0) - degrees

    def agreement(nodes: Tensor, others: Tensor) -> Tensor:
        # nothing is gathered per pair, and the gradient is summed in an order of its own
        means = functional.embedding_bag(cols, others, starts, mode="mean")
        return (nodes * means).sum(1)

    change = agreement(new, new_others) - agreement(old, old_others).detach()
    return change.square().sum() / (degrees > 0).sum().clamp(min=1)


def global_structure_loss(old: Tensor, new: Tensor, centers: Tensor, temperature: float) -> Tensor:
    r"""Change of where each node stands among clusters of nodes.

    .. math:: \frac{1}{B} \sum_v \mathrm{KL}\bigl(\mathrm{softmax}_c(h_v \cdot a_c / \tau) \,\Vert\,
              \mathrm{softmax}_c(e_v \cdot a_c / \tau)\bigr)

    with the cluster centres :math:`a_c`, frozen embeddings :math:`h` and live ones :math:`e`. GraphSAIL adds
    up four of these: users and items, each among the users' and among the items' clusters. Here the centres
    are those of the frozen embeddings for both sides of the divergence, and the expectation is the frozen
    distribution's.

    Source: global structure distillation of GraphSAIL, Xu et al., CIKM 2020.

    Args:
        old: (B, d) embeddings before the update; taken as constants.
        new: (B, d) live embeddings of the same nodes.
        centers: (C, d) cluster centres; taken as constants.
        temperature: the :math:`\tau` above.

    Returns:
        Scalar, mean over the nodes; 0 when there is none.

    Raises:
        ValueError: If the temperature is not positive or the shapes do not agree.
    """
    _check(old, new)
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if centers.shape[1:] != old.shape[1:]:
        raise ValueError(f"centres {tuple(centers.shape)} do not fit embeddings {tuple(old.shape)}")
    scaled = centers.detach().T / temperature
    return output_kl(old @ scaled, new @ scaled)


def self_embedding_loss(old: Tensor, new: Tensor, weights: Tensor) -> Tensor:
    r"""Weighted squared change of embeddings.

    .. math:: \sum_v w_v \lVert e_v - h_v \rVert^2 \Big/ \sum_v w_v

    Source: self-embedding distillation of GraphSAIL, Xu et al., CIKM 2020, whose weights are a node's old
    degree over its new one. See :func:`share_of_past` for ours.

    Args:
        old: (B, d) embeddings before the update; taken as constants.
        new: (B, d) live embeddings of the same nodes.
        weights: (B,) weights, not negative; taken as constants.

    Returns:
        Scalar; 0, with a gradient, when no node has a weight.

    Raises:
        ValueError: If the shapes do not agree.
    """
    _check(old, new)
    if weights.shape != old.shape[:1]:
        raise ValueError(f"weights {tuple(weights.shape)} do not fit embeddings {tuple(old.shape)}")
    weights = weights.detach()
    total = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return ((new - old.detach()).square().sum(1) * weights).sum() / total


def share_of_past(old_degrees: Tensor, new_degrees: Tensor) -> Tensor:
    r"""Weight of each node in :func:`self_embedding_loss`: how little of its evidence is new.

    .. math:: w_v = \frac{n_v^{\mathrm{old}}}{n_v^{\mathrm{old}} + n_v^{\mathrm{new}}}

    GraphSAIL has the ratio of the old degree to that in the current graph; this is that ratio in a graph of
    everything so far, so it lies in [0, 1] and is 1 for a node without new interactions.

    Args:
        old_degrees: (N,) numbers of interactions before the update.
        new_degrees: (N,) numbers of new interactions.

    Returns:
        (N,) weights; 0 where there are no interactions at all.
    """
    old = old_degrees.float()
    return old / (old + new_degrees).clamp(min=1.0)


def _check(old: Tensor, new: Tensor) -> None:
    if old.shape != new.shape:
        raise ValueError(f"embeddings {tuple(old.shape)} before the update and {tuple(new.shape)} now")
