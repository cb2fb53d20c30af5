"""Conditions on a value, each with the words for what is allowed."""

from __future__ import annotations

import math
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
        alone: whether it is text alone, and no list or dictionary.
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
    return replace(check, allowed=f"{check.allowed}, or ~", accepts=lambda v: v is None or accepts(v))


def automatic(check: Check) -> Check:
    """What ``check`` allows, or the word auto."""
    accepts = check.accepts
    return replace(check, allowed=f"{check.allowed}, or auto", accepts=lambda v: v == "auto" or accepts(v))


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
