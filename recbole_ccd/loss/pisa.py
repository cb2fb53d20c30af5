"""PISA: how far a user's interests have moved, and keeping near one reference or another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def interests(users: Tensor, centers: Tensor, temperature: float) -> Tensor:
    r"""How each user's interest is shared out among clusters of items.

    .. math:: p_{uc} = \mathrm{softmax}_c \bigl( \cos(e_u, \mu_c) / \tau \bigr)

    Args:
        users: (B, d) embeddings of users.
        centers: (C, d) centres of the clusters.
        temperature: the :math:`\tau` above.

    Returns:
        (B, C) probabilities; each row sums to 1.
    """
    return torch.softmax(_cosines(users, centers) / temperature, dim=1)


def interest_shift(before: Tensor, now: Tensor) -> Tensor:
    r"""Jensen-Shannon divergence of each user's interests now from those before.

    .. math:: \tfrac{1}{2} \mathrm{KL}(p \Vert m) + \tfrac{1}{2} \mathrm{KL}(q \Vert m), \qquad
              m = \tfrac{1}{2} (p + q)

    Source: the measure of a shift of preferences in PISA, Yoo, Kang et al., SIGIR 2025.

    Args:
        before: (B, C) probabilities p.
        now: (B, C) probabilities q.

    Returns:
        (B,) from 0 to log 2.
    """
    mean = (before + now) / 2
    parts = (torch.xlogy(p, p) - torch.xlogy(p, mean) for p in (before, now))
    return sum(parts, start=torch.zeros_like(mean)).sum(dim=1) / 2


def info_nce(live: Tensor, references: Tensor, targets: Tensor, temperature: float) -> Tensor:
    r"""How well each vector finds its reference among all of them.

    .. math:: \ell_n = -\log \frac{\exp(\cos(e_n, r_{t(n)}) / \tau)}{\sum_m \exp(\cos(e_n, r_m) / \tau)}

    Source: InfoNCE, van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018,
    as PISA, Yoo, Kang et al., SIGIR 2025, has it.

    Args:
        live: (B, d) vectors.
        references: (C, d) constants.
        targets: (B,) place of the reference of each vector, in [0, C).
        temperature: the :math:`\tau` above.

    Returns:
        (B,) losses.
    """
    agreement = _cosines(live, references.detach()) / temperature
    return agreement.logsumexp(dim=1) - agreement.gather(1, targets[:, None]).squeeze(1)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    return normalize(one, dim=1) @ normalize(other, dim=1).T
