"""Stopping a run from outside, at a moment from which it can be resumed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

GRACE_SECONDS = 5.0
"""How long an epoch may take to end after a signal; then it is given up."""

_SIGNALS = ("SIGINT", "SIGTERM")
# there is none on Windows, where no epoch is given up
_ALARM = getattr(signal, "SIGALRM", None)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        number: of the signal.
        folder: the run directory to go on with, once there is one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.folder: str | None = None


@contextmanager
def resumable(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Tells a :class:`Interrupted` that passes what to go on with; of nested folders the outermost."""
    try:
        yield
    except Interrupted as stopped:
        stopped.folder = os.fspath(folder)
        raise


class InterruptHandler:
    """Listens for SIGINT and SIGTERM while it is entered; then signals are handled as before.

    While something runs that is saved now and then (:meth:`gracefully`) the first signal is a wish: who runs
    it looks at :attr:`requested` where it can save, and calls :meth:`now`. If that takes longer than
    :data:`GRACE_SECONDS`, or at a second signal, :class:`Interrupted` is raised wherever the program is.
    Otherwise it is raised at the first one. Only the main thread can listen; elsewhere nothing happens.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._graceful = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> InterruptHandler:
        """Handles signals from now on."""
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in _SIGNALS]
            self._before = {number: signal.signal(number, self._hear) for number in numbers}
            if _ALARM is not None:
                self._before[_ALARM] = signal.signal(_ALARM, self._give_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Handle signals as before."""
        self._forget_time()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @contextmanager
    def gracefully(self) -> Iterator[None]:
        """A time in which there is something to finish and to save."""
        self._graceful = True
        try:
            yield
        finally:
            self._graceful = False
            self._forget_time()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def now(self) -> None:
        """End here if a signal has come.

        Raises:
            Stopped: If a signal has come.
        """
        if self._number is not None:
            self._forget_time()
            raise Interrupted(self._number)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first, self._number = self._number is None, number
        if not (self._graceful and first):
            self.now()
        if _ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        # a logger might be at work at this very moment; and who reads the words may have gone
        with suppress(OSError):
            os.write(2, b"stopping as soon as this epoch is saved; once more to stop at once\n")

    def _give_up(self, number: int, frame: FrameType | None) -> None:
        self.now()

    def _forget_time(self) -> None:
        if _ALARM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
