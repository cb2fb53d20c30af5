"""What is tried: every trial with its values and the configurations of its runs, before anything is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ccd.config import CCDConfig, GridRun, expand, refuse_lists
from recbole_ccd.config.catalogue import comparable_keys
from recbole_ccd.config.grid import first_seed
from recbole_ccd.config.schema import Scope, keys_of
from recbole_ccd.config.sources import Layer, read_layers
from recbole_ccd.experiment.search.space import Space, Values
from recbole_ccd.utils.errors import ConfigError, one_line

# what decides which data and models there are and what is measured, or changes no result; trials share a
# stream, so that all keys that a stream reads are among them
_COMMON = frozenset(keys_of(Scope.CHOICE, Scope.STREAM, Scope.MEASURE, Scope.RUN))
_EVAL_PART = "eval_part"
# a page for each trial, which the user may want all the same
_BEFORE = Layer("search", {"write_report": False})
# no test part is looked at, and no block arrives after the last one
_AFTER = Layer("search", {_EVAL_PART: "valid", "prepare_update": False})


@dataclass(frozen=True)
class Trial:
    """One point of the space.

    Attributes:
        number: from 0, in the order in which trials are made.
        values: of the keys that are searched.
        runs: one per seed.
    """

    number: int
    values: Values
    runs: Sequence[GridRun]

    @property
    def folder(self) -> str:
        """The name of its folder: that of a run, or of a comparison of several seeds."""
        return f"trial-{self.number:03}"

    def folder_of(self, run: GridRun) -> str:
        """Where one of its runs lies, from the search's folder."""
        return self.folder if len(self.runs) == 1 else f"{self.folder}/{run.folder}"

    @property
    def words(self) -> str:
        """Its values in words."""
        return ", ".join(f"{name} {shown(value)}" for name, value in self.values.items())

    def __str__(self) -> str:
        return f"trial {self.number} ({self.words})"


def plan(
    space: Space,
    algorithm: str,
    n_trials: int | None,
    model: str | None,
    dataset: str | None,
    config_file_list: Sequence[str] | None,
    config_dict: Mapping[str, Any] | None,
    argv: Sequence[str] | None,
) -> list[Trial]:
    """All trials of a search, each with the configurations that a run with its values has.

    The searched values lie over all files; the others are as :class:`~recbole_ccd.config.CCDConfig` has them.

    Args:
        space: what is searched.
        algorithm: how.
        n_trials: how many, where that is not given by the space.
        model: as of ``run_ccd``, like all that follow.
        dataset: likewise.
        config_file_list: likewise.
        config_dict: likewise.
        argv: likewise.

    Raises:
        ConfigError: If a key cannot be searched or is set otherwise too, or a trial's configuration is wrong.
    """
    *files, settings, command = read_layers(config_file_list, config_dict, argv)
    _check_searchable(space)
    _check_given_once(space, (settings, command))
    _check_part([*files, settings, command])
    alike, remedy = ("strategy", "base", "ablation"), "and search for each of them by itself"
    refuse_lists(files, config_dict, _rest(argv), alike, remedy)
    trials = []
    seed = first_seed([*files, settings, command])
    for number, values in enumerate(space.trials(algorithm, n_trials, seed)):
        layers = [_BEFORE, *files, *space.layers(values), _AFTER]
        trials.append(Trial(number, values, expand(model, dataset, layers, config_dict, _rest(argv))))
    return trials


def bases_are_shared(names: Sequence[str]) -> bool:
    """Whether models of the base block are the same for all trials: it reads none of the searched keys."""
    return all(name.partition(".")[0] in comparable_keys() for name in names)


def measures_h(config: CCDConfig, n_blocks: int) -> bool:
    """Whether H-mean exists after the last of so many blocks."""
    past = 1 if config["la_include_base"] or config["ra_include_current"] else 2
    return n_blocks > past


def shown(value: Any) -> str:
    """A searched value as tables have it; numbers are rounded to six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return one_line(json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value, 30)


def _rest(argv: Sequence[str] | None) -> list[str]:
    """The arguments without files, which have been read."""
    return [text for text in map(str, argv or ()) if not text.startswith("--config_files=")]


def _check_searchable(space: Space) -> None:
    for dimension in space.dimensions:
        key = dimension.name.partition(".")[0]
        if key in _COMMON:
            remedy = "list seeds to average over" if key == "seed" else "set it for the whole search"
            raise ConfigError(
                f"{dimension.source}: {key} cannot be searched, as all trials must agree in it; {remedy}"
            )


def _check_given_once(space: Space, layers: Sequence[Layer]) -> None:
    for dimension in space.dimensions:
        for layer in layers:
            parts = dimension.name.split(".")
            outer = [".".join(parts[:n]) for n in range(1, len(parts))]
            # of a dictionary some keys may be searched and others be set
            blocked = [name for name in outer if layer.holds(name) and not _is_mapping(layer, name)]
            if layer.holds(dimension.name) or blocked:
                raise ConfigError(
                    f"{dimension.source}: {dimension.name} is searched, and also set ({layer.source}); leave "
                    "one of them out"
                )


def _is_mapping(layer: Layer, path: str) -> bool:
    node: Any = layer.values
    for part in path.split("."):
        node = node[part]
    return isinstance(node, Mapping)


def _check_part(layers: Sequence[Layer]) -> None:
    """A search never looks at a test part."""
    for layer in layers:
        part = layer.values.get(_EVAL_PART, "valid")
        if part != "valid":
            raise ConfigError(
                f"{_EVAL_PART} is {one_line(repr(part))} ({layer.source}), and a search looks at the valid "
                "parts alone; leave it out"
            )
