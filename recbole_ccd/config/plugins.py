"""Modules of the user's with strategies and losses of their own, which a run finds by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from recbole_ccd.errors import ConfigError, one_line

KEY = "plugins"
"""The key that names them. No file that a run has left may: whoever goes on with the run says it again."""

STRATEGIES, USER_LOSSES = "STRATEGIES", "USER_LOSSES"
"""The dictionaries of names and classes that such a module has, called as ours are."""

# what the classes derive from; settings come first, and import no strategy
_BASES = {
    STRATEGIES: ("recbole_ccd.strategy.base", "Strategy"),
    USER_LOSSES: ("recbole_ccd.trainer.distill_losses", "UserLoss"),
}

Named = str | Sequence[str] | None


def modules_of(value: Any) -> list[str]:
    """The names of the modules that the key holds; ``a,b`` is a list as well."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    return list(value) if isinstance(value, list) else []


def plugged(value: Named, kind: str) -> dict[str, type]:
    """Classes of the user's, by their names.

    Args:
        value: what the key holds.
        kind: :data:`STRATEGIES` or :data:`USER_LOSSES`.
    """
    return {name: found for module in modules_of(value) for name, found in _classes(module, kind).items()}


def own_settings(found: type) -> dict[str, Any]:
    """The settings of a class: its own keys with their defaults, and those of ours that it changes."""
    return dict(getattr(found, "settings", {}))


def all_own_keys(value: Named, kinds: Collection[str] = (STRATEGIES, USER_LOSSES)) -> frozenset[str]:
    """The keys that the classes in the modules have settings for."""
    classes = (found for kind in kinds for found in plugged(value, kind).values())
    return frozenset(key for found in classes for key in own_settings(found))


def check_plugins(
    value: Any, source: str, taken: Mapping[str, Collection[str]], fixed: Collection[str]
) -> None:
    """Imports the modules and looks at what they hold.

    Args:
        value: what the key holds.
        source: where it was given.
        taken: by kind, names that are ours.
        fixed: keys of ours in which strategies cannot differ, and losses do not decide.

    Raises:
        ConfigError: it names no module, one that cannot be imported, or one without usable classes.
    """
    names = modules_of(value) if value is None or isinstance(value, str) else modules_of(value) or [None]
    if not all(isinstance(name, str) and all(p.isidentifier() for p in name.split(".")) for name in names):
        shown = one_line(repr(value))
        raise ConfigError(f"{KEY} is {shown} ({source}), which cannot be used; give names of modules")
    for name in names:
        start = f"{KEY}: {one_line(name)} ({source})"
        if not any([_classes(name, kind, start) for kind in _BASES]):
            raise ConfigError(f"{start} has neither {STRATEGIES} nor {USER_LOSSES}; give it one of them")
        for kind in _BASES:
            for entry, found in _classes(name, kind).items():
                _check_class(entry, found, f"{start}: {kind}", kind, taken[kind])
                unfit = next((key for key in own_settings(found) if key in fixed), None)
                if unfit is not None:
                    raise ConfigError(
                        f"{start}: {entry} has settings with {unfit}, in which strategies cannot differ; "
                        "leave it out"
                    )


def _check_class(entry: object, found: object, start: str, kind: str, taken: Collection[str]) -> None:
    shown = one_line(repr(entry))
    if not (isinstance(entry, str) and entry.isidentifier()):
        raise ConfigError(f"{start} has the key {shown}, which is no name; write it as a Python name")
    if entry in taken:
        raise ConfigError(f"{start} has {shown}, which is one of ours; give it another name")
    module, base = _BASES[kind]
    known = [(c.__module__, c.__qualname__) for c in getattr(found, "__mro__", ())]
    if (module, base) not in known:
        raise ConfigError(f"{start} has {shown}, which is no class derived from {module}.{base}; derive it")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ConfigError(f"{start} has {shown}, which lacks {missing}; write it")


def _classes(name: str, kind: str, start: str = KEY) -> dict[str, type]:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever a module's own code raises
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(
            f"{start} cannot be imported ({reason}); correct it, or add its folder to PYTHONPATH"
        ) from error
    held = getattr(module, kind, {})
    if not isinstance(held, dict):
        raise ConfigError(f"{start}: {kind} is no dictionary; make it one of names and classes")
    return held
