"""The list-wise loss of relaxed ranking distillation (RRD), from scores."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# the exponential of such a number, and a sum of many of them, are far from the ends of float64
_SAFE = 600.0


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


class _ListWise(torch.autograd.Function):
    """Closed-form gradient: autograd through a cumulative log-sum-exp gives NaN at ``-inf``."""

    @staticmethod
    def forward(ctx: Any, interesting: Tensor, lse: Tensor, valid: Tensor) -> Tensor:
        denominators = torch.logaddexp(log_sums_of_tails(interesting, valid), lse[:, None])
        ctx.save_for_backward(interesting, lse, valid, denominators)
        return (denominators - interesting).masked_fill_(~valid, 0.0).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        interesting, lse, valid, denominators = ctx.saved_tensors
        by_list = derivative_by_list(interesting, valid, denominators)
        by_rest = derivative_by_rest(lse, valid, denominators)
        return by_list * grad[:, None], by_rest * grad, None


class _MaskedLogSumExp(torch.autograd.Function):
    """A gradient of exactly zero where the mask is empty: autograd's is NaN there."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        lse = scores.masked_fill(~mask, -torch.inf).logsumexp(1)
        ctx.save_for_backward(scores, mask, lse)
        return lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        scores, mask, lse = ctx.saved_tensors
        softmax = (scores - lse[:, None]).exp_()
        return torch.where(mask, softmax * grad[:, None], 0.0), None


def log_sums_of_tails(scores: Tensor, valid: Tensor) -> Tensor:
    """Log-sum-exp of each listed score and those after it.

    Args:
        scores: (B, K) scores of the listed entities.
        valid: (B, K) bool, False on the padding.

    Returns:
        (B, K); with the rest's log-sum-exp added they are the loss's denominators.
    """
    return _log_cumulative_sums(scores.masked_fill(~valid, -torch.inf).flip(1)).flip(1)


def derivative_by_list(scores: Tensor, valid: Tensor, denominators: Tensor) -> Tensor:
    """Derivative of the loss by the listed scores.

    Args:
        scores: (B, K) scores of the listed entities.
        valid: (B, K) bool, False on the padding.
        denominators: (B, K) logarithms of the loss's denominators.

    Returns:
        (B, K); 0 on the padding.
    """
    negated = (-denominators).masked_fill(~valid, -torch.inf)
    # d/ds_j = -1 + sum over r <= j of exp(s_j - D_r), in log space because exp(-D_r) alone may overflow.
    return (scores + _log_cumulative_sums(negated)).exp_().sub_(1.0).masked_fill_(~valid, 0.0)


def derivative_by_rest(lse: Tensor, valid: Tensor, denominators: Tensor) -> Tensor:
    """Derivative of the loss by the uninteresting scores' log-sum-exp.

    Args:
        lse: (B,) log-sum-exp of the uninteresting scores.
        valid: (B, K) bool, False on the padding.
        denominators: (B, K) logarithms of the loss's denominators.

    Returns:
        (B,)
    """
    return (lse[:, None] - denominators).masked_fill_(~valid, -torch.inf).exp_().sum(1)


def _log_cumulative_sums(values: Tensor) -> Tensor:
    """``torch.logcumsumexp`` along rows, several times as fast on a CPU where numbers are float32 and usual.

    Both add up in float64; rounded to float32 they differ, if at all, in the last bit of one number in many
    millions.
    """
    finite = values.masked_fill(values == -torch.inf, 0.0)
    if values.is_cuda or values.dtype != torch.float32 or not bool((finite.abs() < _SAFE).all()):
        return torch.logcumsumexp(values, dim=1)
    return values.double().exp_().cumsum(dim=1).log_().to(values.dtype)


def _check_same_shape(scores: Tensor, mask: Tensor) -> None:
    if scores.dim() != 2 or scores.shape != mask.shape:
        raise ValueError(
            f"expected (B, n) scores and mask, got {tuple(scores.shape)} and {tuple(mask.shape)}"
        )
