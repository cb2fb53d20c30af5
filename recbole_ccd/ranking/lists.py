"""Each user's top items and each item's top users in one pass over users, by one process or by several."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.ranking.topk import ScoreFn, candidates, check_k, highest, list_length
from recbole_ccd.utils.parallel.workers import Sequential, Workers

# batches per worker below which sending a model takes longer than scoring with it
_WORTH = 32


@dataclass(frozen=True)
class RankingPass:
    """What is ranked in one pass over users.

    Attributes:
        score: scores of all items for a batch of users.
        users: (n,) ids of the candidate users; [PAD] is ignored.
        n_items: number of item columns, [PAD] included.
        k_items: length of the users' lists.
        k_users: length of the items' lists.
        exclude: pairs (user, item) that are no candidates, rows indexed by user id.
        batch_size: users scored at a time; memory is (batch_size + k_users) × n_items scores.
        seen_first: whether the excluded pairs lead all lists, in any order, in the place of being left out.
    """

    score: ScoreFn
    users: Tensor
    n_items: int
    k_items: int
    k_users: int
    exclude: csr_matrix | None = None
    batch_size: int = 512
    seen_first: bool = False

    @property
    def n_batches(self) -> int:
        """Batches of users."""
        return -(-len(self.users) // self.batch_size)

    def part_of(self, batches: range) -> slice:
        """Where the users of some batches are."""
        return slice(batches.start * self.batch_size, batches.stop * self.batch_size)

    def take(self, number: int, best: RunningTopK) -> tuple[Tensor, TopKUpdates | None]:
        """Scores a batch of users.

        Args:
            number: which batch.
            best: the best users of each item so far; changed.

        Returns:
            The users' lists, (B, k_items), and what has got among the best users, unless it is a lot.
        """
        batch = self.users[self.part_of(range(number, number + 1))]
        with torch.no_grad():
            value = torch.inf if self.seen_first else -torch.inf
            scores = candidates(self.score, batch, self.exclude, value)[:, : self.n_items]
            scores[batch == 0] = -torch.inf
            values, places = highest(scores, min(self.k_items, self.n_items))
            items = torch.zeros(len(batch), self.k_items, dtype=torch.int64, device=batch.device)
            items[:, : places.shape[1]] = places.masked_fill_(values == -torch.inf, 0)
            return items, best.add(scores, batch)


def top_lists(
    score: ScoreFn,
    users: Tensor,
    n_items: int,
    k_items: int,
    k_users: int,
    exclude: csr_matrix | None = None,
    batch_size: int = 512,
    workers: Workers | None = None,
    worth: int = _WORTH,
    waiting: Callable[[], None] = lambda: None,
    seen_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """The items each user scores highest and the users that score each item highest, in one pass over users.

    Several workers share the batches of users. Which of equal scores are taken depends on how batches come
    in; so what they have found is put together batch by batch in the order of one process, and is the same.

    Args:
        score: scores of all items for a batch of users.
        users: (n,) ids of the candidate users; [PAD] is ignored.
        n_items: number of item columns, [PAD] included.
        k_items: length of the users' lists; see :func:`~recbole_ccd.ranking.topk.list_length`.
        k_users: length of the items' lists; likewise.
        exclude: pairs (user, item) that are no candidates, rows indexed by user id; see
            :func:`~recbole_ccd.ranking.topk.mask_rows`.
        batch_size: users scored at a time; memory is (batch_size + k_users) × n_items scores.
        workers: who does it; None for this process.
        worth: batches that each worker must get for several to share them.
        waiting: called now and then while workers are at it.
        seen_first: whether the pairs of ``exclude`` lead all lists, in any order, in the place of being left
            out.

    Returns:
        (n, k_items) int64 item ids and (n_items, k_users) int64 user ids, best first; 0 fills up short
        rows, and the row of [PAD] is all 0.

    Raises:
        ValueError: If a length is negative.
    """
    check_k(min(k_items, k_users))
    k_items, k_users = list_length(k_items, n_items), list_length(k_users, len(users))
    whole = RankingPass(score, users, n_items, k_items, k_users, exclude, batch_size, seen_first)
    best, items = RunningTopK(n_items, k_users, users.device), users.new_zeros(len(users), k_items)
    done, n = 0, whole.n_batches
    with workers or Sequential() as those:
        shared = those.at_once > 1 and n >= worth * those.at_once
        # at first nearly all are among the best, which would be much to send
        while done < n and not (shared and best.is_choosy):
            items[whole.part_of(range(done, done + 1))] = whole.take(done, best)[0]
            done += 1
        if done < n:
            _share_out(whole, range(done, n), items, best, those, waiting)
    return items, best.ids.masked_fill_(best.scores == -torch.inf, 0)


def take_share(
    common: tuple[RankingPass, RunningTopK], batches: range
) -> tuple[Tensor, list[TopKUpdates | None]]:
    """Goes through some batches, knowing what was best in those before all shares.

    What gets among the best here is more than what does where all batches before are known.

    Args:
        common: the pass, and the best users of each item among earlier ones.
        batches: the numbers of the batches.

    Returns:
        The users' lists, and of each batch what has got among the best.
    """
    whole, earlier = common
    best = earlier.copy()
    items, entries = zip(*(whole.take(number, best) for number in batches), strict=True)
    return torch.cat(items), list(entries)


def _share_out(
    whole: RankingPass,
    batches: range,
    items: Tensor,
    best: RunningTopK,
    workers: Workers,
    waiting: Callable[[], None],
) -> None:
    """Lets workers go through batches; ``items`` and ``best`` become what they are after the last one."""
    n = min(workers.at_once, len(batches))
    shares = [batches[len(batches) * share // n : len(batches) * (share + 1) // n] for share in range(n)]
    found: dict[int, list[TopKUpdates | None]] = {}
    with closing(workers.each(take_share, (whole, best.copy()), shares, waiting=waiting)) as results:
        for place, (lists, updates) in results:
            items[whole.part_of(shares[place])], found[place] = lists, updates
    for place, share in enumerate(shares):
        for number, entries in zip(share, found.pop(place), strict=True):
            if entries is None:
                whole.take(number, best)
            elif best.k:
                best.add_few(entries.above(best.bounds))


class TopKUpdates(NamedTuple):
    """Scores of a batch that may be among the best of their column, row by row, each (E,)."""

    scores: Tensor
    rows: Tensor
    columns: Tensor

    def above(self, bounds: Tensor) -> TopKUpdates:
        """Those above the bound of their column."""
        kept = self.scores > bounds[self.columns]
        return TopKUpdates(*(part[kept] for part in self))


class RunningTopK:
    """The k best rows of each column, while batches of rows come in.

    Attributes:
        scores: (n_columns, k) their scores, best first.
        ids: (n_columns, k) their ids.
        is_choosy: whether few scores of the last batch were among the best.
    """

    def __init__(self, n_columns: int, k: int, device: torch.device) -> None:
        """Begins without any score."""
        self.scores = torch.full((n_columns, k), -torch.inf, device=device)
        self.ids = torch.zeros(n_columns, k, dtype=torch.int64, device=device)
        self.is_choosy = not k

    def copy(self) -> RunningTopK:
        """A copy that shares no tensor with this one."""
        other = RunningTopK(0, 0, self.scores.device)
        other.scores, other.ids, other.is_choosy = self.scores.clone(), self.ids.clone(), self.is_choosy
        return other

    @property
    def k(self) -> int:
        """How many there are of each column."""
        return self.ids.shape[1]

    @property
    def bounds(self) -> Tensor:
        """(n_columns,) what a score must be above to get among them, where k is not 0."""
        return self.scores[:, -1]

    def add(self, scores: Tensor, rows: Tensor) -> TopKUpdates | None:
        """Takes (B, n_columns) scores of rows with the ids (B,) into account.

        Returns:
            Those that have got among the best, unless they are more than a few.
        """
        if not self.k:
            none = rows[:0]
            return TopKUpdates(scores.new_zeros(0), none, none)
        enters = scores > self.bounds
        # After some batches hardly any score is among the best of its column.
        self.is_choosy = 4 * int(enters.sum()) <= enters.numel()
        if not self.is_choosy:
            self._add_all(scores, rows)
            return None
        row, column = enters.nonzero(as_tuple=True)
        entries = TopKUpdates(scores[row, column], rows[row], column)
        self.add_few(entries)
        return entries

    def _add_all(self, scores: Tensor, rows: Tensor) -> None:
        ids = torch.cat([self.ids, rows.expand(len(self.ids), -1)], dim=1)
        self.scores, best = torch.topk(torch.cat([self.scores, scores.T], dim=1), self.k, dim=1)
        self.ids = ids.gather(1, best)

    def add_few(self, entries: TopKUpdates) -> None:
        """Takes those scores of a batch into account that are above the bounds."""
        order = entries.columns.argsort(stable=True)
        scores, rows, column = (part[order] for part in entries)
        touched, place, counts = torch.unique_consecutive(column, return_inverse=True, return_counts=True)
        if not len(touched):
            return
        within = torch.arange(len(column), device=column.device) - (counts.cumsum(0) - counts)[place]
        wide = scores.new_full((len(touched), self.k + int(counts.max())), -torch.inf)
        ids = self.ids.new_zeros(wide.shape)
        wide[:, : self.k], ids[:, : self.k] = self.scores[touched], self.ids[touched]
        wide[place, self.k + within], ids[place, self.k + within] = scores, rows
        self.scores[touched], best = torch.topk(wide, self.k, dim=1)
        self.ids[touched] = ids.gather(1, best)
