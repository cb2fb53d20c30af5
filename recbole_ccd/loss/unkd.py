"""UnKD: an item against another one of the same popularity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pair_loss(better: Tensor, worse: Tensor, valid: Tensor) -> Tensor:
    r"""Log-loss of pairs of items in the teacher's order, summed per row.

    .. math:: L = -\sum_{(i, j)} \log \sigma(s_i - s_j)

    Source: UnKD, Chen et al., "Unbiased Knowledge Distillation for Recommendation", WSDM 2023
    (arXiv 2211.14729).

    Args:
        better: (B, n) the student's scores of the items that the teacher ranks higher.
        worse: (B, n) scores of the others.
        valid: (B, n) bool, False where there is no pair.

    Returns:
        (B,) losses; 0 for a row without pairs.

    Raises:
        ValueError: If the shapes differ.
    """
    if not better.shape == worse.shape == valid.shape:
        shapes = ", ".join(str(tuple(part.shape)) for part in (better, worse, valid))
        raise ValueError(f"scores and valid differ in shape: {shapes}")
    return functional.softplus(worse - better).masked_fill(~valid, 0.0).sum(1)


def popularity_groups(counts: Tensor, n_groups: int) -> Tensor:
    """Items of like popularity, in groups that have about as many interactions each.

    Source: UnKD, Chen et al., WSDM 2023.

    Args:
        counts: (n,) interactions of each item, [PAD] first.
        n_groups: how many groups.

    Returns:
        (n,) group of each item, 0 for the most popular ones; -1 for [PAD]. An item that has more
        interactions than its share leaves groups empty.
    """
    counts = counts.double()
    counts[0] = 0
    order = counts.argsort(descending=True, stable=True)
    before = counts[order].cumsum(0) - counts[order]
    group = (before * n_groups / counts.sum().clamp(min=1)).long().clamp(max=n_groups - 1)
    # those without interactions are of the last group, whatever rounding makes of the sum before them
    group[counts[order] == 0] = n_groups - 1
    result = torch.empty_like(group)
    result[order] = group
    result[0] = -1
    return result
