"""A course of lists from easy to hard: how near one list is to another, and what several have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in


def list_distance(reference: Tensor, other: Tensor) -> Tensor:
    r"""How far lists are from others, by the gain that they lose.

    .. math:: D = 1 - \frac{\sum_k g(\sigma_k) / \log_2(k + 1)}{\sum_r g(\pi_r) / \log_2(r + 1)}, \qquad
              g(\pi_r) = \frac{K - r + 1}{K}

    with :math:`\sigma` the other list and a gain of 0 for what is not in :math:`\pi`.

    Source: the discrepancy :math:`1 - \mathrm{NDCG@K}` of HetComp, Kang et al., "Distillation from
    Heterogeneous Models for Top-K Recommendation", WWW 2023; a gain that is linear in the place is ours.

    Args:
        reference: (B, K) item ids, padded with 0 at the end.
        other: (B, K) the same.

    Returns:
        (B,) distances from 0 to 1; 0 where the reference is empty.
    """
    n = reference.shape[1]
    places = torch.arange(1.0, n + 1, device=reference.device)
    discounts = torch.log2(places + 1)
    best = ((n - places + 1) / discounts).masked_fill(reference == 0, 0.0).sum(dim=1)
    gains = (n - places_in(other, reference) + 1).clamp(min=0.0)
    reached = (gains / discounts).sum(dim=1)
    return torch.where(best > 0, 1 - reached / best.clamp(min=1e-12), 0.0)


def consensus_lists(lists: Sequence[Tensor], exponent: float) -> Tensor:
    r"""The list of an ensemble of which nothing but the members' lists is known.

    .. math:: s(j) = \frac{1}{M} \sum_m \bigl(r_m(j)^{-p} - (K + 1)^{-p}\bigr)

    over the members that list the item.

    Source: the teacher of CCD, Lee et al., KDD 2024 (arXiv 2405.19046), whose members count all ranks.

    Args:
        lists: (B, K) item ids of each member, padded with 0 at the end.
        exponent: the p above.

    Returns:
        (B, K) item ids, best first, 0-padded; of equal ones those of earlier members come first.
    """
    n, unlisted = lists[0].shape[1], float(lists[0].shape[1] + 1)
    columns = []
    for m, ids in enumerate(lists):
        known = torch.zeros_like(ids, dtype=torch.bool)
        for earlier in lists[:m]:
            known |= places_in(ids, earlier) < torch.inf
        columns.append(ids.masked_fill(known, 0))
    items = torch.cat(columns, dim=1)
    scores = torch.zeros(items.shape, device=items.device)
    for ids in lists:
        scores += places_in(items, ids).clamp(max=unlisted).pow(-exponent) - unlisted**-exponent
    order = scores.masked_fill_(items == 0, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    return items.gather(1, order[:, :n])
