"""The relaxed ranking loss from vectors: scores live for one tile, and its gradient is taken on the spot."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding

from recbole_ccd.loss.listwise import derivative_by_list, derivative_by_rest, log_sums_of_tails

# On a CPU a tile of scores is worked on while it is still in the cache.
_TILE_ELEMENTS = 3 << 19
# Relative to the largest exponential of a row, e to this power is nothing in float32.
_NEGLIGIBLE = -80.0
_BELOW_ONE = 0.01
# of so many places of the circle at most one is in a window where the others are left out
_WORTH = 4


class Windows(NamedTuple):
    """Which columns are uninteresting to each row of a batch.

    Rows are put in groups; the columns of a group's rows lie next to each other in ``columns``, from one
    place on, so that a group's scores are one matrix product.

    Attributes:
        columns: (2L,) column id at each place of a circle of L, written down twice so that a window that
            passes its end lies in one piece; never [PAD].
        order: (B,) the batch's rows, group by group.
        tiles: number of rows and first place of each group, in that order.
        ends: (B,) length of each row's window, rows in ``order``.
        barred_rows: (E,) sorted places in ``order`` of pairs that are inside a window and yet no samples.
        barred_places: (E,) their columns' places, counted from the window's beginning.
    """

    columns: Tensor
    order: Tensor
    tiles: list[tuple[int, int]]
    ends: Tensor
    barred_rows: Tensor
    barred_places: Tensor

    def mask(self, n_columns: int) -> Tensor:
        """The same as a dense matrix, rows in the batch's own order.

        Args:
            n_columns: columns of the result, [PAD] included.

        Returns:
            (B, n_columns) bool, True on the uninteresting columns.
        """
        result = torch.zeros(len(self.order), n_columns, dtype=torch.bool, device=self.order.device)
        for rows, start, ends, barred in _split(self):
            width = int(ends.max())
            inside = torch.arange(width, device=ends.device) < ends[:, None]
            inside[barred] = False
            result[self.order[rows, None], self.columns[start : start + width]] = inside
        return result


_Tile = tuple[slice, int, Tensor, tuple[Tensor, Tensor]]


def windowed_ranking_loss(
    rows: Tensor,
    columns: Tensor,
    interesting: Tensor,
    windows: Windows,
    score_max: float = 10.0,
    row_weights: Tensor | None = None,
) -> Tensor:
    r"""Relaxed ranking distillation of scores that are inner products, summed over the rows.

    :func:`~recbole_ccd.loss.listwise.list_wise_loss` of the columns in ``interesting`` against the
    uninteresting ones, with all scores clamped at :math:`\le` ``score_max``. A tile of scores is computed,
    reduced to its log-sum-exp and turned into its share of the gradient before the next one takes its place:
    nothing of the size rows × columns is allocated.

    Source: RRD, Kang et al., CIKM 2020; user side and item side (IR-RRD) in CCD, Lee et al., KDD 2024
    (arXiv 2405.19046).

    Args:
        rows: (B, d) vectors of the rows.
        columns: (n, d) vectors of all columns, column 0 being the padding.
        interesting: (B, K) column ids in the teacher's order, padded with 0 at the end.
        windows: the uninteresting columns.
        score_max: upper clamp of the scores; a clamped score has no gradient.
        row_weights: (B,) what each row counts in the sum, taken as constants; None for 1 each.

    Returns:
        Scalar; a row without interesting columns adds 0.

    Raises:
        ValueError: If the shapes do not agree.
    """
    if rows.shape[1:] != columns.shape[1:] or not len(rows) == len(interesting) == len(windows.order):
        raise ValueError(
            f"rows {tuple(rows.shape)}, columns {tuple(columns.shape)}, lists {tuple(interesting.shape)} and "
            f"windows of {len(windows.order)} rows do not fit"
        )
    if row_weights is not None and row_weights.shape != rows.shape[:1]:
        raise ValueError(f"{tuple(row_weights.shape)} weights for {len(rows)} rows")
    return _WindowedRanking.apply(rows, columns, interesting, windows, float(score_max), row_weights)


class _WindowedRanking(torch.autograd.Function):
    """The gradient is linear in that of the sum, so the forward pass can compute it up to a factor."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        columns: Tensor,
        interesting: Tensor,
        windows: Windows,
        score_max: float,
        row_weights: Tensor | None,
    ) -> Tensor:
        loss, *gradients = _loss_and_gradients(rows, columns, interesting, windows, score_max, row_weights)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        of_rows, of_columns = ctx.saved_tensors
        return of_rows * grad, of_columns * grad, None, None, None, None


def _loss_and_gradients(
    rows: Tensor,
    columns: Tensor,
    interesting: Tensor,
    windows: Windows,
    score_max: float,
    row_weights: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The summed loss and its derivatives by ``rows`` and ``columns``."""
    rows, interesting = rows[windows.order], interesting[windows.order]
    counts = None if row_weights is None else row_weights.detach().to(rows)[windows.order, None]
    # whole rows are copied, where an index of two dimensions would fetch number by number
    listed = embedding(interesting, columns)
    raw = torch.bmm(listed, rows[:, :, None]).squeeze(2)
    scores, valid = raw.clamp(max=score_max), interesting > 0
    # of the list alone as yet; the tiles add the rest
    denominators, by_rows = log_sums_of_tails(scores, valid), torch.empty_like(rows)
    places, first_of = _used(windows)
    # transposed: the products with few rows on the left are the fast ones
    table = columns.index_select(0, windows.columns[places]).T.contiguous()
    by_table = torch.zeros_like(table)
    buffer = rows.new_empty(0)
    for part, start, ends, barred in _split(windows):
        width, first = int(ends.max()), first_of[start]
        near = table[:, first : first + width]
        if buffer.numel() < (size := len(ends) * width):
            buffer = rows.new_empty(size)
        tile = torch.mm(rows[part], near, out=buffer[:size].view(len(ends), width))
        lse, scale = _exponentiate(tile, ends, barred, score_max)
        denominators[part] = torch.logaddexp(denominators[part], lse[:, None])
        factor = (derivative_by_rest(lse, valid[part], denominators[part]) * scale)[:, None]
        if counts is not None:
            factor *= counts[part]
        torch.mul((near @ tile.T).T, factor, out=by_rows[part])
        by_table[:, first : first + width].addmm_((rows[part] * factor).T, tile)
    losses = (denominators - scores).masked_fill_(~valid, 0.0)
    by_listed = derivative_by_list(scores, valid, denominators).masked_fill_(raw > score_max, 0.0)
    if counts is not None:
        losses *= counts
        by_listed *= counts
    by_rows += torch.bmm(by_listed[:, None], listed).squeeze(1)
    by_columns = _sum_by_column(by_listed, rows, interesting, len(columns))
    by_columns += _fold(by_table, windows.columns, places, len(columns))
    return losses.sum(), torch.empty_like(by_rows).index_copy_(0, windows.order, by_rows), by_columns


def _exponentiate(
    tile: Tensor, ends: Tensor, barred: tuple[Tensor, Tensor], score_max: float
) -> tuple[Tensor, Tensor]:
    """Turns scores into the exponentials whose sum times the second result is each row's softmax.

    Returns:
        Log-sum-exp of each row and the reciprocal of its sum (0 for an empty row). Afterwards the tile is 0
        where nothing was sampled, and where the clamp leaves no gradient.
    """
    tile[barred] = -torch.inf
    width, shortest = tile.shape[1], int(ends.min())
    if shortest < width:
        tail = torch.arange(shortest, width, device=ends.device)
        tile[:, shortest:].masked_fill_(tail >= ends[:, None], -torch.inf)
    top = tile.amax(1) if width else tile.new_full((len(tile),), -torch.inf)
    clamped = top > score_max
    some_clamped = bool(clamped.any())
    # The exponential of a clamped score becomes exactly 1, that of any other one stays below.
    shift = torch.where(clamped, score_max, top + _BELOW_ONE)
    # An empty row has the maximum -inf, and -inf - -inf is NaN.
    shift.masked_fill_(shift == -torch.inf, 0.0)
    if some_clamped:
        tile.clamp_(max=score_max)
    tile.sub_(shift[:, None])
    # Exponentials that are too small to matter would be denormal numbers, on which products are slow.
    sums = torch.threshold_(tile, _NEGLIGIBLE, -torch.inf).exp_().sum(1)
    if some_clamped:
        # The fractional part is the fastest way to turn ones, and only these, into zeros.
        tile.frac_()
    return sums.log() + shift, torch.where(sums > 0, 1.0 / sums, 0.0)


def _split(windows: Windows) -> Iterator[_Tile]:
    """Parts of the groups that are small enough to stay in the cache.

    Yields:
        The rows in ``order``, the first place of their window, its lengths, and the barred pairs as (row of
        the part, place).
    """
    first, n_rows = 0, len(windows.order)
    widest = int(windows.ends.max()) if n_rows else 0
    limit = n_rows if windows.order.is_cuda else max(_TILE_ELEMENTS // max(widest, 1), 1)
    for size, start in windows.tiles:
        parts = -(-size // limit)
        for number in range(parts):
            rows = slice(first + size * number // parts, first + size * (number + 1) // parts)
            bounds = torch.tensor([rows.start, rows.stop], device=windows.order.device)
            low, high = torch.searchsorted(windows.barred_rows, bounds).tolist()
            barred = (windows.barred_rows[low:high] - rows.start, windows.barred_places[low:high])
            yield rows, start, windows.ends[rows], barred
        first += size


def _used(windows: Windows) -> tuple[Tensor, dict[int, int]]:
    """Places of the circle to look at, rising, and where among them the window of each first place is.

    These are the places in some window, or all of them where leaving some out would save little.
    """
    spans, last = list[tuple[int, int]](), 0
    for size, start in windows.tiles:
        spans.append((start, start + int(windows.ends[last : last + size].max())))
        last += size
    parts, first_of, count, end = [windows.order.new_zeros(0)], dict[int, int](), 0, 0
    for start, stop in sorted(spans):
        first_of[start] = count - max(end - start, 0)
        fresh = torch.arange(max(start, end), max(stop, start, end), device=windows.order.device)
        parts.append(fresh)
        count, end = count + len(fresh), max(stop, end)
    if _WORTH * count > len(windows.columns):
        return torch.arange(len(windows.columns), device=windows.order.device), {s: s for s in first_of}
    return torch.cat(parts), first_of


def _sum_by_column(weights: Tensor, rows: Tensor, columns: Tensor, size: int) -> Tensor:
    """(size, d): the rows (B, d) times each weight (B, K), summed by column (B, K); column 0 gets nothing.

    The order of each sum is that of the rows, and within a row that of its weights.
    """
    if rows.is_cuda:
        products = (weights[:, :, None] * rows[:, None]).flatten(0, 1)
        result = rows.new_zeros(size, rows.shape[1]).index_add_(0, columns.reshape(-1), products)
    else:
        ends = np.arange(len(columns) + 1) * columns.shape[1]
        parts = (weights.numpy().ravel(), columns.numpy().ravel(), ends)
        result = torch.from_numpy(csr_matrix(parts, shape=(len(columns), size)).T @ rows.numpy())
    result[0] = 0.0
    return result


def _fold(by_table: Tensor, circle: Tensor, places: Tensor, size: int) -> Tensor:
    """(size, d): derivatives at some places, rising, of the doubled circle, summed by column."""
    result = by_table.new_zeros(size, by_table.shape[0])
    # a column is at one place of each half
    once = int(torch.searchsorted(places, len(circle) // 2))
    for half in (slice(None, once), slice(once, None)):
        result[circle[places[half]]] += by_table[:, half].T
    return result
