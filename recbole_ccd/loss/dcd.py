"""DCD: which entities the student ranks too low, and which too high."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in


def too_low(lists: Tensor, other: Tensor, slope: float) -> Tensor:
    r"""Weights of a list's entries by how far below their place another list has them.

    .. math:: w_i = \tanh\bigl(\mu \max(0, r'_i - r_i)\bigr)

    with the places r in the list and r' in the other one, where an entry that is missing counts as being at
    twice the other list's length. Of the teacher's list against the student's these are weights of what the
    student underestimates; of the student's against the teacher's, of what it overestimates.

    Source: DCD, Lee & Kim, "Dual Correction Strategy for Ranking Distillation in Top-N Recommender System",
    CIKM 2021 (arXiv 2109.03459), which knows all ranks; those of missing entries are ours.

    Args:
        lists: (B, K) ids, each once, padded with 0 at the end.
        other: (B, K') ids, each once, padded with 0 at the end.
        slope: the :math:`\mu` above.

    Returns:
        (B, K) weights in [0, 1); 0 on the padding.
    """
    places = torch.arange(1, lists.shape[1] + 1, dtype=torch.float32, device=lists.device)
    others = places_in(lists, other).clamp(max=2.0 * other.shape[1])
    weights = torch.tanh(slope * (others - places).clamp(min=0))
    return weights.masked_fill(lists == 0, 0.0)
