"""What the functions of serving are given: of the right type, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from recbole_ccd.utils.errors import ConfigError, one_line

EXCLUDED = ("all", "evaluation", "none")
"""What is not recommended: all that a user did, what the evaluation masks, or nothing."""


def shown(value: object) -> str:
    """A value as a message quotes it."""
    return one_line(repr(value))


def checked_integer(name: str, value: Any, wanted: str, low: int, high: int | None = None) -> int:
    """An integer within bounds, NumPy's among them.

    Args:
        name: the argument's name.
        value: what was given.
        wanted: the remedy, such as ``an integer >= 1``.
        low: the least one.
        high: the greatest one.

    Raises:
        ConfigError: If it is no such integer.
    """
    right = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not right or value < low or (high is not None and value > high):
        raise ConfigError(f"{name} is {shown(value)}; give {wanted}")
    return int(value)


def checked_token(name: str, token: Any) -> str:
    """A token of a user or an item; integers stand for their digits.

    Args:
        name: what holds it.
        token: what was given.

    Raises:
        ConfigError: If it is no text.
    """
    if isinstance(token, bool) or not isinstance(token, str | int | np.integer):
        raise ConfigError(f"{name} {shown(token)}, which is no token; give tokens as text")
    return str(token)


def checked_tokens(name: str, tokens: Any, are: str = "is") -> list[str]:
    """A list of tokens.

    Args:
        name: the argument's name.
        tokens: what was given.
        are: the verb that goes with the name.

    Raises:
        ConfigError: If it is a single text, or no list, or holds what is no token.
    """
    if isinstance(tokens, str | bytes):
        raise ConfigError(f"{name} {are} the text {shown(tokens)}; give a list of tokens")
    if isinstance(tokens, Mapping) or not isinstance(tokens, Iterable) or getattr(tokens, "ndim", 1) != 1:
        raise ConfigError(f"{name} {are} {shown(tokens)}; give a list of tokens")
    held = "hold" if are == "are" else "holds"
    return [checked_token(f"{name} {held}", token) for token in tokens]


def checked_interactions(interactions: Any) -> dict[str, list[str]]:
    """Item tokens by user token.

    Raises:
        ConfigError: If it is no mapping of tokens to lists of tokens.
    """
    if not isinstance(interactions, Mapping):
        raise ConfigError(f"interactions is {shown(interactions)}; give a dictionary of items by user")
    checked: dict[str, list[str]] = {}
    for user, items in interactions.items():
        token = checked_token("interactions holds", user)
        checked.setdefault(token, []).extend(checked_tokens(f"the items of {shown(user)}", items, "are"))
    return checked


def exclusion(value: Any) -> str:
    """What is not recommended, in one word.

    Args:
        value: True, False or one of :data:`EXCLUDED`.

    Raises:
        ConfigError: If it is none of these.
    """
    if isinstance(value, bool | np.bool_):
        return "all" if value else "none"
    if isinstance(value, str) and value in EXCLUDED:
        return value
    raise ConfigError(f"exclude_seen is {shown(value)}; give True, False or one of {EXCLUDED}")
