"""Collaborative distillation (CD): soft labels for items drawn by their rank."""

import torch
from torch import Tensor
from torch.nn import functional


def collaborative_loss(scores: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    r"""Binary cross-entropy of the student's scores with the teacher's soft labels, summed per row.

    .. math:: L = -\sum_{i} \bigl[ y_i \log\sigma(s_i) + (1 - y_i) \log(1 - \sigma(s_i)) \bigr]

    over the items drawn for a user. The paper takes the label :math:`y_i` from the teacher's score of the
    item; a teacher that scores by ranks has no probability to offer, so the labels are given here.

    Source: CD, Lee, Choi, Lee, Shim, "Collaborative Distillation for Top-N Recommendation", ICDM 2019.

    Args:
        scores: (B, n) scores before the sigmoid.
        labels: (B, n) labels in [0, 1].
        valid: (B, n) bool, False on the padding.

    Returns:
        (B,) losses; 0 for a fully padded row.

    Raises:
        ValueError: If the shapes differ.
    """
    if not scores.shape == labels.shape == valid.shape:
        raise ValueError(
            f"scores {tuple(scores.shape)}, labels {tuple(labels.shape)} and valid {tuple(valid.shape)} "
            "differ in shape"
        )
    losses = functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    return losses.masked_fill(~valid, 0.0).sum(1)


def places_in(items: Tensor, lists: Tensor) -> Tensor:
    """Place of items in their row's list.

    Args:
        items: (B, n) item ids.
        lists: (B, K) item ids, each once, padded with 0.

    Returns:
        (B, n) float32 places from 1; infinity for an item that is not in the list, and for id 0.
    """
    if not lists.shape[1]:
        return torch.full(items.shape, torch.inf, device=items.device)
    ids, order = lists.sort(dim=1)
    at = torch.searchsorted(ids, items).clamp_(max=lists.shape[1] - 1)
    absent = (ids.gather(1, at) != items) | (items == 0)
    return (order.gather(1, at) + 1.0).masked_fill_(absent, torch.inf)


def in_order_of(items: Tensor, lists: Tensor) -> Tensor:
    """Items in the order of their row's list.

    Args:
        items: (B, n) item ids, padded with 0 anywhere.
        lists: (B, K) item ids, each once, padded with 0.

    Returns:
        (B, n) those in the list, by place, then those that are not, and the padding last.
    """
    places = places_in(items, lists)
    # what is in no list comes before the padding
    places = torch.where(torch.isinf(places) & (items > 0), lists.shape[1] + 1.0, places)
    return items.gather(1, places.argsort(dim=1, stable=True))


def best_places(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    r"""Items that teacher or student rank high, and the better of the two ranks.

    With a draw of probability :math:`\propto e^{-r / \lambda}`, the teacher's rank r alone gives the paper's
    rank-aware sampling. With :math:`r = \min(r_T, r_S)` items that the student ranks higher than the teacher
    become likelier, which is the aim of its student-guided training; that the minimum does this is ours, and
    needs no rank beyond the two lists.

    Source: CD, Lee et al., ICDM 2019.

    Args:
        teacher: (B, K) item ids in the teacher's order, padded with 0.
        student: (B, K') item ids in the student's order, padded with 0.

    Returns:
        (B, K + K') items, each once, padded with 0, and their float32 ranks, infinite on the padding.
    """
    items = torch.cat([teacher, student.masked_fill(places_in(student, teacher) < torch.inf, 0)], dim=1)
    return items, torch.minimum(places_in(items, teacher), places_in(items, student))
