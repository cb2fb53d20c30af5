"""The file of a search space, line by line: ``name kind values``, read without ``eval``."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from recbole_ccd.config.sources import parse_value, takes_text
from recbole_ccd.config.yaml_reader import plain, read_text
from recbole_ccd.utils.atomic_files import read_input
from recbole_ccd.utils.errors import ConfigError, is_text, one_line

CHOICE = "choice"
_FORMS = {
    CHOICE: "name choice [a, b]",
    "uniform": "name uniform low,high",
    "quniform": "name quniform low,high,q",
    "loguniform": "name loguniform low,high",
}
_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[\d.]+([eE][+-]?\d+)?")
# quotients of decimal fractions miss a whole number by no more than this
_ROUNDING = 1e-9
# beyond it sums and quotients of a range are no numbers any more
_WIDEST = 1e300
_SYNTAX = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        line: its number, from 1.
        name: the key, or dotted keys of a dictionary.
        kind: ``choice``, ``uniform``, ``quniform`` or ``loguniform``.
        text: what stands behind the kind.
        options: of a choice, at least one.
        low: of a range; of ``loguniform`` a natural logarithm.
        high: likewise, more than ``low``.
        step: the q of ``quniform``, of which values are multiples.
    """

    line: int
    name: str
    kind: str
    text: str
    options: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None


def read_entries(path: str) -> list[Entry]:
    """Reads all lines; blank ones and those that begin with ``#`` are left out.

    Args:
        path: the file.

    Raises:
        ConfigError: If it cannot be read, holds nothing, or a line is wrong.
    """
    entries: list[Entry] = []
    for number, line in enumerate(_text_of(path).splitlines(), start=1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        entry = _entry(f"{path}, line {number}", number, words)
        for other in entries:
            if _overlap(entry.name, other.name):
                raise ConfigError(
                    f"{path}, line {number}: '{one_line(entry.name)}' is given by line {other.line} too; "
                    "remove one"
                )
        entries.append(entry)
    if not entries:
        raise ConfigError(f"{path}: it names no key to search; write lines such as '{_FORMS[CHOICE]}'")
    return entries


def _text_of(path: str) -> str:
    try:
        return read_input(path).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
        reason = getattr(error, "strerror", None) or "it cannot be read"
        raise ConfigError(f"{path}: {reason}; give tune a file of lines such as '{_FORMS[CHOICE]}'") from None


def _overlap(name: str, other: str) -> bool:
    """Whether two keys are the same, or one is a dictionary that the other one lies in."""
    short, long = sorted((name.split("."), other.split(".")), key=len)
    return long[: len(short)] == short


def _entry(source: str, number: int, words: str) -> Entry:
    name, kind, text = (*words.split(None, 2), "", "")[:3]
    if not all(name.split(".")):
        raise ConfigError(f"{source}: {one_line(repr(name))} is no key; write '{_FORMS[CHOICE]}'")
    if kind and kind not in _FORMS:
        raise ConfigError(f"{source}: unknown kind {one_line(repr(kind))}; give one of: {', '.join(_FORMS)}")
    if not text:
        raise ConfigError(f"{source}: '{one_line(words)}' has no values; write '{_FORMS[kind or CHOICE]}'")
    if kind == CHOICE:
        return Entry(number, name, kind, text, options=_options(source, name, text))
    # what follows a value may be a comment, as in Python
    text = text.partition("#")[0].strip()
    low, high, *step = _range(source, kind, text)
    return Entry(number, name, kind, text, low=low, high=high, step=step[0] if step else None)


def _options(source: str, name: str, text: str) -> tuple[Any, ...]:
    """The entries of a list, in Python's or in YAML's words; text is read as on the command line.

    RecBole writes lists of lists as ``['[64,64]','[128]']``.
    """
    try:
        given = _literal(text)
    except _SYNTAX:
        try:
            given = read_text(text, takes_text=takes_text, keys=tuple(name.split(".")))
        except (yaml.YAMLError, *_SYNTAX):
            given = None
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{source}: {one_line(repr(text))} is no list of values; write '{_FORMS[CHOICE]}'")
    options = [parse_value(name, option) if isinstance(option, str) else option for option in given]
    for number, option in enumerate(options):
        if not _is_plain(option):
            raise ConfigError(
                f"{source}: {one_line(repr(option))} is no value of a setting; give numbers, text, True, "
                "False, None, or lists of these"
            )
        # 1 and True are equal
        if repr(option) in map(repr, options[:number]):
            raise ConfigError(f"{source}: {name} lists {one_line(repr(option))} twice; give it once")
    return tuple(options)


def _literal(text: str) -> Any:
    """What Python's words stand for, numbers being decimal as they are in YAML files.

    Raises:
        ValueError: If there is another number, or no literal; also what else ``ast`` raises.
    """
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            written = ast.get_source_segment(text, node) or ""
            if not _DECIMAL.fullmatch(written):
                raise ValueError(f"'{written}' is no decimal number")
    return plain(ast.literal_eval(tree))


def _is_plain(value: Any) -> bool:
    """Whether a value can be written down in YAML and in JSON."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(entry) for key, entry in value.items())
    if isinstance(value, str):
        return is_text(value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _range(source: str, kind: str, text: str) -> Sequence[int | float]:
    """``low``, ``high`` and for ``quniform`` the step."""
    words = text.split(",")
    parts = [number for number in map(_number, words) if number is not None]
    wanted = f"{source}: {kind} with {one_line(repr(text))}"
    if len(parts) < len(words) or len(parts) != (3 if kind == "quniform" else 2):
        raise ConfigError(f"{wanted} is no range; write '{_FORMS[kind]}' with numbers")
    low, high, *step = parts
    if not low < high:
        raise ConfigError(f"{wanted} is empty; give a low that is less than high")
    if high - low > _WIDEST or (step and max(abs(low), abs(high)) > step[0] * _WIDEST):
        raise ConfigError(f"{wanted} is too wide to draw from; give numbers of more similar sizes")
    if step and not (step[0] > 0 and operator.le(*multiples(low, high, step[0]))):
        raise ConfigError(f"{wanted} holds no multiple of q; give a q > 0 that fits into the range")
    # exp of more is no number
    if kind == "loguniform" and high > 700:
        raise ConfigError(f"{wanted} is too high; give natural logarithms, such as -8,-4 for 0.0003 to 0.02")
    return parts


def multiples(low: float, high: float, step: float) -> tuple[int, int]:
    """The first and the last multiple of ``step`` within a range, as their factors."""
    return math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)


def _number(text: str) -> int | float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    # Python reads 1_0 as ten
    if "_" in text or not math.isfinite(value):
        return None
    return int(text) if _INTEGER.fullmatch(text.strip()) else value
