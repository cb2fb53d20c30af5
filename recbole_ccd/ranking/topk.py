"""Who ranks highest: each user's top items, a batch of users at a time."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.ranking.ensemble import ShallowEnsemble
from recbole_ccd.ranking.highest import highest, highest_as_topk
from recbole_ccd.ranking.tiles import ROWS, InnerProducts, Part
from recbole_ccd.utils.parallel.shares import WORTH, batch_by_batch
from recbole_ccd.utils.parallel.workers import Workers, nothing

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
    score: ScoreFn,
    users: Tensor,
    k: int,
    exclude: csr_matrix | None = None,
    batch_size: int = 512,
    workers: Workers | None = None,
    worth: int = WORTH,
    waiting: Callable[[], None] = nothing,
) -> Tensor:
    """The k items each user scores highest.

    Args:
        score: scores of all items for a batch of users.
        users: (n,) user ids.
        k: length of the lists.
        exclude: pairs (user, item) that are no candidates, rows indexed by user id; see :func:`mask_rows`.
        batch_size: users scored at a time; memory is batch_size × n_items scores.
        workers: who does it; None for this process. Whoever does, the lists are the same.
        worth: batches that each worker must get for several to share them.
        waiting: called now and then while workers are at it.

    Returns:
        (n, k) int64 item ids, best first, never [PAD]; 0 fills up the rows of users with fewer candidates,
        among which an item scored ``-inf`` does not count.

    Raises:
        ValueError: If k is negative.
    """
    check_k(k)
    result = torch.zeros(len(users), k, dtype=torch.int64, device=users.device)
    whole = _Lists(score, users, k, exclude, batch_size)
    with closing(batch_by_batch(_ids_of, whole, whole.n_batches, workers, worth, waiting)) as batches:
        for number, ids in batches:
            result[whole.part_of(number), : ids.shape[1]] = ids
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
    whole = _Lists(score, users, k, exclude, batch_size, as_topk=True)
    for number in range(whole.n_batches):
        ids, values = whole.of(number)
        part = whole.part_of(number)
        result[part, : ids.shape[1]], scores[part, : ids.shape[1]] = ids, values
    return result, scores


@dataclass(frozen=True)
class _Lists:
    """What is ranked, as :func:`top_k` has it, a batch of users at a time."""

    score: ScoreFn
    users: Tensor
    k: int
    exclude: csr_matrix | None
    batch_size: int
    as_topk: bool = False

    @property
    def n_batches(self) -> int:
        return -(-len(self.users) // self.batch_size)

    def part_of(self, number: int) -> slice:
        """Where the users of a batch are."""
        return slice(number * self.batch_size, (number + 1) * self.batch_size)

    @cached_property
    def _in_tiles(self) -> bool:
        return isinstance(self.score, InnerProducts) and self.score.in_tiles(self.k)

    @torch.no_grad()
    def of(self, number: int) -> tuple[Tensor, Tensor]:
        """Ids and scores of the lists of a batch."""
        batch, score = self.users[self.part_of(number)], self.score
        if isinstance(score, InnerProducts) and self._in_tiles:
            part = Part(None, excluded_pairs(batch, self.exclude, len(score.items)), is_last=True)
            values, ids = score.best(batch, self.k, [part], self.as_topk)[0]
        else:
            scores = candidates(score, batch, self.exclude)
            choose = highest_as_topk if self.as_topk else highest
            values, ids = choose(scores, min(self.k, scores.shape[1]))
        return ids.masked_fill_(values == -torch.inf, 0), values


def _ids_of(whole: _Lists, number: int) -> Tensor:
    return whole.of(number)[0]


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
