"""Ranks of items, and the ensemble that averages them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


def ranks(scores: Tensor) -> Tensor:
    """Rank of every item, 1 for the highest score.

    Args:
        scores: (B, n) scores; column 0 ([PAD]) does not count.

    Returns:
        (B, n) float32 ranks; among equal scores the lower column comes first, and [PAD] gets rank n.
    """
    table = torch.arange(1, scores.shape[1] + 1, dtype=torch.float32, device=scores.device)
    return _by_rank(scores, table)


def ranks_of(scores: Tensor, items: Tensor) -> Tensor:
    """Rank of given items among all items.

    Args:
        scores: (B, n) scores; column 0 ([PAD]) does not count.
        items: (B, A) columns, padded with 0.

    Returns:
        (B, A) float32 ranks: 1 + the number of items with a strictly higher score, so that equal scores share
        the better rank; 0 on the padding.
    """
    wanted, order = scores.gather(1, items).masked_fill_(items == 0, -torch.inf).sort(dim=1)
    # Each score falls between two wanted ones: counting those is cheaper than sorting all scores.
    above = _counts(
        torch.searchsorted(wanted, scores[:, 1:].contiguous(), out_int32=True), items.shape[1] + 1
    )
    higher = above.flip(1).cumsum(1).flip(1)[:, 1:].to(torch.float32)
    return torch.empty_like(higher).scatter_(1, order, higher + 1.0).masked_fill_(items == 0, 0.0)


def ensemble_scores(member_scores: Iterable[Tensor], exponent: float = 0.05) -> Tensor:
    r"""Scores of the teacher's ensemble: the mean over its members of a power of the rank.

    .. math:: s(u, i) = \frac{1}{M} \sum_m \mathrm{rank}_m(u, i)^{-p}

    Source: the teacher of CCD, Lee et al., KDD 2024 (arXiv 2405.19046), with :math:`p = 0.05`.

    Args:
        member_scores: (B, n) scores of each member; read one at a time.
        exponent: The :math:`p` above.

    Returns:
        (B, n) float32 scores; column 0 ([PAD]) is ``-inf``.

    Raises:
        ValueError: If there is no member.
    """
    total, members = None, 0
    for scores in member_scores:
        if total is None:
            places = torch.arange(1, scores.shape[1] + 1, dtype=torch.float32, device=scores.device)
            table = places.pow_(-exponent)
            total = _by_rank(scores, table)
        else:
            total += _by_rank(scores, table)
        # Released before the next member's scores are asked for.
        del scores
        members += 1
    if total is None:
        raise ValueError("an ensemble needs at least one member")
    total /= members
    total[:, 0] = -torch.inf
    return total


def _by_rank(scores: Tensor, table: Tensor) -> Tensor:
    """(B, n): the entry of the table at each column's place in its row's order, [PAD] taking the last."""
    order = _descending_order(scores[:, 1:]).add_(1)
    result = torch.empty(scores.shape, dtype=table.dtype, device=scores.device)
    result[:, 0] = table[-1]
    return result.scatter_(1, order, table[:-1].expand(scores.shape[0], -1))


def _descending_order(scores: Tensor) -> Tensor:
    """(B, n) int64: the columns of each row from the highest score to the lowest, ties by column."""
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return scores.argsort(dim=1, descending=True, stable=True)
    # Flipping the sign bit, or all bits of a negative number, orders floats like integers; adding 0 makes
    # -0.0 equal to 0.0, and ~ reverses the order.
    bits = (scores.detach() + 0.0).view(torch.int32)
    keys = bits.bitwise_xor_((bits >> 31).bitwise_or_(-(2**31))).bitwise_not_()
    low = _radix_order(keys.to(torch.int16))
    high = _radix_order((keys >> 16).to(torch.int16).gather(1, low))
    return low.gather(1, high)


def _radix_order(keys: Tensor) -> Tensor:
    """(B, n) stable order of 16-bit keys, taken as unsigned, by numpy's radix sort."""
    values = keys.numpy().view(np.uint16)
    # Numpy releases the interpreter while it sorts, so threads share the rows.
    parts = np.array_split(values, max(min(torch.get_num_threads(), len(values)), 1))
    order = torch.empty(keys.shape, dtype=torch.int64)
    places = np.array_split(order.numpy(), len(parts))

    def sort(part: int) -> None:
        places[part][:] = np.argsort(parts[part], axis=1, kind="stable")

    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(sort, range(len(parts))))
    return order


def _counts(bins: Tensor, n_bins: int) -> Tensor:
    """(B, n_bins): how often each bin occurs in each row; overwrites ``bins``."""
    n_rows = bins.shape[0]
    bins += torch.arange(n_rows, dtype=bins.dtype, device=bins.device)[:, None] * n_bins
    return torch.bincount(bins.view(-1), minlength=n_rows * n_bins).view(n_rows, n_bins)
