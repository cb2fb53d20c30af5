"""The errors a user can cause. Each carries one line that names the place and the remedy.

``run_ccd.py`` prints that line and exits with code 2; from Python they are ordinary exceptions.
"""

from __future__ import annotations

import os
from collections.abc import Callable


class CCDError(Exception):
    """Base class of every error that bad input can cause."""


class ConfigError(CCDError):
    """A key or a value of the configuration is unknown or impossible."""


class DataError(CCDError):
    """A data file, or the stream cut from it, cannot be used."""


class ModelError(CCDError):
    """A model lacks what its role in the stream needs."""


class RunError(CCDError):
    """A run directory cannot be used, or training went wrong beyond repair.

    Attributes:
        going_on_in: the message with another folder to go on with; None where it names none.
    """

    going_on_in: Callable[[str | os.PathLike[str]], str] | None = None


class TrainingError(RunError):
    """Training went wrong with these settings: a loss or scores that are no numbers, or too much memory."""


def one_line(text: object, limit: int = 120) -> str:
    """Text on one line, cut to ``limit`` characters, for a message that quotes what a user gave."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
