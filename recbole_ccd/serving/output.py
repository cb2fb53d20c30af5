"""Files that serving leaves, whole or not at all, and devices and pipes that it writes to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from recbole_ccd.checkpoint.run_directory import belongs_to_runs
from recbole_ccd.utils.atomic_files import replacing
from recbole_ccd.utils.console import ReaderGone
from recbole_ccd.utils.errors import RunError

# what serving writes; of these kinds the folders of runs hold two files of their own
_KINDS = (".csv", ".npz")
_OF_RUNS = ("comparison.csv", "trials.csv")
_OTHER = "give another --output"


def check_output(path: str | os.PathLike[str], read: str | os.PathLike[str] | None = None) -> None:
    """Refuses a file that cannot be written or would take another one's place, before there is work to lose.

    A link stands for what it leads to. A pipe or a device such as ``/dev/null`` is written to and stays what
    it is; a disk is none of these. Within the folders of runs, comparisons and searches only ``.csv`` and
    ``.npz`` files beside their own are let through.

    Args:
        path: the file to write.
        read: a file that is read for it.

    Raises:
        RunError: If its folder is missing or may not be written to, or it is a folder itself, the file that
            is read, or one that belongs to a run.
    """
    target, found = Path(path), _found(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise RunError(f"{target} is a folder; give --output the name of a file")
    if _is_stream(found):
        if not os.access(target, os.W_OK):
            raise RunError(f"{target} is not writable; make it so, or {_OTHER}")
        return
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise RunError(f"{target} is no file, pipe or character device; {_OTHER}")
    if found is not None and read is not None and _is_same(found, read):
        raise RunError(f"{target} is the file that is read; {_OTHER}")
    real = Path(os.path.realpath(target))
    if _is_of_a_run(real):
        raise RunError(f"{target} belongs to the run; {_OTHER}")
    if is_standard_output(path):
        return
    folder = real.parent if target.is_symlink() else target.parent
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder; make it, or {_OTHER}")
    for place in (folder, real):
        if place.exists() and not os.access(place, os.W_OK | (os.X_OK if place == folder else 0)):
            raise RunError(f"{place} is not writable; make it so, or {_OTHER}")


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to where the process prints, as ``/dev/stdout`` does."""
    found = _found(path)
    try:
        return found is not None and os.path.samestat(found, os.fstat(1))
    except OSError:
        return False


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Any]:
    """What takes the bytes of an output: a file that takes its name when all has been written, or a stream.

    Raises:
        RunError: If it cannot be written; a file that was there before is still there.
        ReaderGone: If it is standard output, and nobody reads that.
    """
    check_output(path)
    printed = is_standard_output(path)
    try:
        if printed or _is_stream(_found(path)):
            with _stream(path, printed) as file:
                yield _Onwards(file)
        else:
            with replacing(os.path.realpath(path)) as file:
                yield file
    except BrokenPipeError as error:
        if printed:
            raise ReaderGone from error
        raise RunError(f"nobody reads {path} any more; start its reader anew, or {_OTHER}") from error
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{path} cannot be written ({reason}); free space or {_OTHER}") from error


class _Onwards:
    """A stream that is written to and never gone back in, whatever its device pretends."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.flush = file.write, file.flush


def _stream(path: str | os.PathLike[str], printed: bool) -> BinaryIO:
    if not printed:
        return open(path, "wb")
    if sys.stdout is not None:
        sys.stdout.flush()
    return open(1, "wb", closefd=False)


def _found(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What is at the end of a path; None where nothing is yet."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{os.fspath(path)!r} cannot be written ({reason}); {_OTHER}") from error


def _is_same(found: os.stat_result, read: str | os.PathLike[str]) -> bool:
    """Whether a file that is there is the one that is read."""
    try:
        return os.path.samestat(found, os.stat(read))
    except (OSError, ValueError):
        return False


def _is_stream(found: os.stat_result | None) -> bool:
    return found is not None and (stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode))


def _is_of_a_run(real: Path) -> bool:
    folder = next((parent for parent in real.parents if belongs_to_runs(parent)), None)
    own = folder == real.parent and real.suffix in _KINDS and real.name.casefold() not in _OF_RUNS
    return folder is not None and not own
