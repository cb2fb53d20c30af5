"""Soft targets over the teacher's list: what a place is worth, and the student's softmax against it."""

import torch
from torch import Tensor

from recbole_ccd.loss.collaborative import places_in


def place_scores(places: Tensor) -> Tensor:
    r"""Scores of the places of a ranking, :math:`t_r = -\log r`.

    The teacher of CCD scores by :math:`r^{-p}` with :math:`p = 0.05`, too flat for a soft target: the first
    and the fortieth item differ by a sixth. Its logarithm is :math:`-p \log r`; the form used here, which is
    ours, takes p out, so that a temperature T decides on the contrast alone: :math:`e^{t_r / T} =
    r^{-1/T}`, the teacher's own score with :math:`1/T` for its exponent.

    Source: the ensemble of CCD, Lee et al., KDD 2024 (arXiv 2405.19046).

    Args:
        places: places from 1; infinity for what is not in the ranking.

    Returns:
        Scores of the same shape, 0 for the first place and ``-inf`` for infinity.
    """
    return -torch.log(places)


def listed_scores(items: Tensor, lists: Tensor) -> Tensor:
    r"""Scores of items by their place in the teacher's lists, those outside by a floor.

    .. math:: t_i = -\log r_i, \qquad t_i = -\log 2K \text{ outside a list of length } K

    What a teacher says of items beyond its list is not known; that it is twice the list's length is ours.

    Source: ours; see :func:`place_scores`.

    Args:
        items: (B, n) item ids.
        lists: (B, K) item ids in the teacher's order, padded with 0.

    Returns:
        (B, n) float32 scores.
    """
    return place_scores(places_in(items, lists).clamp(max=2.0 * max(lists.shape[1], 1)))


def soft_target_kl(student: Tensor, teacher: Tensor, valid: Tensor, temperature: float) -> Tensor:
    r"""Divergence of the student's tempered softmax over a list from the teacher's.

    .. math:: L = T^2 \sum_{r} p_r \log \frac{p_r}{q_r}, \qquad p = \mathrm{softmax}(t / T), \quad
              q = \mathrm{softmax}(s / T)

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531),
    with the items of a list for classes; :math:`T^2` keeps the gradient's size when T changes.

    Args:
        student: (B, K) scores of the listed items.
        teacher: (B, K) or (K,) the teacher's scores, taken as constants.
        valid: (B, K) bool, False on the padding.
        temperature: the T above.

    Returns:
        (B,) losses; 0 for a fully padded row.

    Raises:
        ValueError: If the temperature is not positive or the shapes do not agree.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    log_p = _log_softmax(_like(teacher, student, valid) / temperature, valid)
    log_q = _log_softmax(student / temperature, valid)
    terms = (log_p.exp() * (log_p - log_q)).masked_fill(~valid, 0.0)
    return temperature**2 * terms.sum(1)


def top_one_cross_entropy(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    r"""Cross-entropy of the probabilities that an item of a list is its best one (ListNet).

    .. math:: L = -\sum_{r} \mathrm{softmax}_r(t) \log \mathrm{softmax}_r(s)

    Its gradient is that of :func:`soft_target_kl` at temperature 1.

    Source: Cao, Qin, Liu, Tsai, Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML
    2007, with the exponential for the paper's increasing function.

    Args:
        student: (B, K) scores of the listed items.
        teacher: (B, K) or (K,) the teacher's scores, taken as constants.
        valid: (B, K) bool, False on the padding.

    Returns:
        (B,) losses; 0 for a fully padded row.

    Raises:
        ValueError: If the shapes do not agree.
    """
    p = _log_softmax(_like(teacher, student, valid), valid).exp()
    return -(p * _log_softmax(student, valid)).masked_fill(~valid, 0.0).sum(1)


def _like(teacher: Tensor, student: Tensor, valid: Tensor) -> Tensor:
    """The teacher's scores as constants, in the shape of the student's."""
    if student.dim() != 2 or student.shape != valid.shape or teacher.shape[-1:] != student.shape[1:]:
        raise ValueError(
            f"expected (B, K) scores, got {tuple(student.shape)} of the student, {tuple(teacher.shape)} of "
            f"the teacher and {tuple(valid.shape)} valid"
        )
    return teacher.detach().expand_as(student)


def _log_softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """Log-softmax of each row over its valid entries; finite, so that gradients are, on the others too."""
    # half of the lowest number: less than that still has room for the subtracted log-sum-exp
    lowest = torch.finfo(scores.dtype).min / 2
    return scores.masked_fill(~valid, lowest).log_softmax(dim=1)
