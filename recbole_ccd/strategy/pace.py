"""How long a run will still take, as far as that can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from tqdm import tqdm


class Pace:
    """How long blocks have taken in this process, by what there is to learn in them.

    The base block says nothing about those after it: its models are trained from the start, with settings of
    their own. So the first estimate comes after block 1.

    Args:
        skips_first: whether the first block was begun by an earlier process.
        clock: gives seconds.
    """

    def __init__(self, skips_first: bool = False, clock: Callable[[], float] = perf_counter) -> None:
        self._skips, self._clock = skips_first, clock
        self._start = clock()
        self._seconds, self._work = 0.0, 0

    def begin(self) -> None:
        """A block begins."""
        self._start = self._clock()

    def end(self, block: int, work: int) -> None:
        """A block ends.

        Args:
            block: its index.
            work: interactions that have been gone through.
        """
        if block and not self._skips:
            self._seconds, self._work = self._seconds + self._clock() - self._start, self._work + work
        self._skips = False

    def words(self, ahead: Sequence[int]) -> str | None:
        """How long the blocks to come will take.

        Args:
            ahead: interactions of each block to come.

        Returns:
            The time, and what it assumes; None where nothing can be told, or nothing is left.
        """
        if not ahead or not self._work:
            return None
        time = tqdm.format_interval(self._seconds / self._work * sum(ahead))
        blocks = "1 block" if len(ahead) == 1 else f"{len(ahead)} blocks"
        return f"about {time} left for {blocks}, at the time per interaction of the blocks so far"
