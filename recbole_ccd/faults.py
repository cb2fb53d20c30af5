"""What the machine can refuse in the middle of a run, told in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from recbole_ccd.errors import RunError, TrainingError, one_line
from recbole_ccd.files import first_line

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")


@contextmanager
def told_in_one_line(folder: str | os.PathLike[str], doing: Callable[[], str]) -> Iterator[None]:
    """Turns a full disk and exhausted memory into errors that name the remedy.

    Where these are nested, as the runs of a comparison are in it, the folder to go on with is the outermost.

    Args:
        folder: the run directory to go on with.
        doing: says what the run is at.

    Raises:
        TrainingError: there is no memory.
        RunError: there is no room, or a file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise not_saved(error.filename or folder, error, folder) from error
    except RunError as error:
        if error.going_on_in is None:
            raise
        raise _resumable(type(error), error.going_on_in, folder) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        start = f"{doing()}: out of memory ({one_line(first_line(error))})"
        raise _resumable(TrainingError, partial(_out_of_memory, start), folder) from error


def _out_of_memory(start: str, folder: str | os.PathLike[str]) -> str:
    return (
        f"{start}; lower eval_batch_size and go on with --resume={folder}, or start anew with a lower "
        "train_batch_size, lwc_kd_anchors, n_uninteresting_items, n_uninteresting_users or embedding_size of "
        "teacher_args"
    )


def _resumable(
    kind: type[RunError],
    words: Callable[[str | os.PathLike[str]], str],
    folder: str | os.PathLike[str],
) -> RunError:
    error = kind(words(folder))
    error.going_on_in = words
    return error


def not_saved(path: str | os.PathLike[str], error: OSError, folder: str | os.PathLike[str]) -> RunError:
    """The error of a file that the machine does not take.

    Args:
        path: the file.
        error: what the machine said.
        folder: the run directory to go on with.
    """
    remedy = "free space there" if error.errno in _NO_ROOM else "see to it"
    reason = error.strerror or one_line(error)
    start = f"{path} cannot be saved ({reason}); {remedy} and go on with"
    return _resumable(RunError, lambda of: f"{start} --resume={of}", folder)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is of a machine or a device without memory left."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)
