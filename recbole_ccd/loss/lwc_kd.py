"""Layer-wise contrastive distillation (LWC-KD): stay close to what was near before the update."""

import torch
from torch import Tensor


def contrastive_loss(
    anchors: Tensor,
    candidates: Tensor,
    rows: Tensor,
    cols: Tensor,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Contrast frozen anchors with live candidates.

    For an anchor with the positives :math:`N`, frozen embedding :math:`h` and live candidates :math:`e_j`

    .. math:: \ell = -\frac{1}{|N|} \sum_{p \in N} \log \mathrm{softmax}_p(h \cdot e_j / \tau)
                   = \log\sum_j e^{h \cdot e_j / \tau} - \frac{1}{|N|} \sum_{p \in N} h \cdot e_p / \tau .

    The terms user-item, item-user, user-user and item-item of LWC-KD are this one function; so are its layers.

    Source: LWC-KD, Wang et al., "Graph Structure Aware Contrastive Knowledge Distillation for Incremental
    Learning in Recommender Systems", CIKM 2021; ``weights`` from PIW, Wang et al., AAAI 2023.

    Args:
        anchors: (B, d) embeddings before the update; taken as constants.
        candidates: (N, d) live embeddings. Every row takes part in the softmax: leave [PAD] out.
        rows: (P,) anchor of each positive pair, in [0, B).
        cols: (P,) candidate of each positive pair, in [0, N). A repeated pair counts twice.
        temperature: The :math:`\tau` above.
        weights: (B,) weight of each anchor, or None for 1.

    Returns:
        Scalar: sum of weight times loss over the anchors that have positives, divided by their number; 0, with a
        gradient, when there is none.

    Raises:
        ValueError: If the temperature is not positive or the shapes do not agree.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if anchors.shape[1:] != candidates.shape[1:] or rows.shape != cols.shape:
        raise ValueError(
            f"anchors {tuple(anchors.shape)} do not fit candidates {tuple(candidates.shape)}, or "
            f"rows {tuple(rows.shape)} columns {tuple(cols.shape)}"
        )
    counts = torch.bincount(rows, minlength=anchors.shape[0])
    active = counts.nonzero().squeeze(1)
    if active.numel() == 0:
        return candidates.sum() * 0.0
    scaled = anchors.detach() / temperature
    agreement = (scaled[rows] * candidates[cols]).sum(1) / counts[rows]
    agreement = agreement.new_zeros(anchors.shape[0]).index_add(0, rows, agreement)
    losses = torch.logsumexp(scaled[active] @ candidates.T, dim=1) - agreement[active]
    if weights is not None:
        losses = losses * weights[active]
    return losses.sum() / active.numel()
