"""Several runs out of one configuration: a key that holds a list is a comparison."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from recbole_ccd.config.catalogue import ALWAYS_TAUGHT, choose, properties, recbole_properties_dir
from recbole_ccd.config.conditions import check_value
from recbole_ccd.config.config import CCDConfig
from recbole_ccd.config.schema import check_of
from recbole_ccd.config.sources import NOTHING, Layer, argument_list, read_layers, takes_text
from recbole_ccd.config.strict import ABLATED, check_ablated
from recbole_ccd.config.yaml_reader import read_text
from recbole_ccd.registry import KEY, of_user
from recbole_ccd.utils.errors import ConfigError, one_line

VARIANT_KEYS = ("strategy", "base", "ablation", "seed")
"""The keys that may hold a list; the later ones vary faster."""

_COMMAND_LINE = "command line"


@dataclass(frozen=True)
class GridRun:
    """One of the runs that are compared.

    Attributes:
        label: what tables call it; the same for all seeds.
        folder: the name of its run directory.
        config: its configuration, in which every key has one value.
    """

    label: str
    folder: str
    config: CCDConfig


@dataclass(frozen=True)
class _List:
    """A key's list and where it was given."""

    entries: list[Any]
    source: str


def has_lists(
    config_file_list: Sequence[str | Layer] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> bool:
    """Whether one of the :data:`VARIANT_KEYS` holds a list, so that there is more than one run.

    Args:
        config_file_list: YAML files.
        config_dict: settings.
        argv: ``--key=value`` arguments.

    Raises:
        ConfigError: If a source cannot be read, or a list is empty or holds an unknown or repeated entry.
    """
    return bool(_lists(read_layers(config_file_list, config_dict, argv)))


def refuse_lists(
    config_file_list: Sequence[str | Layer] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    keys: Sequence[str] = VARIANT_KEYS,
    remedy: str = "or call compare instead of run_ccd",
) -> None:
    """Refuses lists of runs where one run is asked for.

    Args:
        config_file_list: YAML files.
        config_dict: settings.
        argv: ``--key=value`` arguments.
        keys: those of the :data:`VARIANT_KEYS` that may not hold a list.
        remedy: what else than giving one value can be done.

    Raises:
        ConfigError: If one of the keys holds a list, or as :func:`has_lists` does.
    """
    lists = _lists(read_layers(config_file_list, config_dict, argv))
    for key, found in lists.items():
        if key in keys:
            start = f"{key} is {one_line(repr(found.entries))} ({found.source}), a list of runs"
            raise ConfigError(f"{start}; give one {key}, {remedy}")


def first_seed(layers: Sequence[Layer]) -> Any:
    """The seed, or the first of several, before there is a configuration.

    Args:
        layers: all sources.

    Raises:
        ConfigError: If a list of runs is wrong.
    """
    lists, deciding = _lists(layers), _deciding(layers, "seed")
    if "seed" in lists:
        return lists["seed"].entries[0]
    if deciding is not None:
        return deciding.values["seed"]
    return properties(recbole_properties_dir() / "overall.yaml")["seed"]


def expand(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Layer] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> list[GridRun]:
    """One configuration per combination of the listed values, each as if its values had been given alone.

    A list is ``[a, b]``, or ``a,b`` as text; ``none`` in a list of ablations is the method as it is. Where
    a strategy's base student is always distilled from the teacher, listed bases make one run and not several.
    Where strategies are listed, ablations are of CCD alone, a single one too: they hold settings that others
    of them read as well.

    Args:
        model: as of :class:`~recbole_ccd.config.CCDConfig`.
        dataset: as of ``CCDConfig``.
        config_file_list: as of ``CCDConfig``.
        config_dict: as of ``CCDConfig``; the values of :data:`VARIANT_KEYS` may be lists.
        argv: as of ``CCDConfig``.

    Returns:
        The runs in the order of the lists, seeds varying fastest. Without any list there is one.

    Raises:
        ConfigError: If a source, a list or one of the configurations is wrong.
    """
    layers = read_layers(config_file_list, config_dict, argv)
    lists = _with_single_ablation(_lists(layers), layers)
    _check_ablated(lists)
    variants = []
    for values in itertools.product(*(found.entries for found in lists.values())):
        chosen = dict(zip(lists, values, strict=True))
        if "ablation" in lists and chosen.get("strategy", ABLATED) != ABLATED:
            if chosen["ablation"] != lists["ablation"].entries[0]:
                continue
            chosen["ablation"] = None
        config = CCDConfig(model, dataset, config_file_list, *_put(chosen, lists, config_dict, argv))
        # not as configured, where a strategy that always distils has no plain base
        plain_of_several = chosen.get("base") == "plain" and len(lists["base"].entries) > 1
        if not (plain_of_several and config["strategy"] in ALWAYS_TAUGHT):
            variants.append(_variant(config, plain_of_several))
    return variants


def _variant(config: CCDConfig, plain_of_several: bool) -> GridRun:
    label = folder = config["strategy"]
    if plain_of_several:
        label, folder = f"{label} (plain base)", f"{folder}-plain"
    if config["ablation"] is not None:
        label, folder = f"{label} {config['ablation']}", f"{folder}-{config['ablation']}"
    return GridRun(label, f"{folder}-{config['seed']}", config)


def _put(
    chosen: Mapping[str, Any],
    lists: Mapping[str, _List],
    config_dict: Mapping[str, Any] | None,
    argv: Sequence[str] | None,
) -> tuple[dict[str, Any], list[str]]:
    """``config_dict`` and arguments with one value in place of each list."""
    settings, arguments = dict(config_dict or {}), argument_list(argv)
    for key, value in chosen.items():
        if lists[key].source == _COMMAND_LINE:
            kept = [argument for argument in arguments if not argument.startswith(f"--{key}=")]
            arguments = [*kept, f"--{key}={'~' if value is None else value}"]
        else:
            # config_dict is laid over the files
            settings[key] = value
    return settings, arguments


def _lists(layers: Sequence[Layer]) -> dict[str, _List]:
    """The lists among the values that count, by key, checked."""
    lists = {}
    for key in VARIANT_KEYS:
        deciding = _deciding(layers, key)
        if deciding is None:
            continue
        entries = _entries(key, deciding.values[key], deciding.source)
        if entries is not None:
            lists[key] = _List(_checked(key, entries, deciding.source, layers), deciding.source)
    return lists


def _with_single_ablation(lists: dict[str, _List], layers: Sequence[Layer]) -> dict[str, _List]:
    """The lists, with a single ablation as a list of one where strategies are listed."""
    deciding = _deciding(layers, "ablation")
    if "strategy" not in lists or "ablation" in lists or deciding is None:
        return lists
    entries = _checked("ablation", [deciding.values["ablation"]], deciding.source, layers)
    return {**lists, "ablation": _List(entries, deciding.source)}


def _check_ablated(lists: Mapping[str, _List]) -> None:
    """Refuses ablations where none of the strategies listed is the one that they are of."""
    if not {"strategy", "ablation"} <= lists.keys() or ABLATED in lists["strategy"].entries:
        return
    for ablation in filter(None, lists["ablation"].entries):
        check_ablated(lists["strategy"].entries[0], ablation, lists["ablation"].source)


def _deciding(layers: Sequence[Layer], key: str) -> Layer | None:
    """The layer whose value of a key counts."""
    return next((layer for layer in reversed(layers) if layer.holds(key)), None)


def _entries(key: str, value: Any, source: str) -> list[Any] | None:
    """The entries of a list, or None if the value is none."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or not ("," in value or value.lstrip().startswith("[")):
        return None
    try:
        as_list = value if "[" in value else f"[{value}]"
        entries = read_text(as_list, takes_text=takes_text, keys=(key,))
    except (yaml.YAMLError, ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        shown = one_line(repr(value))
        raise ConfigError(f"{key} is {shown} ({source}), which is no list; separate entries with one comma")
    return entries


def _checked(key: str, entries: list[Any], source: str, layers: Sequence[Layer]) -> list[Any]:
    if not entries:
        raise ConfigError(f"{key} is an empty list ({source}); give at least one entry")
    if key == "ablation":
        entries = [None if entry == NOTHING else entry for entry in entries]
    check = check_of(key)
    for number, entry in enumerate(entries):
        if check is not None:
            check_value(key, entry, check, source)
        elif key == "strategy" or entry is not None:
            choose(key, entry, source, _own_strategies(layers) if key == "strategy" else ())
        if entry in entries[:number]:
            shown = NOTHING if entry is None else entry
            raise ConfigError(f"{key} lists '{shown}' twice ({source}); give it once")
    return entries


def _own_strategies(layers: Sequence[Layer]) -> Mapping[str, type]:
    """The strategies of the user's plugins."""
    deciding = _deciding(layers, KEY)
    return {} if deciding is None else of_user("strategy", deciding.values[KEY])
