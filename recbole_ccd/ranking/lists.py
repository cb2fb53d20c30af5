"""Each user's top items and each item's top users in one pass over users, by one process or by several."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_ccd.ranking.columns_best import ColumnsBest, ColumnUpdates
from recbole_ccd.ranking.ensemble import ShallowEnsemble
from recbole_ccd.ranking.highest import highest
from recbole_ccd.ranking.tiles import InnerProducts, RowsBest, tiles_of
from recbole_ccd.ranking.topk import ScoreFn, candidates, check_k, excluded_pairs, list_length
from recbole_ccd.utils.parallel.shares import WORTH, shares_of
from recbole_ccd.utils.parallel.workers import Sequential, Workers, nothing

_Taken = tuple[Tensor, Tensor, ColumnUpdates | None]


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

    def take(self, number: int, best: ColumnsBest) -> tuple[Tensor, ColumnUpdates | None]:
        """Scores a batch of users.

        Args:
            number: which batch.
            best: the best users of each item so far; changed.

        Returns:
            The users' lists, (B, k_items), and what has got among the best users, unless it is a lot.
        """
        batch = self.users[self.part_of(range(number, number + 1))]
        with torch.no_grad():
            if isinstance(self.score, ShallowEnsemble) and self.in_tiles:
                values, places, entries = self._by_entries(self.score, batch, best)
            elif isinstance(self.score, InnerProducts) and self.in_tiles:
                values, places, entries = self._by_tiles(self.score, batch, best)
            else:
                values, places, entries = self._by_rows(batch, best)
            items = torch.zeros(len(batch), self.k_items, dtype=torch.int64, device=batch.device)
            items[:, : places.shape[1]] = places.masked_fill_(values == -torch.inf, 0)
            return items, entries

    @cached_property
    def in_tiles(self) -> bool:
        """Whether whole rows of scores are never made."""
        if self.seen_first or not isinstance(self.score, InnerProducts | ShallowEnsemble):
            return False
        return self.score.in_tiles(self.k_items)

    def _by_rows(self, batch: Tensor, best: ColumnsBest) -> _Taken:
        value = torch.inf if self.seen_first else -torch.inf
        scores = candidates(self.score, batch, self.exclude, value)[:, : self.n_items]
        scores[batch == 0] = -torch.inf
        return *highest(scores, min(self.k_items, self.n_items)), best.add(scores, batch)

    def _by_tiles(self, score: InnerProducts, batch: Tensor, best: ColumnsBest) -> _Taken:
        masked = excluded_pairs(batch, self.exclude, self.n_items)
        rows, columns = score.users[batch], score.items[: self.n_items]
        of_users, entries = RowsBest(rows, columns, self.k_items, masked), list[ColumnUpdates | None]()
        for tile in tiles_of(rows, columns):
            of_users.take(tile)
            tile.scores[batch == 0] = -torch.inf
            entries.append(best.add(tile.scores, batch, tile.start))
        values, places = of_users.best()
        values[batch == 0] = -torch.inf
        return values, places, ColumnUpdates.of_tiles(entries)

    def _by_entries(self, score: ShallowEnsemble, batch: Tensor, best: ColumnsBest) -> _Taken:
        scores, columns = score.listed(batch, excluded_pairs(batch, self.exclude, self.n_items))
        scores.masked_fill_((columns >= self.n_items) | (batch == 0)[:, None], -torch.inf)
        values, order = torch.topk(scores, min(self.k_items, scores.shape[1]), dim=1)
        return values, columns.gather(1, order), best.add_listed(scores, columns, batch)


def top_lists(
    score: ScoreFn,
    users: Tensor,
    n_items: int,
    k_items: int,
    k_users: int,
    exclude: csr_matrix | None = None,
    batch_size: int = 512,
    workers: Workers | None = None,
    worth: int = WORTH,
    waiting: Callable[[], None] = nothing,
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
    best, items = ColumnsBest(n_items, k_users, users.device), users.new_zeros(len(users), k_items)
    done, n = 0, whole.n_batches
    with workers or Sequential() as those:
        shared = those.at_once > 1 and n >= worth * those.at_once
        # at first nearly all are among the best, which would be much to send; and what a model keeps when it
        # first scores, which a few models draw, is sent with it
        while done < n and not (shared and done and best.is_choosy):
            items[whole.part_of(range(done, done + 1))] = whole.take(done, best)[0]
            done += 1
        if done < n:
            _share_out(whole, range(done, n), items, best, those, waiting)
    return items, best.ids.masked_fill_(best.scores == -torch.inf, 0)


def take_share(
    common: tuple[RankingPass, ColumnsBest], batches: range
) -> tuple[Tensor, list[ColumnUpdates | None]]:
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
    best: ColumnsBest,
    workers: Workers,
    waiting: Callable[[], None],
) -> None:
    """Lets workers go through batches; ``items`` and ``best`` become what they are after the last one."""
    shares = shares_of(batches, workers.at_once)
    found: dict[int, list[ColumnUpdates | None]] = {}
    with closing(workers.each(take_share, (whole, best.copy()), shares, waiting=waiting)) as results:
        for place, (lists, updates) in results:
            items[whole.part_of(shares[place])], found[place] = lists, updates
    for place, share in enumerate(shares):
        for number, entries in zip(share, found.pop(place), strict=True):
            if entries is None:
                whole.take(number, best)
            elif best.k:
                best.add_few(entries.above(best.bounds))
