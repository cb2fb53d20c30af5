"""Mixtures of two users: what the teacher's list of a mixture is."""

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in
from recbole_ccd.loss.soft_targets import place_scores


def mixed_lists(first: Tensor, second: Tensor, shares: Tensor) -> Tensor:
    r"""The teacher's list of a mixture of two users.

    .. math:: \tilde t(j) = \lambda t_u(j) + (1 - \lambda) t_v(j), \qquad t_u(j) = -\log r_u(j)

    over the items in either list, an item outside one of them having :math:`-\log 2K` there. The K highest
    are the list. A teacher that scores linearly in the user ranks the mixed input in this very order.

    Source: the teacher on mixed inputs, Wang et al., "Knowledge Distillation Thrives on Data Augmentation",
    2020 (arXiv 2012.02909); mixing users by the places of their items is ours.

    Args:
        first: (B, K) item ids in the teacher's order for u, padded with 0 at the end.
        second: (B, K) the same for v.
        shares: (B,) the :math:`\lambda` above, from 0 to 1.

    Returns:
        (B, K) item ids, best first, 0-padded; of equal ones those of u come first. Who has no share adds no
        item.

    Raises:
        ValueError: If the shapes do not agree.
    """
    if first.shape != second.shape or shares.shape != first.shape[:1]:
        raise ValueError(
            f"lists {tuple(first.shape)} and {tuple(second.shape)} with {tuple(shares.shape)} shares"
        )
    n = first.shape[1]
    items = torch.cat([first, second.masked_fill(places_in(second, first) < torch.inf, 0)], dim=1)
    total = torch.zeros(items.shape, device=items.device)
    listed = torch.zeros_like(items, dtype=torch.bool)
    outside = 2.0 * max(n, 1)
    for lists, share in ((first, shares), (second, 1 - shares)):
        places = places_in(items, lists)
        listed |= (places < torch.inf) & (share > 0)[:, None]
        total += share[:, None] * place_scores(places.clamp(max=outside))
    order = total.masked_fill_(~listed, -torch.inf).sort(dim=1, descending=True, stable=True).indices[:, :n]
    return items.gather(1, order).masked_fill_(~listed.gather(1, order), 0)
