"""Relative difficulty: how much an interaction weighs by who finds it hard."""

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float32).tiny


def agreement_weights(ranks: Tensor) -> Tensor:
    r"""Weights of interactions by how far the teacher's members agree about them.

    .. math:: w = \frac{\min_m r_m}{\max_m r_m} = e^{-(\max_m \ln r_m - \min_m \ln r_m)} \in (0, 1]

    Source: the first phase of RDD, Liang et al., "Relative Difficulty Distillation for Semantic
    Segmentation", SCIS 2024 (arXiv 2407.03719), where two classifiers of the teacher agree by
    :math:`e^{-\mathrm{KL}}`; members and ranks for classifiers and probabilities are ours.

    Args:
        ranks: (n, M) rank from 1 of each interaction's item by each member.

    Returns:
        (n,) float32 weights; 1 throughout for a single member.
    """
    ranks = ranks.float()
    return ranks.amin(dim=1) / ranks.amax(dim=1)


def mean_ranks(ranks: Tensor) -> Tensor:
    r"""The teacher's rank of each interaction's item, :math:`\exp(\frac{1}{M} \sum_m \ln r_m)`.

    Args:
        ranks: (n, M) ranks from 1.

    Returns:
        (n,) float32 ranks.
    """
    return ranks.float().log().mean(dim=1).exp()


def difference_weights(teacher: Tensor, student: Tensor, hard_from: float, floor: float) -> Tensor:
    r"""Weights of interactions by whether they are hard for exactly one of teacher and student.

    .. math:: w = \begin{cases} 1 & [r_T > \kappa] \ne [r_S > \kappa] \\ \mathrm{floor} & \text{else}
              \end{cases}

    Source: the second phase of RDD, Liang et al., 2024, where a pixel is hard by the probability of its
    class; ranks, and the floor, are ours.

    Args:
        teacher: (n,) the teacher's ranks.
        student: (n,) the student's ranks.
        hard_from: the :math:`\kappa` above, the last rank that is easy.
        floor: the weight of all others, from 0 to 1.

    Returns:
        (n,) float32 weights.
    """
    differ = (teacher > hard_from) != (student > hard_from)
    return torch.where(differ, 1.0, floor)


def with_mean_one(weights: Tensor) -> Tensor:
    """Weights divided by their mean, so that the size of a weighted mean stays.

    Args:
        weights: (n,) weights from 0.

    Returns:
        (n,) weights; equal ones, of 0 as well, give exactly 1.
    """
    # of ones the mean is exact, of any other number it need not be
    relative = torch.where(weights.max() > 0, weights / weights.max().clamp(min=_TINY), 1.0)
    return relative / relative.mean()
