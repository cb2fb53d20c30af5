"""Where settings come from: YAML files and arguments, read without ``eval``, merged without side effects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from recbole_ccd.config.conditions import Check, text
from recbole_ccd.config.model_settings import usual_check
from recbole_ccd.config.recorded import is_recorded, repeatable
from recbole_ccd.config.schema import SCHEMA, parts_of
from recbole_ccd.config.yaml_reader import merged, plain_keys, read_text, read_yaml
from recbole_ccd.utils.commands import with_values
from recbole_ccd.utils.errors import ConfigError, is_text, one_line

# what stands for ~ in keys that name a file of ours, as in a list of them
NOTHING = "none"
_OPTIONAL_FILES = ("preset", "ablation")
# no key of a run, and read as one
_FILES = text()


@dataclass(frozen=True)
class Layer:
    """Settings of one source.

    Attributes:
        source: what messages call it, for example ``"command line"``.
        values: the settings, nested as in YAML.
    """

    source: str
    values: dict[str, Any]

    def holds(self, path: str) -> bool:
        """Whether this layer sets ``path``, a key or dotted keys."""
        node: Any = self.values
        for part in path.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return False
            node = node[part]
        return True


def read_layers(
    config_file_list: Sequence[str | Layer] | str | None,
    config_dict: Mapping[str, Any] | None,
    argv: Iterable[str] | None,
) -> list[Layer]:
    """Reads every source of settings: config files in order, ``config_dict``, and last the command line.

    Args:
        config_file_list: YAML files, or what has been read of some; those that the arguments name in
            ``--config_files`` follow them.
        config_dict: settings; they are copied.
        argv: ``--key=value`` arguments.

    Returns:
        One layer per file, one for ``config_dict`` and one for the command line, empty where not given.

    Raises:
        ConfigError: If a source cannot be read.
    """
    arguments = parse_arguments(argv or ())
    files = file_list(config_file_list) + file_list(arguments.pop("config_files", None))
    layers = [
        file
        if isinstance(file, Layer)
        else Layer(f"config file {file}", read_yaml(file, takes_text=takes_text))
        for file in files
    ]
    if config_dict is not None and not isinstance(config_dict, Mapping):
        raise ConfigError(f"config_dict is a {type(config_dict).__name__}; give a dictionary of settings")
    settings = Layer("config_dict", plain_keys(config_dict or {}, "config_dict"))
    layers = [*layers, settings, Layer("command line", arguments)]
    return [
        replace(layer, values={**layer.values, **dict.fromkeys(_said_to_be_none(layer))})
        for layer in map(_written_in_text, _with_recorded(layers))
    ]


def _with_recorded(layers: Sequence[Layer]) -> Iterator[Layer]:
    """The layers, in which the record of a run is the settings of another one."""
    for number, layer in enumerate(layers):
        if is_recorded(layer.values):
            later = [other.values for other in layers[number + 1 :]]
            layer = replace(layer, values=repeatable(layer.values, later))
        yield layer


def _written_in_text(layer: Layer) -> Layer:
    """The layer, in which every key and value can be written down again."""
    for key, value in layer.values.items():
        if not all(map(is_text, _texts_in({key: value}))):
            raise ConfigError(
                f"{one_line(repr(key))} ({layer.source}) holds a surrogate, which is no character; correct it"
            )
    return layer


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _texts_in(key)
            yield from _texts_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts_in(entry)


def _said_to_be_none(layer: Layer) -> list[str]:
    return [key for key in _OPTIONAL_FILES if layer.values.get(key) == NOTHING]


def argument_list(arguments: Iterable[str] | None) -> list[str]:
    """The arguments as a list, each with its value, see :func:`~recbole_ccd.utils.commands.with_values`.

    Args:
        arguments: the arguments; None is none.

    Raises:
        ConfigError: If they are one piece of text.
    """
    if isinstance(arguments, str):
        raise ConfigError(f"argv is the text {one_line(repr(arguments))}; give a list of arguments")
    return with_values(list(map(str, arguments or ())))


def parse_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """Reads ``--key=value`` arguments; ``--a.b=value`` sets key ``b`` of dictionary ``a``.

    RecBole's ``-m MODEL``, ``-d DATASET`` and ``--key value`` are understood too.

    Values are YAML (``[10, 20]``, ``1e-4``, ``~``); what is not YAML is text. What a key of text is given
    is not read at all, so that ``#`` and the like are a part of it; ``~`` alone is None.

    Args:
        arguments: the arguments.

    Raises:
        ConfigError: If an argument has another form, or a key comes twice with different values.
    """
    values: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for argument in argument_list(arguments):
        key, equals, text = argument[2:].partition("=")
        if not argument.startswith("--") or not equals or not all(key.split(".")):
            shown = one_line(repr(argument))
            raise ConfigError(
                f"the argument {shown} (command line) cannot be read; write it as --key=value, "
                "in quotes if there are spaces in it"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"the argument {one_line(repr(argument))} (command line) is not UTF-8; give it as such"
            ) from None
        if seen.setdefault(key, text) != text:
            shown = f"{one_line(repr(seen[key]))} and {one_line(repr(text))}"
            raise ConfigError(f"--{key} occurs twice (command line), with {shown}; give it once")
        nested: Any = parse_value(key, text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = merged(values, nested)
    return plain_keys(values, "command line")


def parse_value(path: str, text: str) -> Any:
    """The value of a key as the command line has it.

    Args:
        path: the key, or dotted keys.
        text: what stands behind it.

    Returns:
        The text, where the key takes nothing else; else what it stands for in YAML, and the text where it is
        none, or where a word is wanted and there is no list or dictionary.
    """
    keys = tuple(path.split("."))
    if not text.strip():
        return text
    if stands_alone(keys):
        return None if text == "~" else text
    try:
        value = read_text(text, takes_text=takes_text, keys=keys)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    # a comment or a quote is a part of a word, not of a list of words
    is_word = takes_text(keys) and not isinstance(value, (list, dict)) and text != "~"
    return text if is_word else value


def file_list(files: Sequence[str | Layer] | str | None) -> list[str | Layer]:
    """Config files as a list; one string may name several, separated by spaces, as RecBole has it.

    Raises:
        ConfigError: If there is something else among them.
    """
    if not files:
        return []
    if isinstance(files, str):
        return list(files.split())
    if not isinstance(files, Iterable) or not all(isinstance(f, str | os.PathLike | Layer) for f in files):
        raise ConfigError(f"config_file_list is {one_line(repr(files))}; give a list of YAML files")
    return [file if isinstance(file, Layer) else os.fspath(file) for file in files]


def takes_text(keys: tuple[str, ...]) -> bool:
    """Whether the value of a key is text, or lists and dictionaries of text.

    Args:
        keys: the key, after those of the dictionaries that it lies in.
    """
    checks = (_check(keys[:n]) for n in range(1, len(keys) + 1))
    return any(check is not None and check.is_text for check in checks)


def stands_alone(keys: tuple[str, ...]) -> bool:
    """Whether the value of a key is text, and never a list or a dictionary; ``keys`` as above."""
    check = _check(keys)
    return check is not None and check.exclusive


def _check(keys: tuple[str, ...]) -> Check | None:
    parent, key = ("", *keys)[-2:]
    row = SCHEMA.get(key)
    own = _FILES if key == "config_files" else None if row is None else row.check
    return parts_of(parent).get(key) or own or usual_check(key)
