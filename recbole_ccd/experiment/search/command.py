"""What ``run_ccd.py --tune=FILE`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recbole_ccd.experiment.run import split_key
from recbole_ccd.experiment.search.space import ALGORITHMS, EXHAUSTIVE, MOST_TRIALS
from recbole_ccd.utils.errors import ConfigError, one_line


@dataclass(frozen=True)
class Request:
    """The arguments of a command line that are about the search itself.

    Attributes:
        file: the file of the space.
        algorithm: one of :data:`~recbole_ccd.experiment.search.space.ALGORITHMS`.
        n_trials: how many; None where that is not said.
        rest: all other arguments.
    """

    file: str
    algorithm: str
    n_trials: int | None
    rest: list[str]


def is_tuning(argv: Sequence[str]) -> bool:
    """Whether arguments ask for a search rather than for a run."""
    return any(text.partition("=")[0] == "--tune" for text in argv)


def split_tuning(argv: Sequence[str]) -> Request:
    """Takes what is about the search out of the arguments.

    Args:
        argv: ``--tune=FILE`` and, if wanted, ``--tune_algorithm`` and ``--tune_trials``, and all others.

    Raises:
        ConfigError: If one of the three is wrong, or a search is to be gone on with.
    """
    rest, file = split_key("tune", argv, "no file; give the file of a search space")
    rest, algorithm = split_key("tune_algorithm", rest)
    rest, n_trials = split_key("tune_trials", rest)
    if file is None:
        raise ConfigError("the argument '--tune' (command line) cannot be read; write it as --tune=FILE")
    if any(text.partition("=")[0] == "--resume" for text in rest):
        raise ConfigError(
            "--tune and --resume exclude each other (command line), as the folder knows what is searched; "
            "leave --tune out"
        )
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise ConfigError(
            f"tune_algorithm is {one_line(repr(algorithm))} (command line); give one of: "
            f"{', '.join(ALGORITHMS)}"
        )
    if n_trials is None:
        return Request(file, algorithm or EXHAUSTIVE, None, rest)
    if not (n_trials.isascii() and n_trials.isdigit() and 1 <= int(n_trials[:9]) <= MOST_TRIALS):
        raise ConfigError(
            f"tune_trials is {one_line(repr(n_trials))} (command line); give an integer >= 1 and <= "
            f"{MOST_TRIALS}"
        )
    return Request(file, algorithm or EXHAUSTIVE, int(n_trials), rest)
