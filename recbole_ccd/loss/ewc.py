"""Elastic weight consolidation: what each parameter has mattered for, and how far it has moved since."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_gradients(
    losses: Tensor, parameters: Sequence[Tensor], generator: torch.Generator | None
) -> list[Tensor]:
    r"""Estimates, for each parameter, the sum over samples of the squared gradient of a sample's loss.

    With independent random signs :math:`z_n`

    .. math:: \mathrm{E} \Bigl( \frac{\partial}{\partial\theta} \sum_n z_n \ell_n \Bigr)^2
              = \sum_n \Bigl( \frac{\partial \ell_n}{\partial\theta} \Bigr)^2 ,

    so that one backward pass serves all samples of a batch. Of one sample, and wherever no two samples reach
    the same parameter, it is exact.

    Source: the diagonal of the empirical Fisher information in elastic weight consolidation, Kirkpatrick et
    al., PNAS 2017; random signs as of Hutchinson's estimator of a trace.

    Args:
        losses: shape ``(B,)``, negative log-likelihoods, one per sample.
        parameters: tensors that they depend on, or not.
        generator: source of the signs; None makes all of them positive.

    Returns:
        A tensor of the shape of each parameter.
    """
    signs = torch.ones(len(losses))
    if generator is not None:
        signs -= 2.0 * torch.randint(2, (len(losses),), generator=generator)
    found = torch.autograd.grad(losses @ signs.to(losses), list(parameters), allow_unused=True)
    return [
        torch.zeros_like(value) if gradient is None else gradient.square()
        for value, gradient in zip(parameters, found, strict=True)
    ]


def anchored_penalty(
    parameters: Sequence[Tensor], anchors: Sequence[Tensor], importances: Sequence[Tensor]
) -> Tensor:
    r"""Squared distance of parameters from what they were, weighed by their importance.

    .. math:: \frac{1}{2} \sum_i F_i (\theta_i - \theta^*_i)^2

    over the entries of the anchors: a parameter that has grown since is held in its leading corner.

    Source: elastic weight consolidation, Kirkpatrick et al., PNAS 2017, eq. 3.

    Args:
        parameters: live tensors.
        anchors: their earlier values, of the same or smaller shapes; constants.
        importances: the :math:`F` of each entry of the anchors.

    Returns:
        Scalar.
    """
    terms = [
        (importance * (now[tuple(slice(0, size) for size in anchor.shape)] - anchor).square()).sum()
        for now, anchor, importance in zip(parameters, anchors, importances, strict=True)
    ]
    return 0.5 * torch.stack(terms).sum()
