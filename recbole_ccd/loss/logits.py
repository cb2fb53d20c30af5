"""Distillation of logits: the student's scores are those of the teacher on a scale that is learned."""

from __future__ import annotations

from torch import Tensor


def logit_distance(scores: Tensor, teacher: Tensor, valid: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    r"""Squared distance of scores from the teacher's, shifted and scaled.

    .. math:: L = \sum_{r} \bigl( s_r - (m + c \, t_r) \bigr)^2

    Source: the distillation of KD-DAGFM, Tian et al., "Directed Acyclic Graph Factorization Machines for CTR
    Prediction via Knowledge Distillation", WSDM 2023 (arXiv 2211.11159), where both have logits; shift m and
    scale c are ours, as places have none.

    Args:
        scores: (B, K) the student's scores of the listed items.
        teacher: (K,) or (B, K) the teacher's scores of them, taken as constants.
        valid: (B, K) bool, False on the padding.
        shift: the m above, a scalar.
        scale: the c above, a scalar.

    Returns:
        (B,) losses; 0 for a fully padded row.

    Raises:
        ValueError: If the shapes do not agree.
    """
    if scores.shape != valid.shape or teacher.shape[-1:] != scores.shape[1:]:
        raise ValueError(
            f"scores {tuple(scores.shape)}, teacher {tuple(teacher.shape)} and valid {tuple(valid.shape)} "
            "do not fit"
        )
    distance = scores - (shift + scale * teacher.detach())
    return distance.square().masked_fill(~valid, 0.0).sum(1)
