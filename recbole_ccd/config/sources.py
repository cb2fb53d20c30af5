"""Where settings come from: YAML files and arguments, read without ``eval``, merged without side effects."""

from __future__ import annotations

import copy
import datetime
import enum
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml

from recbole_ccd.errors import ConfigError, is_text, one_line
from recbole_ccd.files import read_input

# Keys whose values are words: on the command line `--dataset=2020` names a data set, it gives no number.
TEXT_KEYS = frozenset(
    {
        "model",
        "dataset",
        "strategy",
        "preset",
        "ablation",
        "base",
        "run_dir",
        "data_path",
        "checkpoint_dir",
        "config_files",
        "gpu_id",
        "user_inter_num_interval",
        "item_inter_num_interval",
        "field_separator",
        "seq_separator",
    }
)
# what stands for ~ in keys that name a file of ours, as in a list of them
NOTHING = "none"
_OPTIONAL_FILES = ("preset", "ablation")
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"
# what YAML's constructors raise of a text that a tag is put before; one without a tag fits, or is too long
_NO_FIT = (KeyError, IndexError, AttributeError, TypeError, OverflowError)
# neither JSON nor a command line can hold them
_NO_SETTING = (bytes, set, datetime.date)


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


class ConfigLoader(yaml.SafeLoader):
    """YAML as RecBole reads it (``1e-4`` is a float), but safe, with dates as text and no key twice."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping.

        Raises:
            yaml.constructor.ConstructorError: If a key occurs twice.
        """
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                problem = f"the key '{key_node.value}' occurs twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Builds what a node stands for.

        Raises:
            yaml.constructor.ConstructorError: If the text does not fit its tag, as in ``!!bool x``, or the
                tag stands for what is no setting, such as ``!!binary``.
        """
        try:
            value = super().construct_object(node, deep)
        except _NO_FIT:
            problem = f"{one_line(repr(node.value), 40)} does not fit its tag {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None
        if isinstance(value, _NO_SETTING):
            problem = f"the tag {node.tag.rpartition(':')[2]} gives no setting"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: str | os.PathLike[str], loader: type[yaml.SafeLoader] = ConfigLoader) -> dict[str, Any]:
    """Reads a configuration file; an empty one gives an empty dictionary.

    Args:
        path: the file.
        loader: a safe YAML loader class.

    Raises:
        ConfigError: If the file cannot be read, is not UTF-8, not YAML, or not a mapping with text keys.
    """
    try:
        text = read_input(path).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigError(
            f"config file {path}: {reason}; give the path of a YAML file, or of several, with spaces between"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    try:
        values = plain(yaml.load(text, Loader=loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise ConfigError(f"config file {path}{place}: {one_line(problem)}; correct that line") from None
    except ValueError as error:
        raise ConfigError(f"config file {path}: {one_line(error)}; correct that value") from None
    except RecursionError:
        raise ConfigError(f"config file {path}: it is nested without end; write the values out") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"config file {path}: it holds no mapping; write it as lines of 'key: value'")
    return plain_keys(values, f"config file {path}")


def plain_keys(values: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """The same settings as new, plain objects.

    Tuples become lists, NumPy scalars become numbers and paths become text, so that the settings can
    be compared and written down; other objects are deep-copied.

    Raises:
        ConfigError: If a key is not text.
    """
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(
                f"the key {one_line(repr(key))} ({source}) is not text; put it in quotes or correct it"
            )
    return {key: plain(value) for key, value in values.items()}


def plain(value: Any) -> Any:
    """A copy of a value in plain Python objects as far as it has any, see :func:`plain_keys`."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return copy.deepcopy(value)


def writable(value: Any) -> Any:
    """The value in objects that JSON and YAML can hold; an enum becomes its name, others their text."""
    value = plain(value)
    if isinstance(value, dict):
        return {str(key): writable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [writable(entry) for entry in value]
    if isinstance(value, enum.Enum):
        return value.name
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merges settings, later ones winning; dictionaries are merged key by key, all else is replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
                result[key] = merged(result[key], value)
            else:
                result[key] = copy.deepcopy(value)
    return result


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
        file if isinstance(file, Layer) else Layer(f"config file {file}", read_yaml(file)) for file in files
    ]
    if config_dict is not None and not isinstance(config_dict, Mapping):
        raise ConfigError(f"config_dict is a {type(config_dict).__name__}; give a dictionary of settings")
    settings = Layer("config_dict", plain_keys(config_dict or {}, "config_dict"))
    return [
        replace(layer, values={**layer.values, **dict.fromkeys(_said_to_be_none(layer))})
        for layer in map(_written_in_text, (*layers, settings, Layer("command line", arguments)))
    ]


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


def parse_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """Reads ``--key=value`` arguments; ``--a.b=value`` sets key ``b`` of dictionary ``a``.

    Values are YAML (``[10, 20]``, ``1e-4``, ``~``); what is not YAML is text.

    Raises:
        ConfigError: If an argument has another form, or a key comes twice with different values.
    """
    values: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for argument in map(str, arguments):
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
    return values


def parse_value(key: str, text: str) -> Any:
    """The value of a key as the command line has it: YAML, and text where it is none or a word is wanted."""
    if not text.strip():
        return text
    try:
        value = plain(yaml.load(text, Loader=ConfigLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if key in TEXT_KEYS and value is not None and not isinstance(value, str):
        return text
    return value


def file_list(files: Sequence[str | Layer] | str | None) -> list[str | Layer]:
    """Config files as a list; one string may name several, separated by spaces, as RecBole has it."""
    if not files:
        return []
    if isinstance(files, str):
        return list(files.split())
    return [file if isinstance(file, Layer) else os.fspath(file) for file in files]
