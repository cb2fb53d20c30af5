"""What the program prints: on a stream whose reader may have gone, in the characters that it has."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

from recbole_ccd.utils.errors import RunError

CLOSED = 141
"""The exit code where the reader of the output itself has gone; a shell gives it to who dies of SIGPIPE."""


class ReaderGone(Exception):
    """Nobody reads the output any more, so that there is nothing left to do."""


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints lines; characters that the stream does not have are written as escapes.

    What is said of a work that is done is no part of it: if its reader has gone, nothing happens.

    Args:
        text: the lines.
        stream: where to; default standard output. A process may have been started without one.

    Raises:
        RunError: If standard output takes nothing, as on a full disk.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError as error:
        _let_go(stream)
        if error.errno != errno.EPIPE and stream is sys.stdout:
            raise RunError(
                f"standard output cannot be written ({error.strerror}); free space or send it elsewhere"
            ) from error


def settle() -> None:
    """Makes sure that the interpreter has nothing to complain about when it writes out what is left."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _let_go(stream)
        except ValueError:  # it has been closed
            continue


def _let_go(stream: TextIO) -> None:
    """Sends what a stream still holds, and all that follows, nowhere."""
    # a stream that only looks like one has no descriptor
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
