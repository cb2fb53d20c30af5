"""List-wise distillation: the relaxed ranking loss (RRD) and the pieces it is made of."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# On a CPU a tile of rows is worked on while it is still in the cache.
_TILE_ELEMENTS = 1 << 20


def list_wise_loss(interesting: Tensor, uninteresting_lse: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""Negative log-likelihood of the teacher's order among the student's scores.

    The Plackett-Luce likelihood of a list whose unordered rest stays below it:

    .. math:: L = -\sum_{r=1}^{K} \Bigl[s_r - \log\Bigl(\sum_{j \ge r} e^{s_j} + e^{\ell}\Bigr)\Bigr]

    with :math:`\ell = \log\sum_{z \in Z} e^{s_z}` the uninteresting items' log-sum-exp.

    Source: RRD, Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020;
    the item side (IR-RRD) of CCD, Lee et al., KDD 2024 (arXiv 2405.19046), is the same loss with the roles
    of users and items swapped.

    Args:
        interesting: (B, K) scores of the listed entities, in the teacher's order.
        uninteresting_lse: (B,) log-sum-exp of the uninteresting scores; ``-inf`` where there are none.
        valid: (B, K) bool, False on the padding; None when every list is full.

    Returns:
        (B,) losses; 0 for a fully padded row. The gradient is finite for ``-inf`` log-sum-exps as well.

    Raises:
        ValueError: If the shapes do not agree.
    """
    if interesting.dim() != 2 or uninteresting_lse.shape != interesting.shape[:1]:
        raise ValueError(
            f"expected (B, K) scores and (B,) log-sum-exps, got {tuple(interesting.shape)} and "
            f"{tuple(uninteresting_lse.shape)}"
        )
    if valid is None:
        valid = torch.ones_like(interesting, dtype=torch.bool)
    elif valid.shape != interesting.shape:
        raise ValueError(f"valid is {tuple(valid.shape)}, the scores are {tuple(interesting.shape)}")
    return _ListWise.apply(interesting, uninteresting_lse, valid)


def masked_log_sum_exp(scores: Tensor, mask: Tensor) -> Tensor:
    """Log-sum-exp of each row over the entries where ``mask`` is True.

    Args:
        scores: (B, n) scores.
        mask: (B, n) bool.

    Returns:
        (B,) log-sum-exps; ``-inf``, with a gradient of exactly zero, for a row whose mask is empty.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(scores, mask)
    return _MaskedLogSumExp.apply(scores, mask)


def relaxed_ranking_loss(
    scores: Tensor, interesting: Tensor, uninteresting: Tensor, score_max: float = 10.0
) -> Tensor:
    r"""Relaxed ranking distillation of full score rows.

    :func:`list_wise_loss` of the columns in ``interesting`` against the columns in ``uninteresting``, with
    all scores clamped at :math:`\le` ``score_max``. Nothing of the size of ``scores`` is kept between the
    forward and the backward pass, which allocates the gradient of ``scores`` and nothing else of that size.

    Source: RRD, Kang et al., CIKM 2020; user side and item side (IR-RRD) in CCD, Lee et al., KDD 2024
    (arXiv 2405.19046).

    Args:
        scores: (B, n) scores of the student, column 0 being the padding.
        interesting: (B, K) column ids in the teacher's order, padded with 0 at the end.
        uninteresting: (B, n) bool, True on the columns of Z.
        score_max: Upper clamp of the scores; a clamped score has no gradient.

    Returns:
        (B,) losses; 0 for a row without interesting columns.

    Raises:
        ValueError: If the shapes do not agree.
    """
    _check_same_shape(scores, uninteresting)
    if interesting.dim() != 2 or interesting.shape[0] != scores.shape[0]:
        raise ValueError(f"{tuple(interesting.shape)} lists for {tuple(scores.shape)} scores")
    return _RelaxedRanking.apply(scores, interesting, uninteresting, float(score_max))


class _ListWise(torch.autograd.Function):
    """Closed-form gradient: autograd through a cumulative log-sum-exp gives NaN at ``-inf``."""

    @staticmethod
    def forward(ctx: Any, interesting: Tensor, lse: Tensor, valid: Tensor) -> Tensor:
        loss, denominators = _list_wise_forward(interesting, lse, valid)
        ctx.save_for_backward(interesting, lse, valid, denominators)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_interesting, grad_lse = _list_wise_backward(*ctx.saved_tensors)
        return grad_interesting * grad[:, None], grad_lse * grad, None


class _MaskedLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        lse = _tiled_lse(scores, mask, None)
        ctx.save_for_backward(scores, mask, lse)
        return lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        scores, mask, lse = ctx.saved_tensors
        return _tiled_lse_gradient(scores, mask, lse, grad, None), None


class _RelaxedRanking(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, items: Tensor, mask: Tensor, score_max: float) -> Tensor:
        lse = _tiled_lse(scores, mask, score_max)
        raw = scores.gather(1, items)
        loss, denominators = _list_wise_forward(raw.clamp(max=score_max), lse, items > 0)
        ctx.save_for_backward(scores, items, mask, lse, raw, denominators)
        ctx.score_max = score_max
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        scores, items, mask, lse, raw, denominators = ctx.saved_tensors
        listed, rest = _list_wise_backward(raw.clamp(max=ctx.score_max), lse, items > 0, denominators)
        result = _tiled_lse_gradient(scores, mask, lse, rest * grad, ctx.score_max)
        listed = (listed * grad[:, None]).masked_fill_(raw > ctx.score_max, 0.0)
        return result.scatter_add_(1, items, listed), None, None, None


def _list_wise_forward(scores: Tensor, lse: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (B,) and log-denominators (B, K)."""
    tail = torch.cat([lse[:, None], scores.masked_fill(~valid, -torch.inf).flip(1)], dim=1)
    denominators = torch.logcumsumexp(tail, dim=1)[:, 1:].flip(1)
    return (denominators - scores).masked_fill_(~valid, 0.0).sum(1), denominators


def _list_wise_backward(
    scores: Tensor, lse: Tensor, valid: Tensor, denominators: Tensor
) -> tuple[Tensor, Tensor]:
    """Derivatives of the loss by the listed scores (B, K) and by the log-sum-exp (B,)."""
    negated = (-denominators).masked_fill(~valid, -torch.inf)
    # d/ds_j = -1 + sum over r <= j of exp(s_j - D_r), in log space because exp(-D_r) alone may overflow.
    by_score = (scores + torch.logcumsumexp(negated, dim=1)).exp_().sub_(1.0).masked_fill_(~valid, 0.0)
    by_lse = (lse[:, None] + negated).exp_().sum(1)
    return by_score, by_lse


def _tiles(scores: Tensor) -> list[slice]:
    n_rows, n_columns = scores.shape
    step = n_rows if scores.is_cuda else _TILE_ELEMENTS // max(n_columns, 1)
    step = max(step, 1)
    return [slice(start, start + step) for start in range(0, n_rows, step)]


def _masked_tile(scores: Tensor, mask: Tensor, score_max: float | None) -> Tensor:
    tile = torch.where(mask, scores, -torch.inf)
    return tile if score_max is None else tile.clamp_(max=score_max)


def _tiled_lse(scores: Tensor, mask: Tensor, score_max: float | None) -> Tensor:
    lse = scores.new_full(scores.shape[:1], -torch.inf)
    if scores.shape[1] == 0:
        return lse
    for rows in _tiles(scores):
        tile = _masked_tile(scores[rows], mask[rows], score_max)
        top = tile.amax(1)
        # An empty row has the maximum -inf, and -inf - -inf is NaN.
        shift = top.masked_fill(top == -torch.inf, 0.0)
        lse[rows] = tile.sub_(shift[:, None]).exp_().sum(1).log_().add_(shift)
    return lse


def _tiled_lse_gradient(
    scores: Tensor, mask: Tensor, lse: Tensor, grad: Tensor, score_max: float | None
) -> Tensor:
    """``grad * softmax`` over the mask, zero where the clamp was active."""
    result = torch.empty_like(scores, memory_format=torch.contiguous_format)
    shift = lse.masked_fill(lse == -torch.inf, 0.0)[:, None]
    for rows in _tiles(scores):
        tile, kept = result[rows], mask[rows]
        if score_max is not None:
            kept = kept & (scores[rows] <= score_max)
        torch.sub(scores[rows], shift[rows], out=tile)
        # Outside the mask a score may exceed the log-sum-exp by any amount, and inf * 0 is NaN.
        tile.clamp_(max=0.0).exp_().mul_(grad[rows, None]).mul_(kept)
    return result


def _check_same_shape(scores: Tensor, mask: Tensor) -> None:
    if scores.dim() != 2 or scores.shape != mask.shape:
        raise ValueError(
            f"expected (B, n) scores and mask, got {tuple(scores.shape)} and {tuple(mask.shape)}"
        )
