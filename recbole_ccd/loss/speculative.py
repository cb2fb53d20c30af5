"""Speculative distillation: what the student proposes, the teacher verifies and replaces."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import in_order_of, places_in


def verified(proposals: Tensor, lists: Tensor, accept_rank: int) -> Tensor:
    """Which of the student's proposals the teacher accepts: those at its first places.

    Source: SKD, Xu et al., "Speculative Knowledge Distillation", ICLR 2025 (arXiv 2410.11325), where a token
    is accepted if it is among the teacher's top K.

    Args:
        proposals: (B, n) item ids, padded with 0.
        lists: (B, K) item ids in the teacher's order, padded with 0.
        accept_rank: how many places accept.

    Returns:
        (B, n) bool; False on the padding.
    """
    return places_in(proposals, lists) <= accept_rank


def finished_lists(proposals: Tensor, accepted: Tensor, replacements: Tensor, lists: Tensor) -> Tensor:
    """The accepted proposals and as many replacements as were rejected, in the teacher's order.

    Source: SKD, Xu et al., ICLR 2025. All proposals are made before the first replacement, which is ours: a
    replacement displaces no later proposal.

    Args:
        proposals: (B, n) item ids, padded with 0.
        accepted: (B, n) bool, as :func:`verified` gives it.
        replacements: (B, n) other item ids, those to be taken first in front, padded with 0.
        lists: (B, K) item ids in the teacher's order, padded with 0.

    Returns:
        (B, n) item ids, padded with 0; shorter than the proposals where replacements run out.
    """
    rejected = (~accepted & (proposals > 0)).sum(1, keepdim=True)
    order = torch.arange(replacements.shape[1], device=replacements.device)
    taken = replacements.masked_fill(order >= rejected, 0)
    whole = torch.cat([proposals.masked_fill(~accepted, 0), taken], dim=1)
    return in_order_of(whole, lists)[:, : proposals.shape[1]]
