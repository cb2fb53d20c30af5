"""What the machine can refuse in the middle of a run, reported in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_ccd.utils.atomic_files import first_line
from recbole_ccd.utils.errors import RunError, TrainingError, one_line
from recbole_ccd.utils.owned_folder import owner_of

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")


class _Refused(RunError):
    """What the machine has refused, of a run that can be resumed.

    Attributes:
        folder: the run directory to go on with; of one within another, as in a comparison, the outer one.
    """

    def __init__(self, before: str, folder: str | os.PathLike[str], after: str = "") -> None:
        """Says what is wrong, and what can be done.

        Args:
            before: what stands in the line before the folder.
            folder: the run directory to go on with.
            after: what stands behind it.
        """
        super().__init__(before, folder, after)
        self._before, self.folder, self._after = before, folder, after

    def __str__(self) -> str:
        return f"{self._before} --resume={os.fspath(self.folder)}{self._after}"


class NotSavedError(_Refused):
    """A file cannot be written."""


class OutOfMemoryError(_Refused, TrainingError):
    """There is no memory left."""


@contextmanager
def translate_resource_errors(folder: str | os.PathLike[str], doing: Callable[[], str]) -> Iterator[None]:
    """Turns a full disk and exhausted memory into errors that name the remedy.

    Args:
        folder: the run directory to go on with; where one stands within another, the outer one is named.
        doing: says what the run is at.

    Raises:
        TrainingError: If there is no memory.
        RunError: If there is no room, or a file cannot be written.
    """
    try:
        yield
    except _Refused as error:
        error.folder = folder
        raise
    except OSError as error:
        raise not_saved(error.filename or folder, error, folder) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{doing()}: out of memory ({one_line(first_line(error))}); lower eval_batch_size and go on with",
            folder,
            ", or start anew with a lower train_batch_size, lwc_kd_anchors, n_uninteresting_items, "
            "n_uninteresting_users or embedding_size of teacher_args",
        ) from error


def not_saved(path: str | os.PathLike[str], error: OSError, folder: str | os.PathLike[str]) -> RunError:
    """The error of a file that the machine does not take.

    Args:
        path: the file.
        error: what the machine said.
        folder: the run directory to go on with.
    """
    remedy = "free space there" if error.errno in _NO_ROOM else "see to it"
    owner = owner_of(path) or owner_of(Path(path).parent)
    if owner is not None and isinstance(error, PermissionError):
        remedy = f"have {owner}, to whom it belongs, make it writable for you"
    reason = error.strerror or one_line(error)
    return NotSavedError(f"{path} cannot be saved ({reason}); {remedy} and go on with", folder)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is of a machine or a device without memory left."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)
