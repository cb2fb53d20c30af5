"""Who ranks highest: each user's top items, a batch of users at a time."""

from collections.abc import Callable, Iterator

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.ranking.ensemble import ShallowEnsemble
from recbole_ccd.ranking.highest import highest, highest_as_topk
from recbole_ccd.ranking.tiles import ROWS, InnerProducts, Part

ScoreFn = Callable[[Tensor], Tensor]
"""Users (B,) to fresh scores (B, n_items) that the receiver may overwrite; column 0 is [PAD].
:class:`~recbole_ccd.ranking.tiles.InnerProducts` are never asked for whole rows of a large catalogue."""

# scores that are worked on at a time; more would not stay in the cache
_BATCH_SCORES = 3 << 20
# lists up to this length are filled up with 0 where a catalogue is shorter
_USUAL = 1024


def users_at_a_time(n_items: int, score: ScoreFn | None = None, k: int = 1) -> int:
    """How many users to score at a time, so that a batch of users × items is cheap to pass over.

    Args:
        n_items: items scored per user.
        score: what scores them; None for whole rows.
        k: how many of the best are wanted.
    """
    if isinstance(score, InnerProducts | ShallowEnsemble) and score.in_tiles(k):
        return ROWS
    return max(_BATCH_SCORES // max(n_items, 1), 1)


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
    scores.index_put_(excluded_pairs(users, matrix, scores.shape[1]), scores.new_tensor(value))


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
    for start, ids, _ in _best(False, score, users, k, exclude, batch_size):
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
    for start, ids, values in _best(True, score, users, k, exclude, batch_size):
        result[start : start + batch_size, : ids.shape[1]] = ids
        scores[start : start + batch_size, : ids.shape[1]] = values
    return result, scores


@torch.no_grad()
def _best(
    as_topk: bool, score: ScoreFn, users: Tensor, k: int, exclude: csr_matrix | None, batch_size: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The place of each batch of users, with ids and scores of their lists."""
    in_tiles = isinstance(score, InnerProducts) and score.in_tiles(k)
    for start in range(0, len(users), batch_size):
        batch = users[start : start + batch_size]
        if isinstance(score, InnerProducts) and in_tiles:
            part = Part(None, excluded_pairs(batch, exclude, len(score.items)), is_last=True)
            values, ids = score.best(batch, k, [part], as_topk)[0]
        else:
            scores = candidates(score, batch, exclude)
            choose = highest_as_topk if as_topk else highest
            values, ids = choose(scores, min(k, scores.shape[1]))
        yield start, ids.masked_fill_(values == -torch.inf, 0), values


def excluded_pairs(users: Tensor, matrix: csr_matrix | None, n_columns: int) -> tuple[Tensor, Tensor]:
    """The non-zeros of the users' rows of a matrix.

    Args:
        users: (B,) row of the matrix for each place; a row that it lacks has none.
        matrix: as of :func:`mask_rows`; None has none.
        n_columns: those beyond are left out.

    Returns:
        (P,) places among the users and (P,) columns.
    """
    if matrix is None:
        none = users.new_zeros(0)
        return none, none
    rows, cols = csr_rows(matrix, users.cpu().numpy())
    if matrix.shape[1] > n_columns:
        known = cols < n_columns
        rows, cols = rows[known], cols[known]
    return torch.from_numpy(rows).to(users.device), torch.from_numpy(cols).to(users.device)


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
