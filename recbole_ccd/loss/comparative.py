"""Comparative distillation: differences between samples are to be those that the teacher sees."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_squared_difference(values: Tensor, valid: Tensor, dim: int) -> Tensor:
    r"""Mean over all pairs of the squared difference of two values, without making a pair.

    .. math:: \frac{1}{n^2} \sum_{a, b} (v_a - v_b)^2 = 2 \, \mathrm{Var}(v)

    With :math:`v = s - c\,t` it is that of the student's differences from c times the teacher's,
    :math:`\bigl[(s_a - s_b) - c\,(t_a - t_b)\bigr]^2`.

    Source: comparative knowledge distillation, Wilf et al., WACV 2025 (arXiv 2311.02253).

    Args:
        values: (B, n) values.
        valid: (B, n) bool; what is False is no sample.
        dim: along which the samples lie.

    Returns:
        (B,) for ``dim`` 1 and (n,) for ``dim`` 0; 0 where there is no sample.

    Raises:
        ValueError: If the shapes differ.
    """
    if values.shape != valid.shape:
        raise ValueError(f"values {tuple(values.shape)} and valid {tuple(valid.shape)} differ in shape")
    count = valid.sum(dim, keepdim=True).clamp(min=1)
    mean = values.masked_fill(~valid, 0.0).sum(dim, keepdim=True) / count
    squares = (values - mean).square().masked_fill(~valid, 0.0)
    return 2 * (squares / count).sum(dim)


def most_listed(lists: Tensor, n_items: int, n: int) -> Tensor:
    """The items that most of some lists hold.

    Args:
        lists: (B, K) item ids, padded with 0.
        n_items: how many items there are, [PAD] included.
        n: how many are wanted.

    Returns:
        (m,) at most n distinct ids, the most frequent first, of equal ones the lowest; never [PAD].
    """
    counts = torch.bincount(lists.flatten(), minlength=n_items)
    counts[0] = 0
    order = counts.argsort(descending=True, stable=True)[:n]
    return order[counts[order] > 0]
