"""Stability and plasticity proxies: frozen moving averages of the distilled students (CCD)."""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.model.duplicate import duplicate
from recbole_ccd.model.lightgcn import LightGCN


def update_proxy(
    proxy: GeneralRecommender, student: GeneralRecommender, keep: float, of_predictions: bool = False
) -> GeneralRecommender:
    """Moves a proxy towards the newly distilled student.

    On the shared prefix ``proxy ← keep·proxy + (1 - keep)·student``; rows the proxy does not have yet
    are the student's.

    Args:
        proxy: the proxy of the block before; at the first one that is the distilled student.
        student: the distilled student, of the same or a larger prefix; left as it is.
        keep: the share that stays; near 1 for stability, near 0 for plasticity.
        of_predictions: whether the average of a LightGCN is of final embeddings (``growth: predictions``),
            since the own ones of the proxy are meant for another graph than the student's.

    Returns:
        A frozen model of the student's size, with the student's graph.
    """
    moved = duplicate(student).requires_grad_(False).eval()
    if of_predictions and isinstance(moved, LightGCN):
        _average_predictions(moved, proxy, keep)
        return moved
    state = moved.state_dict()
    with torch.no_grad():
        for name, old in proxy.state_dict().items():
            if old.is_floating_point():
                shared = state[name][tuple(slice(0, size) for size in old.shape)]
                shared.mul_(1 - keep).add_(old, alpha=keep)
    return moved


@torch.no_grad()
def _average_predictions(moved: LightGCN, proxy: LightGCN, keep: float) -> None:
    finals = moved()
    for new, old in zip(finals, proxy(), strict=True):
        new[: len(old)].mul_(1 - keep).add_(old, alpha=keep)
    for table, own in zip((moved.user_embedding, moved.item_embedding), moved.own_of(*finals), strict=True):
        table.weight.copy_(own)
