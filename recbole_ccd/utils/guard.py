"""The door of each command: whatever goes wrong before anything is trained ends in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from recbole_ccd.utils.console import ReaderGone
from recbole_ccd.utils.errors import CCDError, RunError, one_line

DEBUG = "RECBOLE_CCD_DEBUG"
"""The environment variable that lets the program show the traceback behind a line; any value but 0 does."""

# of the command that is under way: whether something is trained by now
_inside: ContextVar[list[bool] | None] = ContextVar("recbole_ccd_inside", default=None)


@contextmanager
def guarded(reading: str) -> Iterator[None]:
    """Turns an error that no check has foreseen into one line, as long as nothing is trained.

    Bad input is mostly found by a check that knows the remedy. Where none does, the line says what was being
    read, and how to see the traceback, which is the error's cause. Once training has begun
    (:func:`training_begins`) errors pass as they are. It may also stand above a function, as a decorator.

    Args:
        reading: what is looked at meanwhile. Where one stands within another the inner one is told.

    Raises:
        RunError: If something that is no :class:`~recbole_ccd.utils.errors.CCDError` was raised.
    """
    inside = _inside.get() or [False]
    before = _inside.set(inside)
    try:
        yield
    except (CCDError, ReaderGone):
        raise
    except Exception as error:
        if inside[0]:
            raise
        raise RunError(
            f"{one_line(reading)} cannot be used ({_described(error)}), for a reason that no check knows; "
            f"look for what is unusual there, and set {DEBUG}=1 to see where it has happened"
        ) from error
    finally:
        _inside.reset(before)


def training_begins() -> None:
    """Says that there is work to lose: from now on an error is reported with all that is known of it."""
    inside = _inside.get()
    if inside is not None:
        inside[0] = True


def shows_tracebacks() -> bool:
    """Whether the user wants to see the traceback behind a line."""
    return os.environ.get(DEBUG, "0") not in ("", "0")


def _described(error: Exception) -> str:
    kind, text = type(error).__name__, one_line(error)
    return f"{kind}: {text}" if text else kind
