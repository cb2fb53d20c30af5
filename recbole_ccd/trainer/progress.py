"""What a stage's progress bars say: where it is, and how long it will take at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from recbole.utils import set_color
from tqdm import tqdm


class StageProgress:
    """How far a stage is.

    Args:
        words: which stage it is.
        n_epochs: epochs that it takes unless it is stopped early.
        first_epoch: the epoch it begins with, counted from 0; those before it were trained earlier.
        clock: gives seconds.
    """

    def __init__(
        self, words: str, n_epochs: int, first_epoch: int = 0, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._words, self._n_epochs, self._first = words, n_epochs, first_epoch
        self._clock, self._start = clock, clock()

    def left(self, epoch: int, share: float) -> float | None:
        """Seconds that are left of the stage if no validation ends it early.

        The epochs to come are taken to be as long as those since the beginning, validation included.

        Args:
            epoch: the epoch under way, counted from 0.
            share: how much of it is done, from 0 to 1.

        Returns:
            The seconds; None before anything is done.
        """
        done = epoch - self._first + share
        if done <= 0:
            return None
        return max(0.0, (self._clock() - self._start) / done * (self._n_epochs - self._first - done))

    def words(self, epoch: int, what: str = "") -> str:
        """Block, stage and epoch; ``what`` is a pass after the epoch's batches."""
        return f"{self._words}, epoch {epoch + 1} of {self._n_epochs}{what}"

    def bar(self, batches: Any, epoch: int, what: str = "") -> Iterable[Any]:
        """Draws a bar while an epoch's batches, or those of a pass after it, are gone through.

        It is as wide as the terminal, and there is none where nobody watches, in a pipe or a file.
        """
        return _Bar(
            batches,
            total=len(batches),
            desc=set_color(self.words(epoch, what), "pink"),
            bar_format="{desc}, {time_left} |{bar}|",
            dynamic_ncols=True,
            leave=False,
            disable=None,
            # what is after the batches belongs to an epoch that is all but done
            left=lambda share: self.left(epoch, 1.0 if what else share),
        )


class _Bar(tqdm):
    """A bar that knows more than its own batches."""

    def __init__(self, *args: Any, left: Callable[[float], float | None], **kwargs: Any) -> None:
        self._left = left
        super().__init__(*args, **kwargs)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar's format can name: tqdm's own, and ``time_left``."""
        left = self._left(self.n / self.total if self.total else 1.0)
        told = "" if left is None else f"up to {tqdm.format_interval(left)} left"
        return {**super().format_dict, "time_left": told or "just begun"}
