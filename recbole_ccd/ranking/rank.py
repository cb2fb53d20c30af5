"""Ranks of items, and the ensemble that averages them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from recbole_ccd.ranking.topk import highest

# Rows that a thread sorts at a time: few enough to stay in its cache.
_SORTED_ROWS = 16


def ranks_of(scores: Tensor, items: Tensor, sample: Tensor | None = None) -> Tensor:
    """Rank of given items among all items.

    Args:
        scores: (B, n) scores; column 0 ([PAD]) does not count.
        items: (B, A) columns, padded with 0.
        sample: (S,) distinct columns other than 0 on which ranks are estimated; None counts all. An item of
            rank r among n then has a standard error of about sqrt(r · n / S).

    Returns:
        (B, A) float32 ranks: 1 + the number of items with a strictly higher score, so that equal scores share
        the better rank; 0 on the padding.
    """
    compared = scores[:, 1:].contiguous() if sample is None else scores.index_select(1, sample)
    wanted, order = scores.gather(1, items).masked_fill_(items == 0, -torch.inf).sort(dim=1)
    # Each score falls between two wanted ones: counting those is cheaper than sorting all scores.
    above = _counts(torch.searchsorted(wanted, compared, out_int32=True), items.shape[1] + 1)
    higher = above.flip(1).cumsum(1).flip(1)[:, 1:].to(torch.float32)
    if sample is not None:
        higher *= (scores.shape[1] - 1) / max(len(sample), 1)
    return torch.empty_like(higher).scatter_(1, order, higher + 1.0).masked_fill_(items == 0, 0.0)


def ensemble_scores(
    member_scores: Iterable[Tensor], exponent: float = 0.05, depth: int | None = None
) -> Tensor:
    r"""Scores of the teacher's ensemble: the mean over its members of a power of the rank.

    .. math:: s(u, i) = \frac{1}{M} \sum_m \mathrm{rank}_m(u, i)^{-p}

    Source: the teacher of CCD, Lee et al., KDD 2024 (arXiv 2405.19046), with :math:`p = 0.05`.

    Args:
        member_scores: (B, n) scores of each member; read one at a time.
        exponent: the :math:`p` above.
        depth: ranks beyond this one count as the last, which spares sorting most of a large catalogue; items
            that no member ranks so high are ``-inf``. None ranks all.

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
            shallow = depth if depth is not None and depth < scores.shape[1] - 1 else None
            total = torch.zeros_like(scores, dtype=torch.float32)
        if shallow is not None:
            # what their entries are above the last, which all others have
            first = highest(scores[:, 1:], shallow)[1].add_(1)
            total.scatter_add_(1, first, (table[:shallow] - table[-1]).expand(len(scores), -1))
        else:
            order = _descending_order(scores[:, 1:]).add_(1)
            total.scatter_add_(1, order, table[:-1].expand(len(scores), -1))
        # Released before the next member's scores are asked for.
        del scores
        members += 1
    if total is None:
        raise ValueError("an ensemble needs at least one member")
    total /= members
    if shallow:
        torch.threshold_(total, 0.0, -torch.inf).add_(table[-1])
    total[:, 0] = -torch.inf
    return total


def _descending_order(scores: Tensor) -> Tensor:
    """(B, n) int64: the columns of each row from the highest score to the lowest, ties by column."""
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return scores.argsort(dim=1, descending=True, stable=True)
    # Adding 0 makes -0.0 equal to 0.0.
    values = (scores.detach() + 0.0).numpy()
    order = torch.empty(scores.shape, dtype=torch.int64)
    places = order.numpy()

    def sort(start: int) -> None:
        tile = slice(start, start + _SORTED_ROWS)
        places[tile] = _radix_order(values[tile])

    # Numpy releases the interpreter while it sorts, so threads share the rows.
    with ThreadPoolExecutor(max(torch.get_num_threads(), 1)) as pool:
        list(pool.map(sort, range(0, len(values), _SORTED_ROWS)))
    return order


def _radix_order(values: np.ndarray) -> np.ndarray:
    """Columns of float32 values by falling value, by numpy's radix sort of the low, then the high 16 bits."""
    # Flipping the sign bit, or all bits of a negative number, orders floats like integers; ~ reverses that.
    bits = values.view(np.int32)
    keys = ~(bits ^ ((bits >> 31) | np.int32(-(2**31))))
    low = np.argsort(keys.astype(np.uint16), axis=1, kind="stable")
    high = np.take_along_axis((keys >> 16).astype(np.uint16), low, axis=1)
    return np.take_along_axis(low, np.argsort(high, axis=1, kind="stable"), axis=1)


def _counts(bins: Tensor, n_bins: int) -> Tensor:
    """(B, n_bins): how often each bin occurs in each row; overwrites ``bins``."""
    n_rows = bins.shape[0]
    bins += torch.arange(n_rows, dtype=bins.dtype, device=bins.device)[:, None] * n_bins
    return torch.bincount(bins.view(-1), minlength=n_rows * n_bins).view(n_rows, n_bins)
