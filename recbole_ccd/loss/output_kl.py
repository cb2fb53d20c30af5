"""Keep a model's outputs where they were: divergences between frozen and live scores."""

import torch
from torch import Tensor
from torch.nn import functional


def output_kl(frozen_scores: Tensor, live_scores: Tensor) -> Tensor:
    r"""Divergence of the live output distribution over items from the frozen one.

    .. math:: \frac{1}{B} \sum_u \mathrm{KL}\bigl(\mathrm{softmax}(f_u) \,\Vert\, \mathrm{softmax}(s_u)\bigr)

    Source: the continual-learning loss of the VAE members of the teacher in CCD, Lee et al., KDD 2024
    (arXiv 2405.19046).

    Args:
        frozen_scores: (B, n) scores before the update, taken as constants. An item at ``-inf`` has
            probability 0 and does not count.
        live_scores: (B, n) live scores of the same items; at ``-inf`` where the frozen ones are, if the
            distributions are to be of some items alone.

    Returns:
        Scalar, mean over the rows; 0 for an empty batch.

    Raises:
        ValueError: If the shapes differ.
    """
    _check(frozen_scores, live_scores)
    log_frozen = torch.log_softmax(frozen_scores.detach(), dim=1)
    frozen = log_frozen.exp()
    absent = frozen == 0
    entropy = (frozen * log_frozen.masked_fill(absent, 0.0)).sum(1)
    expected = (frozen * live_scores.masked_fill(absent, 0.0)).sum(1)
    rows = entropy - expected + torch.logsumexp(live_scores, dim=1)
    return rows.sum() / max(rows.numel(), 1)


def pairwise_kl(frozen: Tensor, live: Tensor) -> Tensor:
    r"""Bernoulli divergence of live pair scores from frozen ones.

    .. math:: \frac{1}{P} \sum_p \Bigl[ y_p \log\frac{y_p}{\sigma(s_p)} +
              (1 - y_p) \log\frac{1 - y_p}{1 - \sigma(s_p)} \Bigr], \qquad y_p = \sigma(f_p)

    The counterpart of :func:`output_kl` for teacher members that score single pairs.

    Args:
        frozen: (P,) scores of the pairs before the update, taken as constants.
        live: (P,) live scores.

    Returns:
        Scalar, mean over the pairs; 0 when there is none.

    Raises:
        ValueError: If the shapes differ.
    """
    _check(frozen, live)
    frozen = frozen.detach()
    yes, no = torch.sigmoid(frozen), torch.sigmoid(-frozen)
    positive = yes * (functional.logsigmoid(frozen) - functional.logsigmoid(live))
    negative = no * (functional.logsigmoid(-frozen) - functional.logsigmoid(-live))
    return (positive + negative).sum() / max(live.numel(), 1)


def _check(frozen: Tensor, live: Tensor) -> None:
    if frozen.shape != live.shape:
        raise ValueError(f"frozen scores {tuple(frozen.shape)} and live scores {tuple(live.shape)}")
