"""Files that serving leaves: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_ccd.errors import RunError
from recbole_ccd.files import replacing

# what serving writes; a run has no file of these kinds
_KINDS = (".csv", ".npz")


def check_output(
    path: str | os.PathLike[str],
    run_dir: str | os.PathLike[str] | None = None,
    read: str | os.PathLike[str] | None = None,
) -> None:
    """Refuses a file that cannot be written or would take another one's place, before there is work to lose.

    Args:
        path: the file to write.
        run_dir: the run that is served, whose own files are left alone.
        read: a file that is read for it.

    Raises:
        RunError: its folder is missing or may not be written to, or it is a folder itself, the file that is
            read, or one that belongs to the run.
    """
    target = Path(path)
    if read is not None and os.path.realpath(target) == os.path.realpath(read):
        raise RunError(f"{target} is the file that is read; give another --output")
    inside = run_dir is not None and Path(os.path.realpath(run_dir)) in Path(os.path.realpath(target)).parents
    if inside and os.path.exists(target) and target.suffix not in _KINDS:
        raise RunError(f"{target} belongs to the run; give another --output")
    if os.path.isdir(target):
        raise RunError(f"{target} is a folder; give --output the name of a file")
    if not os.path.isdir(target.parent):
        raise RunError(f"{target.parent} is no folder; make it, or give another --output")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise RunError(f"{target.parent} is not writable; make it so, or give another --output")


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A file to write bytes to that takes its name when all has been written.

    Raises:
        RunError: it cannot be written; what was there before is still there.
    """
    check_output(path)
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{path} cannot be written ({reason}); free space or give another --output") from error
