"""Which keys take text, told from what each may be: their values are words, whatever else they look like."""

from __future__ import annotations

import functools

from recbole_ccd.config.catalogue import defaults_of_files
from recbole_ccd.config.checks import CHECKS, NESTED_CHECKS
from recbole_ccd.config.conditions import Check, like, one_or_list, text

# keys that are checked where they are looked up
_NAMES = {
    **dict.fromkeys(("model", "dataset", "strategy", "preset", "ablation", "config_files"), text()),
    "plugins": one_or_list(text()),
}


def takes_text(keys: tuple[str, ...]) -> bool:
    """Whether the value of a key is text, or lists and dictionaries of text.

    Args:
        keys: the key, after those of the dictionaries that it lies in.
    """
    return any(_check(keys[:n]).is_text for n in range(1, len(keys) + 1))


def stands_alone(keys: tuple[str, ...]) -> bool:
    """Whether the value of a key is text, and never a list or a dictionary; ``keys`` as above."""
    return bool(keys) and _check(keys).exclusive


def _check(keys: tuple[str, ...]) -> Check:
    parent, key = ("", *keys)[-2:]
    return NESTED_CHECKS.get(parent, {}).get(key) or _NAMES.get(key) or CHECKS.get(key) or _by_default(key)


@functools.cache
def _by_default(key: str) -> Check:
    """What a key without check may be: what is like its defaults, if they are of one kind."""
    defaults = [value for value in defaults_of_files(key) if value is not None]
    found = [like(value) for value in defaults]
    if found and all(
        (check.is_text, check.exclusive) == (found[0].is_text, found[0].exclusive) for check in found
    ):
        return found[0]
    return like(None)
