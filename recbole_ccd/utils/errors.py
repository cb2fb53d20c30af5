"""The errors a user can cause. Each carries one line that names the place and the remedy.

``run_ccd.py`` prints that line and exits with code 2; from Python they are ordinary exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# a word and its slip of the pen share so much; less is a likeness by accident
_NEAR = 0.7


class CCDError(Exception):
    """Base class of every error that bad input can cause."""


class ConfigError(CCDError):
    """A key or a value of the configuration is unknown or impossible."""


class DataError(CCDError):
    """A data file, or the stream cut from it, cannot be used."""


class ModelError(CCDError):
    """A model lacks what its role in the stream needs."""


class RunError(CCDError):
    """A run directory cannot be used, or training went wrong beyond repair."""


class TrainingError(RunError):
    """Training went wrong with these settings: a loss or scores that are no numbers, or too much memory."""


def one_line(text: object, limit: int = 120) -> str:
    """Text on one line, cut to ``limit`` characters, for a message that quotes what a user gave."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8; bytes that could not be read stand in one as surrogates."""
    return all(not "\ud800" <= character <= "\udfff" for character in value)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word may be a slip of the pen for; None if there is none."""
    by_lower = {entry.lower(): entry for entry in sorted(known)}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=_NEAR)
    return by_lower[found[0]] if found else None


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message about a word that nobody knows.

    Args:
        word: the word.
        known: the words that there are.
        otherwise: the remedy where none of them is near.
    """
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean '{near}'?"
