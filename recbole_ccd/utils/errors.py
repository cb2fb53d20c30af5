"""The errors a user can cause. Each carries a line that names the place and the remedy, for each thing wrong.

``run_ccd.py`` prints the lines and exits with code 2; from Python they are ordinary exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable

# letters of a word for each slip of the pen in it; with more slips a likeness is by accident
_LETTERS_PER_SLIP = 5
# of a word that is a part of another one
_LEAST_LETTERS = 5


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


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word may be a slip of the pen for; None if there is none.

    That is one with few letters missing, added, changed or exchanged (one in five), one of the same parts in
    another order, such as ``rate_learning``, the only one that begins or ends like it, or a long one that it
    ends with itself, such as ``mlp_embedding_size``.
    """
    by_lower = {entry.lower(): entry for entry in sorted(known)}
    word = word.lower()
    most = max(len(word) // _LETTERS_PER_SLIP, 1)
    slips = {entry: _slips(word, entry) for entry in by_lower if abs(len(entry) - len(word)) <= most}
    best = min(slips, key=slips.__getitem__, default=None)
    if best is not None and slips[best] <= most:
        return by_lower[best]
    found = [entry for entry in by_lower if sorted(entry.split("_")) == sorted(word.split("_"))]
    if not found and len(word) >= _LEAST_LETTERS:
        slips = {entry: min(_slips(word, end) for end in _ends(entry)) for entry in by_lower if "_" in entry}
        least = min(slips.values(), default=most + 1)
        found = [entry for entry in slips if slips[entry] == least <= most]
    if not found:
        inside = [entry for entry in by_lower if word.endswith(f"_{entry}")]
        found = [entry for entry in inside if len(entry) > len(word) // 2]
    return by_lower[found[0]] if len(found) == 1 else None


def _ends(word: str) -> list[str]:
    """The first parts of a word, and the last ones."""
    parts = word.split("_")
    cuts = range(1, len(parts))
    return [*("_".join(parts[:n]) for n in cuts), *("_".join(parts[n:]) for n in cuts)]


def _slips(word: str, meant: str) -> int:
    """Letters missing, added, changed, or exchanged with the next one (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(word, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(meant, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == meant[j - 2] and word[i - 2] == other:
                least = min(least, last[j - 2] + 1)
            row.append(least)
    return row[-1]


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message about a word that nobody knows.

    Args:
        word: the word.
        known: the words that there are.
        otherwise: the remedy where none of them is near.
    """
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean '{near}'?"
