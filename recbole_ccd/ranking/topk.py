"""Who ranks highest: streamed top-k over items and over users."""

from collections.abc import Callable, Iterator

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows

ScoreFn = Callable[[Tensor], Tensor]
"""Users (B,) to fresh scores (B, n_items) that the receiver may overwrite; column 0 is [PAD]."""


Choose = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Finds the k highest of each row, such as ``torch.topk``."""

# scores that are worked on at a time; more would not stay in the cache
_BATCH_SCORES = 3 << 20
# lists up to this length are filled up with 0 where a catalogue is shorter
_USUAL = 1024
# columns whose maximum is found first when the best of a row are wanted
_GROUP = 16


def users_at_a_time(n_items: int) -> int:
    """How many users to score at a time, so that a batch of users × items is cheap to pass over.

    Args:
        n_items: items scored per user.
    """
    return max(_BATCH_SCORES // max(n_items, 1), 1)


def highest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``torch.topk`` along rows, several times as fast on a CPU where rows are long.

    The columns are dealt into groups. A row's k best are in the k groups with the highest maxima, since any
    other group has k better ones outside; so only those groups are looked at.

    Args:
        scores: (B, n) scores.
        k: at most n.

    Returns:
        (B, k) values, best first, and their columns; which of equal ones are taken is arbitrary.
    """
    n = scores.shape[1]
    if _is_short(scores, k):
        return torch.topk(scores, k, dim=1)
    n_groups = n // _GROUP
    grouped = scores[:, : n_groups * _GROUP].unflatten(1, (_GROUP, n_groups))
    best = torch.topk(grouped.amax(1), k, dim=1, sorted=False).indices
    members = torch.arange(0, n_groups * _GROUP, n_groups, device=scores.device)
    left = torch.arange(n_groups * _GROUP, n, device=scores.device).expand(len(scores), -1)
    columns = torch.cat([(best[:, None] + members[:, None]).flatten(1), left], dim=1)
    values, places = torch.topk(scores.gather(1, columns), k, dim=1)
    return values, columns.gather(1, places)


def _is_short(scores: Tensor, k: int) -> bool:
    """Whether groups of columns would save nothing."""
    return scores.is_cuda or k == 0 or 4 * k * _GROUP > scores.shape[1]


def highest_as_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``torch.topk`` along rows as it is, by :func:`highest` for the rows where no scores are equal.

    RecBole's lists are what ``torch.topk`` makes of whole rows, and which of equal scores it takes depends on
    the whole row and on k.

    Args:
        scores: (B, n) scores.
        k: at most n.

    Returns:
        (B, k) values, best first, and their columns, those of ``torch.topk(scores, k)``.
    """
    if k == scores.shape[1] or _is_short(scores, k + 1):
        return torch.topk(scores, k, dim=1)
    values, columns = highest(scores, k + 1)
    # one more tells whether the last one has been chosen among equals
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero().squeeze(1)
    values, columns = values[:, :k].contiguous(), columns[:, :k].contiguous()
    if len(tied):
        values[tied], columns[tied] = torch.topk(scores[tied], k, dim=1)
    return values, columns


def mask_rows(scores: Tensor, users: Tensor, matrix: csr_matrix, value: float) -> None:
    """Set, in place, the scores at the non-zeros of the users' rows of a matrix.

    Args:
        scores: (B, n) scores, overwritten.
        users: (B,) row of the matrix for each row of the scores; a row the matrix lacks leaves the scores
            alone.
        matrix: Non-zeros to set; it may have fewer or more rows and columns than there are users and items.
        value: the value to write.

    Raises:
        ValueError: If the number of users is not the number of rows.
    """
    if users.shape != scores.shape[:1]:
        raise ValueError(f"{tuple(users.shape)} users for {tuple(scores.shape)} scores")
    rows, cols = csr_rows(matrix, users.cpu().numpy())
    if matrix.shape[1] > scores.shape[1]:
        known = cols < scores.shape[1]
        rows, cols = rows[known], cols[known]
    index = (torch.from_numpy(rows).to(scores.device), torch.from_numpy(cols).to(scores.device))
    scores.index_put_(index, scores.new_tensor(value))


def top_k(
    score: ScoreFn, users: Tensor, k: int, exclude: csr_matrix | None = None, batch_size: int = 512
) -> Tensor:
    """The k items each user scores highest.

    Args:
        score: scores of all items for a batch of users.
        users: (n,) user ids.
        k: length of the lists.
        exclude: pairs (user, item) that are no candidates, rows indexed by user id; see :func:`mask_rows`.
        batch_size: users scored at a time; memory is batch_size × n_items scores.

    Returns:
        (n, k) int64 item ids, best first, never [PAD]; 0 fills up the rows of users with fewer candidates,
        among which an item scored ``-inf`` does not count.

    Raises:
        ValueError: If k is negative.
    """
    check_k(k)
    result = torch.zeros(len(users), k, dtype=torch.int64, device=users.device)
    for start, ids, _ in _best(highest, score, users, k, exclude, batch_size):
        result[start : start + batch_size, : ids.shape[1]] = ids
    return result


def top_scored(
    score: ScoreFn, users: Tensor, k: int, exclude: csr_matrix | None = None, batch_size: int = 512
) -> tuple[Tensor, Tensor]:
    """The k items each user scores highest, and their scores; of equal ones those that RecBole would take.

    Args:
        score: scores of all items for a batch of users.
        users: (n,) user ids.
        k: length of the lists.
        exclude: as of :func:`top_k`.
        batch_size: as of :func:`top_k`.

    Returns:
        (n, k) int64 item ids as :func:`top_k` gives them, and (n, k) float32 scores, ``-inf`` where the id
        is 0.

    Raises:
        ValueError: If k is negative.
    """
    check_k(k)
    result = torch.zeros(len(users), k, dtype=torch.int64, device=users.device)
    scores = torch.full((len(users), k), -torch.inf, device=users.device)
    for start, ids, values in _best(highest_as_topk, score, users, k, exclude, batch_size):
        result[start : start + batch_size, : ids.shape[1]] = ids
        scores[start : start + batch_size, : ids.shape[1]] = values
    return result, scores


@torch.no_grad()
def _best(
    choose: Choose, score: ScoreFn, users: Tensor, k: int, exclude: csr_matrix | None, batch_size: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The place of each batch of users, with ids and scores of their lists."""
    for start in range(0, len(users), batch_size):
        scores = candidates(score, users[start : start + batch_size], exclude)
        values, ids = choose(scores, min(k, scores.shape[1]))
        yield start, ids.masked_fill_(values == -torch.inf, 0), values


def candidates(
    score: ScoreFn, users: Tensor, exclude: csr_matrix | None, value: float = -torch.inf
) -> Tensor:
    """(B, n_items) fresh scores of some users, ``-inf`` at [PAD] and ``value`` at excluded pairs."""
    scores = score(users)
    scores[:, 0] = -torch.inf
    if exclude is not None:
        mask_rows(scores, users, exclude, value)
    return scores


def list_length(k: int, n: int) -> int:
    """The length of lists out of a catalogue: no longer than can be filled, which is what memory is for.

    Draws depend on the width of what they are made from, so that lists of a usual length are left as they
    are on a catalogue that is shorter: they are filled up with 0.

    Args:
        k: the length that is wanted.
        n: how many there are to list.
    """
    return min(k, max(n, _USUAL))


def check_k(k: int) -> None:
    """Refuses lists of a negative length."""
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")
