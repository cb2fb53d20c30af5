"""Alignment of how student and teacher answer to a change of their input."""

import torch
from torch import Tensor


def response_alignment(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    r"""Squared difference of two answers to the same change, item by item of a list.

    .. math:: L_u = \frac{1}{K} \sum_{r=1}^{K} (\Delta^S_r - \Delta^T_r)^2

    with the change :math:`\Delta` of the score of the item at place r.

    Source: KDIGA, Shao et al., "How and When Adversarial Robustness Transfers in Knowledge Distillation?",
    2021 (arXiv 2110.12072), which aligns gradients by the input; finite differences in their place as in
    IGDM, Lee et al., ICLR 2025 (arXiv 2312.03286).

    Args:
        student: (B, K) changes of the student's scores.
        teacher: (B, K) changes of the teacher's, at the student's scale.
        valid: (B, K) bool, False on the padding, which K does not count.

    Returns:
        (B,) losses; 0 for a fully padded row.

    Raises:
        ValueError: If the shapes differ.
    """
    if not student.shape == teacher.shape == valid.shape:
        raise ValueError(
            f"changes {tuple(student.shape)} and {tuple(teacher.shape)} differ in shape, or from valid "
            f"{tuple(valid.shape)}"
        )
    squares = (student - teacher.detach()).square().masked_fill(~valid, 0.0)
    return squares.sum(dim=1) / valid.sum(dim=1).clamp(min=1)


def deviation(scores: Tensor, valid: Tensor) -> Tensor:
    """The standard deviation of all scores of all lists, by which models of different scales are compared.

    Args:
        scores: (B, K) scores.
        valid: (B, K) bool, False on the padding.

    Returns:
        A scalar; 0 where nothing is listed.
    """
    listed = scores[valid]
    return listed.std(correction=0) if len(listed) else torch.zeros((), device=scores.device)
