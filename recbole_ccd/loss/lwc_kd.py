"""Layer-wise contrastive distillation (LWC-KD): stay close to what was near before the update."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# On a CPU a tile of rows is exponentiated while it is still in the cache.
_TILE_ROWS = 64


def contrastive_terms(
    anchors: Tensor,
    candidates: Tensor,
    kinds: Sequence[slice],
    rows: Tensor,
    cols: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    r"""Contrast frozen anchors with each kind of live candidates.

    For an anchor with the positives :math:`N` among the candidates :math:`C` of a kind, frozen embedding
    :math:`h` and live candidates :math:`e_j`

    .. math:: \ell = -\frac{1}{|N|} \sum_{p \in N} \log \mathrm{softmax}_{p \in C}(h \cdot e_j / \tau)
                   = \log\sum_{j \in C} e^{h \cdot e_j / \tau}
                     - \frac{1}{|N|} \sum_{p \in N} h \cdot e_p / \tau .

    The terms user-item, item-user, user-user and item-item of a layer of LWC-KD are one call, with users
    and items for kinds: one matrix product, and one gradient for all candidates.

    Source: LWC-KD, Wang et al., "Graph Structure Aware Contrastive Knowledge Distillation for Incremental
    Learning in Recommender Systems", CIKM 2021.

    Args:
        anchors: (B, d) embeddings before the update; taken as constants.
        candidates: (N, d) live embeddings. A row outside all kinds, such as [PAD], takes part in nothing.
        kinds: S disjoint ranges of candidates; each has a softmax of its own.
        rows: (P,) anchor of each positive pair, in [0, B).
        cols: (P,) candidate of each positive pair, in one of the kinds. A repeated pair counts twice.
        temperature: the :math:`\tau` above.

    Returns:
        (B, S) losses, 0 where an anchor has no positive of a kind, and (B, S) bool, True where it has one.

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
    # place of each pair among the (B, S) losses
    kind = torch.zeros_like(cols)
    for number, part in enumerate(kinds):
        kind[(cols >= part.start) & (cols < part.stop)] = number
    places = rows * len(kinds) + kind
    counts = torch.bincount(places, minlength=len(anchors) * len(kinds))
    active = (counts > 0).view(len(anchors), len(kinds))
    scaled = anchors.detach() / temperature
    losses = _Contrast.apply(scaled, candidates, tuple(kinds), rows, cols, places, 1.0 / counts[places])
    return losses.masked_fill(~active, 0.0), active


class _Contrast(torch.autograd.Function):
    """All losses of some anchors, with a gradient for the candidates.

    The products are exponentiated where they stand, and the backward pass scales the small side of its
    product: one matrix of B × N is ever allocated, and it is passed over once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        candidates: Tensor,
        kinds: tuple[slice, ...],
        rows: Tensor,
        cols: Tensor,
        places: Tensor,
        share: Tensor,
    ) -> Tensor:
        powers = anchors @ candidates.T
        agreement = powers[rows, cols] * share
        tops, sums = (powers.new_empty(len(anchors), len(kinds)) for _ in range(2))
        step = max(len(anchors), 1) if powers.is_cuda else _TILE_ROWS
        for start in range(0, len(anchors), step):
            part = slice(start, start + step)
            for number, columns in enumerate(kinds):
                tile = powers[part, columns]
                tops[part, number] = tile.amax(1)
                sums[part, number] = tile.sub_(tops[part, number, None]).exp_().sum(1)
        ctx.save_for_backward(anchors, powers, sums, rows, cols, places, share)
        ctx.kinds = kinds
        losses = (tops + sums.log()).view(-1)
        return losses.index_add(0, places, agreement, alpha=-1).view(tops.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None, None, None]:
        anchors, powers, sums, rows, cols, places, share = ctx.saved_tensors
        result = anchors.new_empty(powers.shape[1], anchors.shape[1])
        _zero_outside(result, ctx.kinds)
        scale = grad / sums
        for number, columns in enumerate(ctx.kinds):
            torch.mm(powers[:, columns].T, anchors * scale[:, number, None], out=result[columns])
        pulled = anchors[rows] * (-grad.reshape(-1)[places] * share)[:, None]
        return None, result.index_put_((cols,), pulled, accumulate=True), None, None, None, None, None


def _zero_outside(rows: Tensor, kinds: Sequence[slice]) -> None:
    """Zeroes the rows in none of some disjoint ranges; the others are written anyway."""
    end = 0
    for part in sorted(kinds, key=lambda kind: kind.start):
        rows[end : part.start] = 0.0
        end = part.stop
    rows[end:] = 0.0
