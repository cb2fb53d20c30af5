"""Ranks of items."""

from typing import NamedTuple

import torch
from torch import Tensor


class Barred(NamedTuple):
    """Scores that some items of a row are not compared with.

    Attributes:
        rows: (P,) their rows.
        places: (P,) their places among what the row's items are compared with; a pair occurs once.
        holds: (A,) bool, for which of the items that is.
    """

    rows: Tensor
    places: Tensor
    holds: Tensor


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
    return ranks_above(compared, scores.gather(1, items), items, scores.shape[1])


def ranks_above(
    compared: Tensor, wanted: Tensor, items: Tensor, n_items: int, barred: Barred | None = None
) -> Tensor:
    """Rank of given items among those that they are compared with, as of :func:`ranks_of`.

    Args:
        compared: (B, S) scores of all items but [PAD], or of a sample of them.
        wanted: (B, A) scores of the given items.
        items: (B, A) their ids, padded with 0.
        n_items: how many items there are, [PAD] included.
        barred: pairs that some of the given items are not compared with; None for none.

    Returns:
        (B, A) float32 ranks; 0 on the padding.
    """
    wanted, order = wanted.masked_fill(items == 0, -torch.inf).sort(dim=1)
    # Each score falls between two wanted ones: counting those is cheaper than sorting all scores.
    above = _counts(torch.searchsorted(wanted, compared, out_int32=True), items.shape[1] + 1)
    higher = _totals(above)
    if barred is not None:
        bins = (wanted[barred.rows] < compared[barred.rows, barred.places, None]).sum(dim=1)
        above.index_put_((barred.rows, bins), above.new_tensor(-1), accumulate=True)
        higher = torch.where(barred.holds[order], _totals(above), higher)
    if compared.shape[1] != n_items - 1:
        higher *= (n_items - 1) / max(compared.shape[1], 1)
    return torch.empty_like(higher).scatter_(1, order, higher + 1.0).masked_fill_(items == 0, 0.0)


def _totals(above: Tensor) -> Tensor:
    """(B, n_bins - 1) float32: how many scores there are in the bins after each."""
    return above.flip(1).cumsum(1).flip(1)[:, 1:].to(torch.float32)


def _counts(bins: Tensor, n_bins: int) -> Tensor:
    """(B, n_bins): how often each bin occurs in each row; overwrites ``bins``."""
    n_rows = bins.shape[0]
    bins += torch.arange(n_rows, dtype=bins.dtype, device=bins.device)[:, None] * n_bins
    return torch.bincount(bins.view(-1), minlength=n_rows * n_bins).view(n_rows, n_bins)
