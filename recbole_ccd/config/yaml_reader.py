"""YAML as settings have it: safe, with decimal numbers, of bounded size, and text where a key takes text."""

from __future__ import annotations

import copy
import datetime
import enum
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import yaml

from recbole_ccd.utils.atomic_files import read_input
from recbole_ccd.utils.errors import ConfigError, one_line

Keys = tuple[str, ...]
TakesText = Callable[[Keys], bool]
"""Whether the value of a key is text; the key comes with those of the dictionaries that it lies in."""

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
# what YAML 1.1 makes of unquoted words beside None
_WORDS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float")}
# YAML 1.1 also has octal, hexadecimal and binary numbers, and 12:30:45 to the base of 60
_REPLACED = _WORDS - {"tag:yaml.org,2002:bool"} | {"tag:yaml.org,2002:timestamp"}
_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)", re.ASCII
)
# what YAML's constructors raise of a text that a tag is put before; one without a tag fits, or is too long
_NO_FIT = (KeyError, IndexError, AttributeError, TypeError, OverflowError)
# neither JSON nor a command line can hold them
_NO_SETTING = (bytes, set, datetime.date)
# dictionaries of one entry that says which rule holds: another one takes its place (eval_args.split)
_WHOLE = frozenset({"split"})
# a few lines of aliases (*name) of aliases can stand for more values than there is memory for
_MOST_REPEATED = 10_000


class EndlessError(yaml.YAMLError):
    """Aliases repeat more than anybody means by them."""


class BoundedLoader(yaml.SafeLoader):
    """Safe YAML in which aliases repeat no more than 10,000 values."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, composed and measured.

        Raises:
            EndlessError: If aliases repeat too much, or something within itself.
        """
        node = super().get_single_node()
        if node is not None:
            sizes: dict[int, float] = {}
            whole = _size(node, sizes)
            if whole == math.inf:
                raise EndlessError("it is nested without end")
            if whole - len(sizes) > _MOST_REPEATED:
                raise EndlessError(f"its aliases repeat more than {_MOST_REPEATED:,} values")
        return node


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """The number of nodes with every alias written out; infinite where one lies within itself."""
    if id(node) in sizes:
        return sizes[id(node)]
    # of a node that is met again before it has been measured
    sizes[id(node)] = math.inf
    size = 1.0
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(entry, sizes) for entry in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(key, sizes) + _size(value, sizes) for key, value in node.value)
    sizes[id(node)] = size
    return size


class ConfigLoader(BoundedLoader):
    """YAML as RecBole reads it (``1e-4`` is a float), with decimal numbers, dates as text, no key twice."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
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

    def construct_decimal(self, node: yaml.ScalarNode) -> int | float:
        """Builds a number.

        Raises:
            ValueError: If it is none to the base of ten, which only a tag can bring about.
        """
        text = self.construct_scalar(node)
        if _INTEGER.fullmatch(text) and node.tag.endswith("int"):
            return int(text)
        if not _FLOAT.fullmatch(text):
            raise ValueError(f"'{one_line(text)}' is no decimal number")
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


for _name, _pattern in (("int", _INTEGER), ("float", _FLOAT)):
    ConfigLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}",
        re.compile(rf"^(?:{_pattern.pattern})$", re.ASCII),
        list("-+.0123456789"),
    )
    ConfigLoader.add_constructor(f"tag:yaml.org,2002:{_name}", ConfigLoader.construct_decimal)


def read_text(
    text: str,
    loader: type[yaml.SafeLoader] = ConfigLoader,
    takes_text: TakesText | None = None,
    keys: Keys = (),
) -> Any:
    """The value that YAML stands for, in plain objects.

    Args:
        text: the YAML.
        loader: a safe YAML loader class.
        takes_text: tells the keys whose values, down to the entries of lists and dictionaries, are text
            although they look like numbers or truth values; None for none.
        keys: the keys that the whole is the value of.

    Raises:
        yaml.YAMLError: If it is no YAML.
        ValueError: If a number in it is none.
        RecursionError: If it is nested too deeply.
    """
    opened = loader(text)
    try:
        node = opened.get_single_node()
        if node is None:
            return None
        if takes_text is not None:
            _as_text_where(node, keys, takes_text)
        return plain(opened.construct_document(node))
    finally:
        opened.dispose()


def _as_text_where(node: yaml.Node, keys: Keys, takes_text: TakesText) -> None:
    if takes_text(keys):
        _as_text(node)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            merges = key.tag == _MERGE or not isinstance(key, yaml.ScalarNode)
            _as_text_where(value, keys if merges else (*keys, key.value), takes_text)


def _as_text(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        node.tag = _TEXT if node.tag in _WORDS else node.tag
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _as_text(key)
            _as_text(value)
    else:
        for entry in node.value:
            _as_text(entry)


def read_yaml(
    path: str | os.PathLike[str],
    loader: type[yaml.SafeLoader] = ConfigLoader,
    takes_text: TakesText | None = None,
) -> dict[str, Any]:
    """Reads a configuration file; an empty one gives an empty dictionary.

    Args:
        path: the file.
        loader: a safe YAML loader class.
        takes_text: as of :func:`read_text`.

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
        values = read_text(text, loader, takes_text)
    except EndlessError as error:
        raise ConfigError(f"config file {path}: {error}; write the values out") from None
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
    """Copies settings into new, plain objects.

    Tuples and NumPy arrays become lists, NumPy scalars become numbers and paths become text, so that the
    settings can be compared and written down; other objects are deep-copied.

    Args:
        values: the settings.
        source: where they come from, for messages.

    Raises:
        ConfigError: If a key is not text, in a dictionary within them too.
    """
    _check_keys(values, source)
    return {key: plain(value) for key, value in values.items()}


def _check_keys(value: Any, source: str, path: str = "") -> None:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if not isinstance(key, str):
                shown = one_line(repr(key)) + (f" of {one_line(path)}" if path else "")
                raise ConfigError(f"the key {shown} ({source}) is not text; put it in quotes or correct it")
            _check_keys(entry, source, f"{path}.{key}" if path else key)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _check_keys(entry, source, path)


def plain(value: Any) -> Any:
    """A copy of a value in plain Python objects as far as it has any, see :func:`plain_keys`."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
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
    """Merges settings, later ones winning; dictionaries are merged key by key, all else is replaced.

    One of :data:`_WHOLE` is replaced too.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            if both and key not in _WHOLE:
                result[key] = merged(result[key], value)
            else:
                result[key] = copy.deepcopy(value)
    return result
