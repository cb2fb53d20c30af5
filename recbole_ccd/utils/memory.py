"""How much memory the process holds while something runs."""

from __future__ import annotations

import os
import sys
from threading import Event, Thread
from types import TracebackType

_STATUS = "/proc/self/statm"
_MEGABYTE = 1e6
# seconds between two looks
_EVERY = 0.05


def peak_rss_mb() -> float | None:
    """This process's largest resident memory so far, in MB (10**6 bytes); None if unknown."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MEGABYTE, 1)


class MemoryWatch:
    """The process's largest resident memory while a block of code runs; a context manager.

    The peak that the kernel counts never falls, and to reset it would falsify what others read. So a thread
    looks every twentieth of a second, and what exceeds all that there was before is read from the kernel.

    Attributes:
        mb: the memory in MB (10**6 bytes), once the block has ended; None where the system does not tell.
    """

    def __init__(self) -> None:
        """Prepares it; nothing is looked at yet."""
        self.mb: float | None = None
        self._seen, self._before = 0.0, 0.0
        self._ended, self._thread = Event(), Thread(target=self._look, name="memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        """Begin to look."""
        self._before = peak_rss_mb() or 0.0
        self._seen = _resident_mb()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look for the last time."""
        self._ended.set()
        self._thread.join()
        self._seen = max(self._seen, _resident_mb())
        peak = peak_rss_mb() or 0.0
        found = peak if peak > self._before or not self._seen else self._seen
        self.mb = round(found, 1) if found else None

    def _look(self) -> None:
        while not self._ended.wait(_EVERY):
            self._seen = max(self._seen, _resident_mb())


def _resident_mb() -> float:
    """Resident memory now, in MB; 0 where the system does not tell."""
    try:
        with open(_STATUS, encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE
    except (OSError, ValueError, IndexError):
        return 0.0
