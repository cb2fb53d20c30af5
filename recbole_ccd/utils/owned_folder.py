"""A folder whose files lie in it and nowhere else, and which stays the one it was."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from recbole_ccd.utils.atomic_files import atomic_write
from recbole_ccd.utils.errors import RunError

# not on Windows, where only those who may make links can have them followed
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# a pipe that somebody has put in the place of a file would be waited for
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


class OwnedFolder:
    """The folder of a run, of a comparison or of a search, for all that is written into it.

    Where such a folder comes from elsewhere, links in it could lead what is written, or removed, to any file
    of its user. So each path is looked at before it is used: what lies below the folder are folders and
    plain files. While a process is at it, it stays the same one: it is not made anew where somebody has
    moved it away, nor is another one of its name written into.

    Args:
        path: the folder, itself possibly a link; it need not be there yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._identity: tuple[int, int] | None = None
        with suppress(OSError, ValueError):
            self._identity = _identity_of(self.path)

    def make(self) -> None:
        """Makes the folder where there has never been one; those above it must be there.

        Raises:
            RunError: If it was there, and is not any more.
            OSError: If it cannot be made.
        """
        if self._identity is None:
            self.path.mkdir(exist_ok=True)
        self.check()

    def check(self) -> None:
        """Refuses to go on where the folder is not the one it was; nothing where it has never been there.

        Raises:
            RunError: If somebody has moved or removed it.
        """
        try:
            found = _identity_of(self.path)
        except FileNotFoundError:
            found = None
        if self._identity is None:
            self._identity = found
        if found != self._identity:
            raise RunError(
                f"{self.path} was moved or removed while it was in use; go on with it where it is now, or "
                f"put it back and give --resume={self.path}"
            )

    def folder(self, name: str) -> Path:
        """A folder below this one, which is made if it is not there.

        Args:
            name: its path within the folder, with ``/``.

        Raises:
            RunError: If a part of the path is a link or no folder, or this folder was moved away.
            OSError: If it cannot be made.
        """
        self.check()
        path = self.path
        for part in Path(name).parts:
            path = path / part
            with suppress(FileExistsError):
                path.mkdir()
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise _refused(path)
        return path

    def file(self, name: str) -> Path:
        """Where a file goes that is written whole and takes its name then; its folder is made.

        Args:
            name: its path within the folder, with ``/``.

        Raises:
            RunError: As of :meth:`folder`, or if what is there is no plain file.
            OSError: If its folder cannot be made.
        """
        where = Path(name)
        path = self.folder(where.parent.as_posix()) / where.name
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise _refused(path)
        return path

    def write(self, name: str, text: str) -> None:
        """Writes a file; at any moment it is the old one or the new one.

        Raises:
            RunError: As of :meth:`file`.
            OSError: If it cannot be written.
        """
        atomic_write(self.file(name), text)

    def remove(self, path: Path) -> None:
        """Removes a file below this folder, as far as that is possible; never through a link."""
        with suppress(OSError, RunError):
            self.file(path.relative_to(self.path).as_posix()).unlink()

    def folders(self, pattern: str) -> Iterator[Path]:
        """The folders below this one whose path fits a pattern, without those that are reached by a link."""
        for folder in self.path.glob(pattern):
            way = (folder, *folder.parents)
            if folder.is_dir() and not any(map(Path.is_symlink, way[: way.index(self.path)])):
                yield folder

    def check_content(self) -> None:
        """Refuses a folder that holds anything but folders and plain files.

        Raises:
            RunError: If it does; the message names the first one.
            OSError: If it cannot be looked into.
        """
        waiting = [self.path]
        while waiting:
            for path in sorted(waiting.pop().iterdir()):
                # somebody at a run of a comparison may remove a file meanwhile
                with suppress(FileNotFoundError):
                    mode = path.lstat().st_mode
                    if stat.S_ISDIR(mode):
                        waiting.append(path)
                    elif not stat.S_ISREG(mode):
                        raise _refused(path)


def open_owned(path: str | os.PathLike[str], flags: int) -> int:
    """Opens a file to be changed where it lies, such as a log; made if it is not there.

    Args:
        path: the file.
        flags: those of ``os.open`` that say what is done with it.

    Returns:
        The descriptor.

    Raises:
        RunError: If it is a link, or no plain file.
        OSError: If it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | _NO_LINK | _NO_WAIT, 0o644)
    except OSError as error:
        # of a link, of a folder, and of a pipe that nobody reads
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _refused(Path(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(Path(path))
    return descriptor


def unshare(path: str | os.PathLike[str]) -> None:
    """Gives a file that has other names too, as in a copy made of hard links, a content of its own.

    Raises:
        OSError: If it cannot be read, or not be written.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            atomic_write(path, Path(path).read_bytes())


def owner_of(path: str | os.PathLike[str] | int) -> str | None:
    """Whose file or folder something is, in words; None if it is this user's, or cannot be told."""
    try:
        number = (os.fstat(path) if isinstance(path, int) else os.lstat(path)).st_uid
        if number == os.geteuid():
            return None
    except (OSError, AttributeError):  # there are no such users on Windows
        return None
    try:
        import pwd

        return f"user {pwd.getpwuid(number).pw_name}"
    except (ImportError, KeyError):
        return f"user {number}"


def belonging(path: str | os.PathLike[str]) -> str | None:
    """What to do about another user's file; None if it is no other user's."""
    owner = owner_of(path)
    return owner and f"it belongs to {owner}: have it made writable for you, or go on with a copy of the run"


def _identity_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _refused(path: Path) -> RunError:
    kind = "a link" if path.is_symlink() else "no plain file or folder of its own"
    return RunError(
        f"{path} is {kind}, and what a run keeps lies in its folder itself; put there what it stands for, or "
        "remove it"
    )
