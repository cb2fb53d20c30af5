"""Ranking distillation (RD): the teacher's top items as positives, weighted by place and by error."""

import torch
from torch import Tensor
from torch.nn import functional


def estimated_ranks(scores: Tensor, sampled: Tensor, usable: Tensor, n_candidates: Tensor) -> Tensor:
    r"""Ranks of some items, estimated from those of a sample that score higher.

    .. math:: \hat r_i = 1 + \Bigl\lfloor \frac{n_i (N - 1)}{\epsilon} \Bigr\rfloor

    where :math:`n_i` of the :math:`\epsilon` sampled candidates score higher than i, out of N.

    Source: RD, Tang & Wang, "Ranking Distillation: Learning Compact Ranking Models With High Performance for
    Recommender System", KDD 2018. Sampled items that are no candidates of a row are left out, which is ours.

    Args:
        scores: (B, K) scores of the items.
        sampled: (B, n) scores of sampled items.
        usable: (B, n) bool, False on sampled items that are no candidates of the row.
        n_candidates: (B,) the N above, of each row.

    Returns:
        (B, K) float32 ranks from 1, without gradient; 1 in a row without usable samples.
    """
    compared = sampled.detach().masked_fill(~usable, -torch.inf).sort(dim=1).values
    not_higher = torch.searchsorted(compared, scores.detach().contiguous(), right=True)
    higher = sampled.shape[1] - not_higher
    size = usable.sum(dim=1).clamp(min=1)
    others = (n_candidates - 1).clamp(min=0)
    return (1 + torch.div(higher * others[:, None], size[:, None], rounding_mode="floor")).float()


def ranking_weights(ranks: Tensor, valid: Tensor, decay: float, slope: float) -> Tensor:
    r"""Weights of the teacher's items by their place and by how far below it the student ranks them.

    .. math:: w_r \propto e^{-r / \lambda} \, \tanh\bigl(\mu \max(0, \hat r_r - r)\bigr), \qquad
              \sum_r w_r = 1

    Source: the hybrid weights of RD, Tang & Wang, KDD 2018.

    Args:
        ranks: (B, K) the student's ranks :math:`\hat r` of the items at places r = 1 … K.
        valid: (B, K) bool, False on the padding.
        decay: the :math:`\lambda` above.
        slope: the :math:`\mu` above.

    Returns:
        (B, K) weights; 0 throughout a row in which no item is ranked too low.

    Raises:
        ValueError: If the decay is not positive or the shapes differ.
    """
    if decay <= 0:
        raise ValueError(f"decay must be positive, got {decay}")
    _check_same_shape(ranks, valid)
    places = torch.arange(1, ranks.shape[1] + 1, dtype=ranks.dtype, device=ranks.device)
    weights = torch.exp(-places / decay) * torch.tanh(slope * (ranks - places).clamp(min=0))
    weights = weights.masked_fill(~valid, 0.0)
    return weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def ranking_distillation(scores: Tensor, weights: Tensor) -> Tensor:
    r"""Log-loss of the teacher's items as positives.

    .. math:: L = -\sum_{r} w_r \log \sigma(s_r)

    Source: RD, Tang & Wang, KDD 2018.

    Args:
        scores: (B, K) the student's scores of the teacher's items.
        weights: (B, K) as :func:`ranking_weights` gives them, taken as constants.

    Returns:
        (B,) losses.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_same_shape(scores, weights)
    return -(weights.detach() * functional.logsigmoid(scores)).sum(1)


def _check_same_shape(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(f"shapes {tuple(first.shape)} and {tuple(second.shape)} differ")
