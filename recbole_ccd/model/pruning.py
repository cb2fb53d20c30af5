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
            # of an auto-encoder's first layer an item's weights may lie together, so that no view is flat
            gone = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
            gone[weight.abs().flatten().topk(n, largest=False).indices] = True
            weight.masked_fill_(gone.view(weight.shape), 0.0)
    return copy
