"""The errors a user can cause. Each carries a line that names the place and the remedy, for each thing wrong.

``run_ccd.py`` prints the lines and exits with code 2; from Python they are ordinary exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable


class CCDError(Exception):
    """Base class of every error that bad input can cause."""

    @property
    def problems(self) -> tuple[str, ...]:
        """The lines, one for each thing that is wrong."""
        return (str(self),)


class ConfigError(CCDError):
    """Keys or values of the configuration are unknown or impossible.

    Attributes:
        keys: the keys whose values cannot be used, as far as the check knew.
    """

    def __init__(self, *problems: str, keys: Iterable[str] = ()) -> None:
        """An error about settings.

        Args:
            *problems: the lines, one for each thing that is wrong.
            keys: the keys whose values cannot be used.
        """
        super().__init__("\n".join(problems))
        self._problems, self.keys = problems, frozenset(keys)

    @property
    def problems(self) -> tuple[str, ...]:
        """The lines, one for each thing that is wrong."""
        return self._problems


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
