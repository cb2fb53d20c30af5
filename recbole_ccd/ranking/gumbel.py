"""Draws of items without replacement: of given weights, or by where two models rank them."""

import torch
from torch import Tensor


def weighted_top_k(log_weights: Tensor, items: Tensor, n: int, generator: torch.Generator) -> Tensor:
    r"""Draw n items per row without replacement.

    An item is drawn with probability proportional to its weight, then the next among the rest, and so on. The
    top n of the log-weights plus Gumbel noise have exactly this distribution.

    Source: Gumbel top-k, Kool et al., "Stochastic Beams and Where to Find Them", ICML 2019.

    Args:
        log_weights: (B, A) logarithms of the weights, up to a constant per row.
        items: (B, A) candidate ids, padded with 0; the padding is never drawn.
        n: number of draws per row.
        generator: source of the noise.

    Returns:
        (B, n) item ids; 0 fills up the rows with fewer than n candidates.

    Raises:
        ValueError: If n is negative or the shapes differ.
    """
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    if log_weights.shape != items.shape:
        raise ValueError(f"weights {tuple(log_weights.shape)}, items {tuple(items.shape)}")
    drawn = items.new_zeros(items.shape[0], n)
    taken = min(n, items.shape[1])
    if taken == 0:
        return drawn
    noise = torch.empty(items.shape, dtype=torch.float32, device=generator.device)
    gumbel = noise.exponential_(generator=generator).log_().neg_().to(items.device)
    keys = gumbel + log_weights
    keys.masked_fill_(items == 0, -torch.inf)
    # The padding has the lowest keys and the id 0: where it is taken, it is the padding of the result.
    drawn[:, :taken] = items.gather(1, keys.topk(taken, dim=1).indices)
    return drawn


def gumbel_top_k(
    rank_now: Tensor,
    rank_proxy: Tensor,
    items: Tensor,
    n: int,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    r"""Draw n items per row without replacement, forgotten ones more likely.

    An item is drawn by :func:`weighted_top_k` with weight :math:`e^{\varepsilon (r_{now} - r_{proxy})}`.

    Source: proxy-guided replay of CCD, Lee et al., KDD 2024 (arXiv 2405.19046).

    Args:
        rank_now: (B, A) ranks of the items in the live model.
        rank_proxy: (B, A) ranks of the items in the proxy.
        items: (B, A) candidate ids, padded with 0; the padding is never drawn.
        n: number of draws per row.
        temperature: the :math:`\varepsilon` above.
        generator: source of the noise.

    Returns:
        (B, n) item ids; 0 fills up the rows with fewer than n candidates.

    Raises:
        ValueError: If n is negative or the shapes differ.
    """
    _check_shapes(rank_now, rank_proxy, items)
    return weighted_top_k(temperature * (rank_now - rank_proxy), items, n, generator)


def tanh_weights(rank_now: Tensor, rank_source: Tensor, temperature: float) -> Tensor:
    r"""What the source ranks higher than the live model, the more the farther apart; the rest not at all.

    .. math:: \tanh\bigl( \max(\varepsilon (r_{now} - r_{source}), 0) \bigr)

    Source: the student's side of bidirectional distillation, Kweon, Kang, Yu, "Bidirectional Distillation for
    Top-K Recommender System", WWW 2021.

    Args:
        rank_now: (B, A) ranks of the items in the live model.
        rank_source: (B, A) ranks of the items in the source.
        temperature: the :math:`\varepsilon` above.

    Returns:
        (B, A) weights in [0, 1).
    """
    return torch.tanh((temperature * (rank_now - rank_source)).clamp(min=0))


def tanh_top_k(
    rank_now: Tensor,
    rank_source: Tensor,
    items: Tensor,
    n: int,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """Draw n items per row without replacement, with probability proportional to :func:`tanh_weights`.

    Arguments, source of the noise and result are those of :func:`gumbel_top_k`; an item of weight 0 is drawn
    as little as the padding is.

    Source: Kweon, Kang, Yu, WWW 2021.

    Args:
        rank_now: (B, A) ranks of the items in the live model.
        rank_source: (B, A) ranks of the items in the source.
        items: (B, A) candidate ids, padded with 0.
        n: number of draws per row.
        temperature: sharpness of the law, which becomes linear in the ranks' distance when it is small.
        generator: source of the noise.

    Returns:
        (B, n) item ids; 0 fills up the rows with fewer than n candidates of positive weight.

    Raises:
        ValueError: If n is negative or the shapes differ.
    """
    _check_shapes(rank_now, rank_source, items)
    weights = tanh_weights(rank_now, rank_source, temperature)
    return weighted_top_k(weights.log(), items.masked_fill(weights <= 0, 0), n, generator)


def _check_shapes(rank_now: Tensor, rank_source: Tensor, items: Tensor) -> None:
    if not rank_now.shape == rank_source.shape == items.shape:
        raise ValueError(
            f"ranks {tuple(rank_now.shape)}, {tuple(rank_source.shape)}, items {tuple(items.shape)}"
        )


def merge_pairs(
    users: list[Tensor], items: list[Tensor], labels: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the pairs drawn by several sources.

    Source: proxy-guided replay of CCD, Lee et al., KDD 2024 (arXiv 2405.19046).

    Args:
        users: (P_s,) user ids of each source s.
        items: (P_s,) item ids of each source; pairs with item 0 are dropped.
        labels: (P_s,) soft labels of each source.

    Returns:
        Users, items and labels (P,), sorted by user and then item, each pair once with its largest label.

    Raises:
        ValueError: If the lists differ in length, or there is no source.
    """
    if not users or not len(users) == len(items) == len(labels):
        raise ValueError(
            f"{len(users)} users, {len(items)} items and {len(labels)} labels; one of each per source"
        )
    user, item, label = torch.cat(users), torch.cat(items), torch.cat(labels)
    real = item > 0
    user, item, label = user[real], item[real], label[real]
    if item.numel() == 0:
        return user, item, label
    width = int(item.max()) + 1
    keys, place = torch.unique(user * width + item, return_inverse=True)
    largest = label.new_zeros(keys.numel()).scatter_reduce_(0, place, label, "amax", include_self=False)
    return torch.div(keys, width, rounding_mode="floor"), keys % width, largest
