"""Who ranks highest: streamed top-k over items and over users."""

from collections.abc import Callable

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.dataloader import csr_rows

ScoreFn = Callable[[Tensor], Tensor]
"""Users (B,) to fresh scores (B, n_items) that the receiver may overwrite; column 0 is [PAD]."""


def mask_rows(scores: Tensor, users: Tensor, matrix: csr_matrix, value: float) -> None:
    """Set, in place, the scores at the non-zeros of the users' rows of a matrix.

    Args:
        scores: (B, n) scores, overwritten.
        users: (B,) row of the matrix for each row of the scores; a row the matrix lacks leaves the scores
            alone.
        matrix: Non-zeros to set; it may have fewer rows and fewer columns than there are users and items.
        value: The value to write.

    Raises:
        ValueError: If the number of users is not the number of rows, or the matrix has more columns than
            scores.
    """
    if users.shape != scores.shape[:1]:
        raise ValueError(f"{tuple(users.shape)} users for {tuple(scores.shape)} scores")
    if matrix.shape[1] > scores.shape[1]:
        raise ValueError(f"the matrix has {matrix.shape[1]} columns, the scores only {scores.shape[1]}")
    rows, cols = csr_rows(matrix, users.cpu().numpy())
    index = (torch.from_numpy(rows).to(scores.device), torch.from_numpy(cols).to(scores.device))
    scores.index_put_(index, scores.new_tensor(value))


def top_k(
    score: ScoreFn, users: Tensor, k: int, exclude: csr_matrix | None = None, batch_size: int = 512
) -> Tensor:
    """The k items each user scores highest.

    Args:
        score: Scores of all items for a batch of users.
        users: (n,) user ids.
        k: Length of the lists.
        exclude: Pairs (user, item) that are no candidates, rows indexed by user id; see :func:`mask_rows`.
        batch_size: Users scored at a time; memory is batch_size × n_items scores.

    Returns:
        (n, k) int64 item ids, best first, never [PAD]; 0 fills up the rows of users with fewer candidates,
        among which an item scored ``-inf`` does not count.

    Raises:
        ValueError: If k is negative.
    """
    _check_k(k)
    result = torch.zeros(len(users), k, dtype=torch.int64, device=users.device)
    with torch.no_grad():
        for start in range(0, len(users), batch_size):
            batch = users[start : start + batch_size]
            scores = _candidates(score, batch, exclude)
            values, ids = torch.topk(scores, min(k, scores.shape[1]), dim=1)
            result[start : start + batch_size, : ids.shape[1]] = ids.masked_fill_(values == -torch.inf, 0)
    return result


def top_lists(
    score: ScoreFn,
    users: Tensor,
    n_items: int,
    k_items: int,
    k_users: int,
    exclude: csr_matrix | None = None,
    batch_size: int = 512,
) -> tuple[Tensor, Tensor]:
    """The items each user scores highest and the users that score each item highest, in one pass over users.

    Args:
        score: Scores of all items for a batch of users.
        users: (n,) ids of the candidate users; [PAD] is ignored.
        n_items: Number of item columns, [PAD] included.
        k_items: Length of the users' lists.
        k_users: Length of the items' lists.
        exclude: Pairs (user, item) that are no candidates, rows indexed by user id; see :func:`mask_rows`.
        batch_size: Users scored at a time; memory is (batch_size + k_users) × n_items scores.

    Returns:
        (n, k_items) int64 item ids and (n_items, k_users) int64 user ids, best first; 0 fills up short
        rows, and the row of [PAD] is all 0.

    Raises:
        ValueError: If a length is negative.
    """
    _check_k(min(k_items, k_users))
    items = torch.zeros(len(users), k_items, dtype=torch.int64, device=users.device)
    best = torch.full((n_items, k_users), -torch.inf, device=users.device)
    ids = torch.zeros(n_items, k_users, dtype=torch.int64, device=users.device)
    with torch.no_grad():
        for start in range(0, len(users), batch_size):
            batch = users[start : start + batch_size]
            scores = _candidates(score, batch, exclude)[:, :n_items]
            scores[batch == 0] = -torch.inf
            highest, places = torch.topk(scores, min(k_items, n_items), dim=1)
            items[start : start + batch_size, : places.shape[1]] = places.masked_fill_(
                highest == -torch.inf, 0
            )
            best, places = torch.topk(torch.cat([best, scores.T], dim=1), k_users, dim=1)
            ids = torch.cat([ids, batch.expand(n_items, -1)], dim=1).gather(1, places)
    return items, ids.masked_fill_(best == -torch.inf, 0)


def _candidates(score: ScoreFn, users: Tensor, exclude: csr_matrix | None) -> Tensor:
    scores = score(users)
    scores[:, 0] = -torch.inf
    if exclude is not None:
        mask_rows(scores, users, exclude, -torch.inf)
    return scores


def _check_k(k: int) -> None:
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")
