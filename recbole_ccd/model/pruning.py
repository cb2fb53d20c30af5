"""Copies of models without their smallest weights."""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.model.duplicate import duplicate


@torch.no_grad()
def pruned(model: GeneralRecommender, rate: float) -> GeneralRecommender:
    """A copy of a model in which the smallest entries of every table and matrix of weights are 0.

    Source: the pruned teacher of R2KD, Kim et al., "Robustness-Reinforced Knowledge Distillation With
    Correlation Distance and Network Pruning", TKDE 2024 (arXiv 2311.13934), a network for images; here the
    tables are embeddings, or the layers of an auto-encoder.

    Args:
        model: any model; left as it is.
        rate: share of the entries of each, in [0, 1).

    Returns:
        A frozen model, with the same graph.
    """
    copy = duplicate(model).requires_grad_(False).eval()
    for weight in copy.parameters():
        n = int(rate * weight.numel())
        if weight.dim() > 1 and n:
            weight.view(-1)[weight.abs().view(-1).topk(n, largest=False).indices] = 0.0
    return copy
