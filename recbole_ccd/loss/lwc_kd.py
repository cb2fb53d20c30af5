"""Layer-wise contrastive distillation (LWC-KD): stay close to what was near before the update."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# On a CPU a tile of rows is exponentiated while it is still in the cache.
_TILE_ROWS = 128


def contrastive_loss(
    anchors: Tensor,
    candidates: Tensor,
    rows: Tensor,
    cols: Tensor,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Contrast frozen anchors with live candidates.

    For an anchor with the positives :math:`N`, frozen embedding :math:`h` and live candidates :math:`e_j`

    .. math:: \ell = -\frac{1}{|N|} \sum_{p \in N} \log \mathrm{softmax}_p(h \cdot e_j / \tau)
                   = \log\sum_j e^{h \cdot e_j / \tau} - \frac{1}{|N|} \sum_{p \in N} h \cdot e_p / \tau .

    The terms user-item, item-user, user-user and item-item of LWC-KD are this one function; so are its
    layers.

    Source: LWC-KD, Wang et al., "Graph Structure Aware Contrastive Knowledge Distillation for Incremental
    Learning in Recommender Systems", CIKM 2021; ``weights`` from PIW, Wang et al., AAAI 2023.

    Args:
        anchors: (B, d) embeddings before the update; taken as constants.
        candidates: (N, d) live embeddings. Every row takes part in the softmax: leave [PAD] out.
        rows: (P,) anchor of each positive pair, in [0, B).
        cols: (P,) candidate of each positive pair, in [0, N). A repeated pair counts twice.
        temperature: The :math:`\tau` above.
        weights: (B,) weight of each anchor, or None for 1.

    Returns:
        Scalar: sum of weight times loss over the anchors that have positives, divided by their number; 0,
        with a gradient, when there is none.

    Raises:
        ValueError: If the temperature is not positive or the shapes do not agree.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if anchors.shape[1:] != candidates.shape[1:] or rows.shape != cols.shape:
        raise ValueError(
            f"anchors {tuple(anchors.shape)} do not fit candidates {tuple(candidates.shape)}, or "
            f"rows {tuple(rows.shape)} columns {tuple(cols.shape)}"
        )
    counts = torch.bincount(rows, minlength=anchors.shape[0])
    active = counts.nonzero().squeeze(1)
    if active.numel() == 0:
        return candidates.sum() * 0.0
    scaled = anchors.detach() / temperature
    agreement = (scaled[rows] * candidates[cols]).sum(1) / counts[rows]
    agreement = agreement.new_zeros(anchors.shape[0]).index_add(0, rows, agreement)
    losses = _LogPartition.apply(scaled[active], candidates) - agreement[active]
    if weights is not None:
        losses = losses * weights[active]
    return losses.sum() / active.numel()


class _LogPartition(torch.autograd.Function):
    """Log-sum-exp of every row of ``anchors @ candidates.T``, with a gradient for the candidates.

    The products are exponentiated where they stand, and the backward pass scales the small side of its
    product: one matrix of B × N is ever allocated, and it is passed over once.
    """

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, candidates: Tensor) -> Tensor:
        powers = anchors @ candidates.T
        tops, sums = powers.new_empty(len(anchors), 1), powers.new_empty(len(anchors), 1)
        step = max(len(anchors), 1) if powers.is_cuda else _TILE_ROWS
        for start in range(0, len(anchors), step):
            rows = slice(start, start + step)
            torch.amax(powers[rows], 1, keepdim=True, out=tops[rows])
            torch.sum(powers[rows].sub_(tops[rows]).exp_(), 1, keepdim=True, out=sums[rows])
        ctx.save_for_backward(anchors, powers, sums)
        return (tops + sums.log()).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        anchors, powers, sums = ctx.saved_tensors
        return None, powers.T @ (anchors * (grad[:, None] / sums))
