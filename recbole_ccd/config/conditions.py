"""Conditions on a value, each with the words for what is allowed; the last ones are those of one key each."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from recbole_ccd.config.yaml_reader import read_text
from recbole_ccd.utils.errors import ConfigError, one_line

_TOO_LARGE = 10**308


@dataclass(frozen=True)
class Check:
    """A condition on a value.

    Attributes:
        allowed: what is allowed, in words that follow "give".
        accepts: whether a value is allowed.
        is_text: whether all that is allowed is text, or lists and dictionaries of text, so that ``2020`` is
            a word and no number.
        exclusive: whether it is text alone, and no list or dictionary.
    """

    allowed: str
    accepts: Callable[[Any], bool]
    is_text: bool = False
    exclusive: bool = False


def is_int(value: Any) -> bool:
    """Whether a value is an integer and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number and no truth value; an integer that no float reaches is none."""
    return (is_int(value) and abs(value) < _TOO_LARGE) or (isinstance(value, float) and math.isfinite(value))


def integer(low: int, high: int | None = None) -> Check:
    """An integer from ``low`` to ``high``, at most what torch can hold."""
    words = f"an integer >= {low}" + ("" if high is None else f" and <= {high}")
    if low == high:
        words = str(low)
    return Check(words, lambda v: is_int(v) and low <= v <= (2**63 - 1 if high is None else high))


def number(low: float, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number from ``low`` (or above it) to ``high``."""
    words = f"a number {'>' if above else '>='} {low:g}" + (f" and <= {high:g}" if high < math.inf else "")
    return Check(words, lambda v: is_number(v) and (low < v if above else low <= v) and v <= high)


def choice(*values: Any, any_case: bool = False) -> Check:
    """One of ``values``; ``any_case`` takes upper and lower case for the same."""

    def accepts(value: Any) -> bool:
        word = value.lower() if any_case and isinstance(value, str) else value
        return any(type(word) is type(known) and word == known for known in values)

    words = ", ".join("~" if v is None else str(v) for v in values)
    is_text = any(isinstance(v, str) for v in values)
    return Check(words if len(values) == 1 else f"one of: {words}", accepts, is_text, is_text)


def text() -> Check:
    """Text that is not empty."""
    return Check("text", lambda v: isinstance(v, str) and bool(v.strip()), is_text=True, exclusive=True)


def optional(check: Check) -> Check:
    """What ``check`` allows, or None."""
    accepts = check.accepts
    if accepts(None):
        return check
    return replace(check, allowed=f"{check.allowed}, or ~", accepts=lambda v: v is None or accepts(v))


def automatic(check: Check, *words: str) -> Check:
    """What ``check`` allows, or the word auto, or one of further words."""
    accepts, all_words = check.accepts, ("auto", *words)
    # a word alone, as an array compared with words is an array
    return replace(
        check,
        allowed=", or ".join((check.allowed, *all_words)),
        accepts=lambda v: (isinstance(v, str) and v in all_words) or accepts(v),
    )


def list_of(check: Check, *, distinct: bool = False) -> Check:
    """A list that is not empty and whose entries pass ``check``."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or not value or not all(map(check.accepts, value)):
            return False
        return not distinct or all(entry not in value[:i] for i, entry in enumerate(value))

    entries = "different entries" if distinct else "entries"
    return Check(f"a list of {entries}, each {check.allowed}", accepts, check.is_text)


def one_or_list(check: Check, meaning: str = "") -> Check:
    """What ``check`` allows, or a list of it."""
    several = list_of(check)
    return Check(
        f"{check.allowed}, or a list of such{meaning}",
        lambda v: check.accepts(v) or several.accepts(v),
        check.is_text,
    )


def per_block(check: Check) -> Check:
    """What ``check`` allows, or a list of it with one entry per block."""
    return one_or_list(check, " with one entry per block 1..K")


BOOLEAN = Check("True or False", lambda v: isinstance(v, bool))


def like(default: Any) -> Check:
    """A check on the type that ``default`` has, and its entries if it is a list; None allows anything."""
    if default is None:
        return Check("any value", lambda _: True)
    if isinstance(default, bool):
        return BOOLEAN
    if isinstance(default, int):
        return Check("an integer", is_int)
    if isinstance(default, float):
        return Check("a finite number", is_number)
    if isinstance(default, list) and default:
        entry = like(default[0])
        return Check(
            f"a list, each entry {entry.allowed}",
            lambda v: isinstance(v, list) and all(map(entry.accepts, v)),
            entry.is_text,
        )
    named: dict[type, str] = {str: "text", list: "a list"}
    kind = type(default)
    words = named.get(kind, "a mapping")
    return Check(words, lambda v: isinstance(v, kind), kind is str, kind is str)


def check_value(key: str, value: Any, check: Check, source: str) -> None:
    """Raises a ConfigError that names key, value, source and remedy if the check refuses the value."""
    if not check.accepts(value):
        as_list = f"[{value}]"
        listed = isinstance(value, str) and "," in value and check.accepts(_read(as_list, check))
        example = f", such as {one_line(as_list)}" if listed else ""
        start = f"{key} is {one_line(repr(value))} ({source}), which cannot be used"
        raise ConfigError(f"{start}; give {check.allowed}{example}")


def _read(text: str, check: Check) -> Any:
    """What text stands for in YAML, and the text itself where that is nothing."""
    try:
        return read_text(text, takes_text=lambda _: check.is_text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


# Of one key, or of a few


def _shares(value: Any, minimum: Callable[[float], bool]) -> bool:
    return (
        isinstance(value, list)
        and all(is_number(v) and minimum(v) for v in value)
        and abs(sum(value) - 1) <= 1e-6
    )


def _is_split(value: Any) -> bool:
    if isinstance(value, dict) and set(value) == {"LS"}:
        return value["LS"] in ("valid_and_test", "valid_only", "test_only")
    if not isinstance(value, dict) or set(value) != {"RS"} or not _shares(value["RS"], lambda v: v >= 0):
        return False
    return len(value["RS"]) == 3 and value["RS"][0] > 0


def _is_full(value: Any) -> bool:
    return value == "full" or (isinstance(value, dict) and _ALL_FULL | value == _ALL_FULL)


def _moment(value: Any) -> float | None:
    """A boundary as a number that orders it, or None if it is none."""
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S") if isinstance(value, str) else ():
        with contextlib.suppress(ValueError):
            return datetime.datetime.strptime(value, form).replace(tzinfo=datetime.timezone.utc).timestamp()
    return float(value) if is_number(value) else None


def _are_boundaries(value: Any) -> bool:
    if not isinstance(value, list) or not value or len({isinstance(v, str) for v in value}) > 1:
        return False
    moments = [moment for moment in map(_moment, value) if moment is not None]
    return len(moments) == len(value) and all(a < b for a, b in zip(moments, moments[1:], strict=False))


def _are_proxies(value: Any) -> bool:
    known = ("stability", "plasticity")
    return isinstance(value, list) and all(v in known for v in value) and len(set(value)) == len(value)


def _is_interval(value: Any) -> bool:
    """Whether RecBole can read it: ``[1,5)``, or several such after one another with ``;`` between them."""
    parts = [_BOUNDS.fullmatch(part.strip()) for part in value.split(";")] if isinstance(value, str) else []
    with contextlib.suppress(ValueError):
        return bool(parts) and all(part and float(part[1]) <= float(part[2]) for part in parts)
    return False


def _are_filters(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, list) or _is_interval(v) for v in value.values())


def _are_lists(value: Any) -> bool:
    words = list_of(text())
    return isinstance(value, dict) and all(v == [] or words.accepts(v) for v in value.values())


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and all(text().accepts(v) for v in value.values())


def _are_columns(value: Any) -> bool:
    if not isinstance(value, dict) or not value.get("inter"):
        return False
    return _are_lists({suffix: columns for suffix, columns in value.items() if columns != "*"})


def has(package: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None


_ALL_FULL = {"valid": "full", "test": "full"}
_ALL_RANKED = {"distribution": "uniform", "sample_num": "none"}
_BOUNDS = re.compile(r"[\[(]([^,]+),([^,]+)[\])]")

ADDRESS = Check(
    "an address that begins with http:// or https://",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"https?://[\x21-\x7e]+", v)),
    True,
    True,
)
PARALLEL = Check(
    "~, or ray if that is installed", lambda v: v is None or (v == "ray" and has("ray")), True, True
)
LOGGED = Check("False, or install wandb", lambda v: v is False or (v is True and has("wandb")))
DEVICES = Check("device numbers as text", lambda v: isinstance(v, str) or integer(0).accepts(v), True, True)
RATIOS = Check("positive numbers that sum to 1", lambda v: bool(v) and _shares(v, lambda share: share > 0))
BOUNDARIES = Check(
    "a list of increasing dates (YYYY-MM-DD[ HH:MM:SS]) or of increasing raw times", _are_boundaries
)
SPLIT = Check("{RS: [train, valid, test]} with train > 0 and a sum of 1, or {LS: valid_and_test}", _is_split)
FULL = Check("full, as all known items are ranked and none are sampled", _is_full)
WHOLE_RANKING = Check("nothing: all known items are ranked", lambda v: v is None or v == _ALL_RANKED)
INTERVAL = Check("an interval as text, such as '[5,inf)'", _is_interval, True, True)
FILTERS = Check("an interval as text, such as '[5,inf)', or a list of tokens, by column", _are_filters, True)
COLUMNS = Check("lists of columns by file suffix", _are_lists, True)
COLUMNS_WITH_INTER = Check(
    "lists of columns, or '*', by file suffix, those of inter among them", _are_columns, True
)
COLUMN_LIST = Check("a list of columns, or ~", lambda v: v in (None, []) or list_of(text()).accepts(v), True)
NAMES = Check("columns of vectors by the column of their ids", _are_names, True)
SEPARATOR = Check("one or more characters", lambda v: isinstance(v, str) and v != "", True, True)
FIELD_SEPARATOR = Check(
    "one or more characters without a line end",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"[^\r\n\0]+", v)),
    True,
    True,
)
CLIPPED = Check("at least {max_norm: number}", lambda v: isinstance(v, dict) and "max_norm" in v)
SHARE_BELOW_ONE = Check("a number >= 0 and < 1", lambda v: is_number(v) and 0 <= v < 1)
TWO_SIZES = Check(
    "a list of two integers >= 1",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(integer(1).accepts, v)),
)
PROXIES = Check("a list of different names out of stability, plasticity, or []", _are_proxies, True)
