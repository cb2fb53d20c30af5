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

from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.owned_folder import OwnedFolder, belonging, open_owned, owner_of

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # a module is no variable that may be None

LOCK = "lock"
"""The name of the lock's file."""

_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)


class RunLock:
    """Holds a folder for this process while it is entered.

    It is a lock of the operating system on the file ``lock``, so it goes with the process, however that ends.
    Where there are no such locks (Windows, some network file systems) nothing is held.

    Args:
        folder: the run directory; it must exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder, LOCK)
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        """Take the lock, and look whether all that lies in the folder belongs there.

        Raises:
            RunError: If another process holds it, or the folder cannot be written to, or holds links.
        """
        while fcntl is not None and self._descriptor is None:
            try:
                self._take(open_owned(self._path, os.O_RDWR))
            except PermissionError as error:
                self._clear_away(error)
            except OSError as error:
                raise self._unwritable(error) from error
        try:
            OwnedFolder(self._path.parent).check_content()
        except BaseException as error:
            self.__exit__(None, None, None)
            if isinstance(error, OSError):
                remedy = belonging(error.filename) or "make it readable"
                raise RunError(f"{error.filename} cannot be read ({error.strerror}); {remedy}") from error
            raise
        return self

    def _unwritable(self, error: OSError) -> RunError:
        remedy = "make the folder writable"
        if isinstance(error, PermissionError):
            remedy = belonging(self._path) or belonging(self._path.parent) or remedy
        return RunError(f"{self._path} cannot be written ({error.strerror}); {remedy}")

    def _clear_away(self, error: PermissionError) -> None:
        """Removes a lock that another user's process has left when it was killed.

        Raises:
            RunError: If it is held, or nobody can tell, or it cannot be removed.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            raise self._unwritable(error) from error
        try:
            self._refuse_if_held(descriptor)
            self._path.unlink()
        except OSError as reason:
            holder = f"{_holder(descriptor)}, which has ended, has left {self._path}"
            remedy = belonging(self._path) or "make the folder writable"
            raise RunError(f"{holder}, and it cannot be removed ({reason.strerror}); {remedy}") from error
        finally:
            os.close(descriptor)

    def _refuse_if_held(self, descriptor: int) -> None:
        """Locks an opened file.

        Raises:
            RunError: If another process holds it.
            OSError: If there are no locks here.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            raise RunError(
                f"{self._path.parent} is in use by {_holder(descriptor)}; wait for its end or stop it"
            ) from None

    def _take(self, descriptor: int) -> None:
        """Locks an opened file, unless its holder has removed it in the meantime."""
        try:
            with suppress(OSError):  # nothing is held where there are no locks
                self._refuse_if_held(descriptor)
        except RunError:
            os.close(descriptor)
            raise
        shared = os.fstat(descriptor).st_nlink > 1
        if shared:
            # in a copy made of hard links, the file is that of the other folder too
            self._path.unlink()
        if shared or not _is_at(descriptor, self._path):
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
            # the folder may have been moved, and another one have taken its place
            if _is_at(self._descriptor, self._path):
                with suppress(OSError):
                    self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _holder(descriptor: int) -> str:
    """Who holds the lock, as far as its file tells."""
    note: Any = None
    with suppress(OSError, ValueError):
        note = json.loads(os.pread(descriptor, 1000, 0))
    if not isinstance(note, dict):
        return "another process"
    owner = owner_of(descriptor)
    return f"process {note.get('pid')} on {note.get('host')}" + (f" of {owner}" if owner else "")
