"""Correlation distillation: a list's probabilities and ranks that vary as the teacher's do."""

from __future__ import annotations

import torch
from torch import Tensor

# variation of so small a share of the values' squares is that of rounding
_ROUNDING = 1e-12


def row_correlation(first: Tensor, second: Tensor, valid: Tensor, centered: bool = True) -> Tensor:
    r"""Pearson's correlation of two rows of values, or the size of their cosine.

    .. math:: \rho(a, b) = \frac{\sum_k (a_k - \bar a)(b_k - \bar b)}
              {\sqrt{\sum_k (a_k - \bar a)^2 \sum_k (b_k - \bar b)^2}}

    Args:
        first: (B, K) values.
        second: (B, K) values.
        valid: (B, K) bool, False on the padding.
        centered: whether means are taken off; without it the result is :math:`|\cos(a, b)|`.

    Returns:
        (B,) in [-1, 1]; 0, without a gradient, where a row does not vary.

    Raises:
        ValueError: If the shapes differ.
    """
    if not first.shape == second.shape == valid.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (first, second, valid))
        raise ValueError(f"values and valid differ in shape: {shapes}")
    count = valid.sum(1, keepdim=True).clamp(min=1)
    parts = [part.masked_fill(~valid, 0.0) for part in (first, second)]
    least = [_ROUNDING * part.square().sum(1) for part in parts]
    if centered:
        parts = [(part - part.sum(1, keepdim=True) / count).masked_fill(~valid, 0.0) for part in parts]
    squares = [part.square().sum(1) for part in parts]
    varies = (squares[0] > least[0]) & (squares[1] > least[1])
    product, size = (parts[0] * parts[1]).sum(1), squares[0] * squares[1]
    # the root of what does not vary has no derivative
    result = torch.where(varies, product, 0.0) / torch.where(varies, size, 1.0).sqrt()
    return result if centered else result.abs()


def soft_ranks(scores: Tensor, valid: Tensor, tau: float) -> Tensor:
    r"""Ranks that have a gradient, 1 for the highest score.

    .. math:: \tilde r_k = \frac{1}{2} + \sum_j \sigma\Bigl(\frac{s_j - s_k}{\tau}\Bigr)

    with k itself in the sum; as :math:`\tau \to 0` they are the ranks.

    Source: Qin, Liu, Li, "A general approximation framework for direct optimization of information retrieval
    measures", Information Retrieval 2010.

    Args:
        scores: (B, K) scores.
        valid: (B, K) bool, False on the padding, which outranks nothing.
        tau: the :math:`\tau` above.

    Returns:
        (B, K) ranks; of no meaning on the padding.
    """
    above = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / tau)
    return 0.5 + above.masked_fill(~valid[:, None, :], 0.0).sum(2)


def correlation_loss(
    scores: Tensor,
    teacher: Tensor,
    valid: Tensor,
    temperature: float,
    weights: tuple[float, float] = (1.0, 1.0),
    tau: float = 0.1,
    centered: bool = True,
) -> Tensor:
    r"""Distance of a list's tempered softmax and soft ranks from the teacher's, by correlation.

    .. math:: L = T^2 \bigl[ w_v \, (1 - \rho(q, p)) + w_r \, (1 - \rho(\tilde r, r)) \bigr]

    with :math:`q = \mathrm{softmax}(s / T)`, :math:`p = \mathrm{softmax}(t / T)` and places r.

    Source: R2KD, Kim et al., "Robustness-Reinforced Knowledge Distillation", TKDE 2024 (arXiv 2311.13934).
    There :math:`\rho` is the size of a cosine for values, and Spearman's for ranks.

    Args:
        scores: (B, K) the student's scores of the listed items.
        teacher: (K,) or (B, K) the teacher's scores of them, best first, taken as constants.
        valid: (B, K) bool, False on the padding.
        temperature: the T above.
        weights: the :math:`w_v` and :math:`w_r` above.
        tau: temperature of the soft ranks.
        centered: whether the values' correlation is Pearson's.

    Returns:
        (B,) losses; 0 for a list of fewer than two, in which nothing varies.
    """
    lowest = torch.finfo(scores.dtype).min / 2
    q, p = (
        (part / temperature).masked_fill(~valid, lowest).softmax(1)
        for part in (scores, teacher.detach().expand_as(scores))
    )
    loss = scores.new_zeros(len(scores))
    if weights[0]:
        loss = loss + weights[0] * (1 - row_correlation(q, p, valid, centered))
    if weights[1]:
        places = torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype, device=scores.device)
        ranks = soft_ranks(scores, valid, tau)
        loss = loss + weights[1] * (1 - row_correlation(ranks, places.expand_as(scores), valid))
    return torch.where(valid.sum(1) > 1, temperature**2 * loss, 0.0)
