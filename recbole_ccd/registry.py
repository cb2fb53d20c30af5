"""What a run chooses by name: strategies, distillation losses, replay schemes, regularizers and models.

A class, ours or a user's, is registered by the decorator :func:`register` and nothing else. Ours are found in
the package of their kind, a user's in the modules that the key ``plugins`` names; so a module that no run
names adds nothing to it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_model

from recbole_ccd.utils.errors import ConfigError, one_line

KEY = "plugins"
"""The key that names a user's modules. No file that a run has left may: whoever resumes it says it again."""

Modules = str | Sequence[str] | None
AnyClass = TypeVar("AnyClass", bound=type[Any])


@dataclass(frozen=True)
class Kind:
    """A kind of class that is chosen by name.

    Attributes:
        package: where ours are.
        base: the class that they derive from, in ``package`` or a module of it.
        key: the key that chooses one.
    """

    package: str
    base: str
    key: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "strategy": Kind("recbole_ccd.strategy", "Strategy", "strategy"),
        "distillation loss": Kind("recbole_ccd.plugin.distillation", "DistillationLoss", "distill_loss"),
        "replay scheme": Kind("recbole_ccd.plugin.replay", "ReplayScheme", "replay"),
        "regularizer": Kind("recbole_ccd.plugin.regularization", "Regularizer", "regularizer"),
        "model": Kind("recbole_ccd.model", "GeneralRecommender", "model"),
    }
)
PLUGIN_KINDS = ("distillation loss", "replay scheme", "regularizer")
"""The kinds of which the classes bring their keys into every run, whether it chooses them or not."""
COMPARABLE_KINDS = ("strategy", "replay scheme", "regularizer")
"""The kinds in whose keys compared strategies may differ: no model of the base block depends on them."""


def register(name: str) -> Callable[[AnyClass], AnyClass]:
    """Registers a class under the name that chooses it; its base class says of what kind it is.

    Args:
        name: a Python name, such as ``lwc_kd``; of a model one that RecBole does not have.

    Returns:
        A decorator that gives the class its ``name``.
    """

    def named(found: AnyClass) -> AnyClass:
        found.name = name
        found.registered_as = name
        return found

    return named


def registered(kind: str, modules: Modules = None) -> dict[str, type[Any]]:
    """All classes of a kind by name, ours and those of a user's modules.

    Args:
        kind: one of :data:`KINDS`.
        modules: what the key ``plugins`` holds.
    """
    return {**of_user(kind, modules), **_ours(kind)}


def of_user(kind: str, modules: Modules) -> dict[str, type[Any]]:
    """The classes of a kind in a user's modules, by name.

    Args:
        kind: one of :data:`KINDS`.
        modules: what the key ``plugins`` holds.
    """
    found = (entry for module in module_names(modules) for entry in _in_module(_imported(module), kind))
    return {entry.registered_as: entry for entry in found}


@functools.cache
def _ours(kind: str) -> Mapping[str, type[Any]]:
    package = importlib.import_module(KINDS[kind].package)
    names = [entry.name for entry in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    modules = [package, *map(importlib.import_module, names)]
    found = {entry for module in modules for entry in _in_module(module, kind, ours=True)}
    by_name = {entry.registered_as: entry for entry in sorted(found, key=lambda entry: entry.registered_as)}
    if len(by_name) < len(found):
        raise ValueError(f"two of our classes are registered as {kind} under one name")
    return MappingProxyType(by_name)


def _in_module(module: ModuleType, kind: str, *, ours: bool = False) -> list[type[Any]]:
    """Registered classes of a kind among the names of a module; those of the package count as ours alone."""
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    return [
        found
        for found in classes
        if "registered_as" in vars(found) and kind_of(found) == kind and is_ours(found) == ours
    ]


def kind_of(found: type[Any]) -> str | None:
    """Of what kind a class is, by what it derives from; None for none."""
    if issubclass(found, AbstractRecommender):
        return "model"
    return getattr(found, "kind", None)


def is_ours(found: type[Any]) -> bool:
    """Whether a class is of this package."""
    return found.__module__.partition(".")[0] == __name__.partition(".")[0]


def one_or_more(value: Any) -> list[str]:
    """The names that a key holds: None for none, one, or a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def own_settings(found: type[Any]) -> dict[str, Any]:
    """The settings of a class: its own keys with their defaults, and those of ours that it changes."""
    return dict(getattr(found, "settings", {}))


def user_keys(modules: Modules, kinds: Collection[str] = ("strategy", *PLUGIN_KINDS)) -> frozenset[str]:
    """The keys that the classes in a user's modules have settings for."""
    classes = (found for kind in kinds for found in of_user(kind, modules).values())
    return frozenset(key for found in classes for key in own_settings(found))


def module_names(value: Any) -> list[str]:
    """The names of the modules that the key holds; ``a,b`` is a list as well."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    return list(value) if isinstance(value, list) else []


def check_modules(value: Any, source: str, ours: Collection[str], fixed: Collection[str]) -> None:
    """Imports a user's modules and looks at what they register.

    Args:
        value: what the key holds.
        source: where it was given.
        ours: keys of ours, of which a strategy may change the value and nobody else.
        fixed: those in which strategies cannot differ.

    Raises:
        ConfigError: If it names no module, one that cannot be imported, or one without usable classes.
    """
    names: list[Any] = module_names(value)
    if not (names or value is None or isinstance(value, str)):
        names = [None]
    if not all(isinstance(name, str) and all(p.isidentifier() for p in name.split(".")) for name in names):
        shown = one_line(repr(value))
        raise ConfigError(f"{KEY} is {shown} ({source}), which cannot be used; give names of modules")
    taken: dict[tuple[str | None, str], type[Any]] = {}
    for name in names:
        start = f"{KEY}: {one_line(name)} ({source})"
        module = _imported(name, start)
        there: list[type[Any]] = [value for value in vars(module).values() if inspect.isclass(value)]
        classes = [c for c in there if "registered_as" in vars(c) and not is_ours(c)]
        if not classes:
            raise ConfigError(f"{start} registers nothing; put @register(NAME) above a class of yours")
        for found in classes:
            _check_class(found, start)
            if kind_of(found) != "model":
                _check_own_settings(found, start, fixed if kind_of(found) == "strategy" else ours)
            other = taken.setdefault((kind_of(found), found.registered_as), found)
            if other is not found:
                raise ConfigError(
                    f"{start} registers {found.registered_as!r} for {found.__qualname__}, and "
                    f"{other.__module__} for {other.__qualname__}; give one of them another name"
                )


def _check_own_settings(found: type[Any], start: str, refused: Collection[str]) -> None:
    unfit = next((key for key in own_settings(found) if key in refused), None)
    if unfit is None:
        return
    name = found.registered_as
    if found.kind == "strategy":
        raise ConfigError(
            f"{start}: {name} has settings with {unfit}, in which strategies cannot differ; leave it out"
        )
    raise ConfigError(
        f"{start}: {name} has settings with {unfit}, which is a key of ours; give its own another name"
    )


def _check_class(found: type[Any], start: str) -> None:
    name, kind = found.registered_as, kind_of(found)
    shown = one_line(repr(name))
    if not (isinstance(name, str) and name.isidentifier()):
        raise ConfigError(f"{start} registers {shown}, which is no name; write it as a Python name")
    if kind not in KINDS:
        bases = ", ".join(entry.base for entry in KINDS.values())
        raise ConfigError(
            f"{start} registers {shown}, which derives from nothing that can be chosen; derive it from one "
            f"of: {bases}"
        )
    if name in _ours(kind):
        raise ConfigError(f"{start} registers {shown}, which is one of ours; give it another name")
    if kind == "model" and _is_recboles(name):
        raise ConfigError(f"{start} registers {shown}, which is a model of RecBole's; give it another name")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ConfigError(f"{start} registers {shown}, which lacks {missing}; write it")


def _is_recboles(model: str) -> bool:
    try:
        get_model(model)
    except (ValueError, AttributeError, ImportError):
        return False
    return True


def _imported(name: str, start: str = KEY) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a module's own code raises
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(
            f"{start} cannot be imported ({reason}); correct it, or add its folder to PYTHONPATH"
        ) from error
