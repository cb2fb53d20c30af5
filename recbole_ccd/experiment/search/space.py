"""What is searched: keys and the values they may take, read from a file as RecBole's HyperTuning has it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_ccd.config.sources import Layer
from recbole_ccd.experiment.search.space_file import CHOICE, Entry, multiples, read_entries
from recbole_ccd.utils.errors import ConfigError
from recbole_ccd.utils.seeding import numpy_generator

EXHAUSTIVE, RANDOM = "exhaustive", "random"
ALGORITHMS = (EXHAUSTIVE, RANDOM)
DEFAULT_TRIALS = 10
MOST_TRIALS = 10_000

Values = dict[str, Any]

# as many as RecBole's exhaustive search allows before it takes a space for exhausted
_REPEATS = 1000


@dataclass(frozen=True)
class Dimension:
    """One key that is searched.

    Attributes:
        entry: its line of the file.
        source: where that stands, for messages.
    """

    entry: Entry
    source: str

    @property
    def name(self) -> str:
        """The key, or dotted keys of a dictionary."""
        return self.entry.name

    def draw(self, rng: np.random.Generator) -> Any:
        """A value, distributed as hyperopt does it.

        ``uniform`` is uniform on [low, high), ``loguniform`` is exp(uniform(low, high)), and ``quniform`` is
        round(uniform(low, high) / q) * q, held within the range, an integer where low, high and q are.

        Args:
            rng: what is drawn from.
        """
        entry = self.entry
        if entry.kind == CHOICE:
            return entry.options[int(rng.integers(len(entry.options)))]
        drawn = float(rng.uniform(entry.low, entry.high))
        if entry.kind == "loguniform":
            return math.exp(drawn)
        return drawn if entry.step is None else self._stepped(drawn, entry.step)

    def _stepped(self, drawn: float, step: float) -> int | float:
        first, last = multiples(self.entry.low, self.entry.high, step)
        value = min(max(round(drawn / step), first), last) * step
        # 3 * 0.1 is 0.30000000000000004
        return value if isinstance(value, int) else float(f"{value:.12g}")

    def to_dict(self) -> dict[str, Any]:
        """What it is, in plain values."""
        return {"name": self.name, "kind": self.entry.kind, "values": self.entry.text}


@dataclass(frozen=True)
class Space:
    """All keys that are searched.

    Attributes:
        file: the file that they stand in.
        dimensions: in the order of the file.
    """

    file: str
    dimensions: Sequence[Dimension]

    def trials(self, algorithm: str, n_trials: int | None, seed: int) -> list[Values]:
        """The values of every trial; nothing that happens in a trial has a say in them.

        Args:
            algorithm: one of :data:`ALGORITHMS`.
            n_trials: how many of ``random``; None stands for :data:`DEFAULT_TRIALS`.
            seed: what the draws are derived from.

        Raises:
            ConfigError: If there is no such algorithm, it does not fit the space, or there are too many.
        """
        if n_trials is not None and not 1 <= n_trials <= MOST_TRIALS:
            raise ConfigError(f"tune_trials is {n_trials}; give an integer >= 1 and <= {MOST_TRIALS}")
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"tune_algorithm is {algorithm!r}; give one of: {', '.join(ALGORITHMS)}")
        if algorithm == RANDOM:
            return self._random(DEFAULT_TRIALS if n_trials is None else n_trials, seed)
        if n_trials is not None:
            raise ConfigError(
                f"tune_trials is {n_trials}, and an exhaustive search tries everything; leave it out, or "
                f"take tune_algorithm {RANDOM}"
            )
        return self._exhaustive()

    def _exhaustive(self) -> list[Values]:
        """Every combination of choices; the keys that stand last vary fastest."""
        for dimension in self.dimensions:
            if dimension.entry.kind != CHOICE:
                raise ConfigError(
                    f"{dimension.source}: {dimension.name} is {dimension.entry.kind}, and an exhaustive "
                    f"search needs choices; list values, or take tune_algorithm {RANDOM}"
                )
        size = math.prod(len(dimension.entry.options) for dimension in self.dimensions)
        if size > MOST_TRIALS:
            raise ConfigError(
                f"{self.file}: there are {size:,} combinations, more than {MOST_TRIALS:,}; list fewer, or "
                f"take tune_algorithm {RANDOM}"
            )
        names = [dimension.name for dimension in self.dimensions]
        products = itertools.product(*(dimension.entry.options for dimension in self.dimensions))
        return [dict(zip(names, values, strict=True)) for values in products]

    def _random(self, n_trials: int, seed: int) -> list[Values]:
        """Different draws, fewer than asked for only where the space has no more."""
        found: dict[str, Values] = {}
        attempt = repeats = 0
        while len(found) < n_trials and repeats < _REPEATS:
            # a generator for each, so that a value depends on its key and its number alone
            values = {
                dimension.name: dimension.draw(numpy_generator(seed, "tune", attempt, dimension.name))
                for dimension in self.dimensions
            }
            drawn = json.dumps(values, sort_keys=True)
            attempt, repeats = attempt + 1, repeats + 1 if drawn in found else 0
            found.setdefault(drawn, values)
        return list(found.values())

    def layers(self, values: Values) -> list[Layer]:
        """The values of a trial as sources of settings, which messages call by file and line."""
        return [
            Layer(dimension.source, nested({dimension.name: values[dimension.name]}))
            for dimension in self.dimensions
        ]


def read_space(path: str) -> Space:
    """Reads a file of RecBole's HyperTuning, one key per line; see ``docs/tuning.md``.

    Args:
        path: the file.

    Raises:
        ConfigError: If it cannot be read, or a line is wrong; the message names file and line.
    """
    entries = read_entries(path)
    return Space(path, [Dimension(entry, f"{path}, line {entry.line}") for entry in entries])


def nested(values: Values) -> dict[str, Any]:
    """The same with dotted keys as dictionaries, as a property file has them."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *outer, key = name.split(".")
        place = result
        for part in outer:
            place = place.setdefault(part, {})
        place[key] = value
    return result
