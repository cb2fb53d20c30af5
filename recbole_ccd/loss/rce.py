"""RCE-KD: cross-entropy on item sets that are nearly closed under the student's ranking."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in

# of the teacher's items at or below a place no more than so many count
_MOST = 50


def teacher_items_below(own: Tensor, lists: Tensor) -> Tensor:
    """How many of the teacher's items the student ranks at or below each place of its own list.

    Items of the teacher that the student has not listed are below all places.

    Args:
        own: (B, D) item ids in the student's order, padded with 0.
        lists: (B, K) item ids in the teacher's order, padded with 0.

    Returns:
        (B, D) counts.
    """
    found = (places_in(own, lists) < torch.inf).long()
    above = found.cumsum(1) - found
    return (lists > 0).sum(1, keepdim=True) - above


def closing_weights(own: Tensor, lists: Tensor, temperature: float) -> Tensor:
    r"""Logarithms of the weights by which items are drawn from the student's list.

    .. math:: \log w_j = \frac{1 + \min(50, n_j)}{T}

    with :math:`n_j` of :func:`teacher_items_below`: a set is closed if it has all items that the student
    ranks above one of its members, and an item closes it for those members that are at or below it.

    Source: RCE-KD, Zhu & Zhang, "Rejuvenating Cross-Entropy Loss in Knowledge Distillation for Recommender
    Systems", 2025 (arXiv 2509.20989).

    Args:
        own: (B, D) item ids in the student's order, padded with 0.
        lists: (B, K) item ids in the teacher's order, padded with 0.
        temperature: the T above.

    Returns:
        (B, D) float32.
    """
    return (1.0 + teacher_items_below(own, lists).clamp(max=_MOST)) / temperature


def share_of_teacher(lists: Tensor, own: Tensor, beta: float) -> Tensor:
    r"""Weight of the term on the teacher's items; that on the student's has the rest.

    .. math:: w = e^{-\beta \, |L \cap S| / |L|}

    The less of the teacher's list L the student's S has, the more of what is to be learned lies outside S.

    Source: RCE-KD, Zhu & Zhang, 2025.

    Args:
        lists: (B, K) item ids in the teacher's order, padded with 0.
        own: (B, K') item ids that the student ranks first, padded with 0.
        beta: the :math:`\beta` above.

    Returns:
        (B,) in (0, 1]; 1 for an empty list.
    """
    common = (places_in(lists, own) < torch.inf).sum(1)
    return torch.exp(-beta * common / (lists > 0).sum(1).clamp(min=1))
