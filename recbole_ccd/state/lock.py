"""One process per run directory."""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from recbole_ccd.errors import RunError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK = "lock"
"""The name of the lock's file."""

_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)


class RunLock:
    """Holds a folder for this process while it is entered.

    It is a lock of the operating system on the file ``lock``, so it goes with the process, however that ends.
    Where there are no such locks (Windows, some network file systems) nothing is held.

    Args:
        folder: The run directory; it must exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder, LOCK)
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            RunError: If another process holds it, or the folder cannot be written to.
        """
        if fcntl is None:
            return self
        while self._descriptor is None:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise RunError(
                    f"{self._path} cannot be written ({error.strerror}); {self._remedy()}"
                ) from error
            self._take(descriptor)
        return self

    def _remedy(self) -> str:
        folder = self._path.parent
        if self._path.exists() and os.access(folder, os.W_OK | os.X_OK):
            # left behind by somebody whose process was killed
            return "it is another user's; remove it if nobody is at the run any more"
        return "make the folder writable"

    def _take(self, descriptor: int) -> None:
        """Locks an opened file, unless its holder has removed it in the meantime."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise RunError(
                    f"{self._path.parent} is in use by {holder}; wait for its end or stop it"
                ) from None
        if not _is_at(descriptor, self._path):
            os.close(descriptor)
            return
        self._descriptor = descriptor
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        with suppress(OSError):  # on a full disk the lock does without its note
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note.encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the folder and remove the file."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as its file tells."""
    note: Any = None
    with suppress(OSError, ValueError):
        note = json.loads(os.pread(descriptor, 1000, 0))
    if not isinstance(note, dict):
        return "another process"
    return f"process {note.get('pid')} on {note.get('host')}"
