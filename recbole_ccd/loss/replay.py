"""Replay of forgotten pairs with soft labels."""

import math

from torch import Tensor
from torch.nn import functional


def replay_loss(scores: Tensor, labels: Tensor) -> Tensor:
    r"""Binary cross-entropy of live scores with the proxies' soft labels.

    .. math:: L = -\sum_{(u,i)} \bigl[ y_{ui} \log\sigma(s_{ui}) +
              (1 - y_{ui}) \log(1 - \sigma(s_{ui})) \bigr]

    Source: proxy-guided replay of CCD, Lee et al., KDD 2024 (arXiv 2405.19046).

    Args:
        scores: (P,) scores, before the sigmoid, of the replayed pairs.
        labels: (P,) labels in [0, 1], the proxies' :math:`\sigma(s)`.

    Returns:
        Scalar sum over the pairs; 0 when there is none.

    Raises:
        ValueError: If the shapes differ.
    """
    if scores.shape != labels.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} differ in shape")
    return functional.binary_cross_entropy_with_logits(scores, labels, reduction="sum")


def annealed(weight: float, epoch: int, decay: float | None) -> float:
    r"""Weight of the replay loss in an epoch, :math:`\lambda e^{-t / \tau}`.

    Source: CCD, Lee et al., KDD 2024 (arXiv 2405.19046).

    Args:
        weight: weight :math:`\lambda` in epoch 0.
        epoch: epoch t, from 0.
        decay: time constant :math:`\tau` in epochs; None keeps the weight.

    Returns:
        The weight.

    Raises:
        ValueError: If ``decay`` is not positive.
    """
    if decay is None:
        return weight
    if decay <= 0:
        raise ValueError(f"decay must be positive, got {decay}")
    return weight * math.exp(-epoch / decay)


def adaptive_weight(n_old_items: int, n_items: int, n_exemplars: int, n_rows: int) -> float:
    r"""How much distillation on exemplars counts beside what is new.

    .. math:: \sqrt{\frac{|I_{k-1}|}{|I_k|} \cdot \frac{|E_{k-1}|}{|D_k|}}

    Source: ADER, Mi, Lin, Faltings, RecSys 2020.

    Args:
        n_old_items: items known before the block.
        n_items: items known with it.
        n_exemplars: past interactions that are stored.
        n_rows: interactions of the block.

    Returns:
        The factor; 0 without exemplars.

    Raises:
        ValueError: If there are no items or no rows.
    """
    if n_items <= 0 or n_rows <= 0:
        raise ValueError(f"{n_items} items and {n_rows} rows; there must be some")
    return math.sqrt(n_old_items / n_items * n_exemplars / n_rows)
