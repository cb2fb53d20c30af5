"""A pass over batches, of which each worker does a range where there are enough of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TypeVar

from recbole_ccd.utils.parallel.workers import Done, Sequential, Shared, Workers, nothing
from recbole_ccd.utils.seeding import generator_states, same_states

Common = TypeVar("Common")

WORTH = 32
"""Batches per worker below which sending a model takes longer than scoring with it."""

# a model keeps what it propagates, and perhaps draws, at the first; at the second it draws as at all others
_HERE = 2


def batch_by_batch(
    take: Callable[[Shared, int], Done],
    common: Shared,
    n: int,
    workers: Workers | None = None,
    worth: int = WORTH,
    waiting: Callable[[], None] = nothing,
) -> Generator[tuple[int, Done], None, None]:
    """Goes through batches that do not need one another.

    Where several workers share them, the first two are done here all the same: what a model keeps when it
    scores is sent with it, and a model that draws anew for each batch is found out and not shared.

    Args:
        take: does a batch, a function that is found by its name.
        common: what all batches need; it is sent once.
        n: how many there are.
        workers: who does it; None for this process.
        worth: batches that each worker must get for several to share them.
        waiting: called now and then while workers are at it.

    Yields:
        The number of a batch and what came of it; in order but for those that are shared.
    """
    with workers or Sequential() as those:
        shared, done = those.at_once > 1 and n >= worth * those.at_once, 0
        while done < n and not (shared and done >= _HERE):
            before = generator_states() if shared and done else None
            yield done, take(common, done)
            shared = shared and (before is None or same_states(before, generator_states()))
            done += 1
        if done == n:
            return
        shares = shares_of(range(done, n), those.at_once)
        with closing(those.each(take_share, (take, common), shares, waiting=waiting)) as results:
            for place, found in results:
                yield from zip(shares[place], found, strict=True)


def shares_of(batches: range, at_once: int) -> list[range]:
    """Batches in a row for each worker, as even as may be, and none without any."""
    n = min(at_once, len(batches))
    return [batches[len(batches) * share // n : len(batches) * (share + 1) // n] for share in range(n)]


def take_share(common: tuple[Callable[[Common, int], Done], Common], batches: Sequence[int]) -> list[Done]:
    """Goes through some batches.

    Args:
        common: what does one of them, and what it needs.
        batches: the numbers of the batches.
    """
    take, known = common
    return [take(known, number) for number in batches]
