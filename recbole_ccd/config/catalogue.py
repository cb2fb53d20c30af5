"""What there is to choose from: models, strategies, presets, and the keys each of them knows."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import recbole
from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, get_model

from recbole_ccd.config.schema import SCHEMA, Scope, keys_of
from recbole_ccd.config.yaml_reader import merged, read_yaml
from recbole_ccd.registry import COMPARABLE_KINDS, PLUGIN_KINDS, Modules, own_settings, registered
from recbole_ccd.utils.errors import ConfigError, one_line, suggestion

DEFAULT_MODEL = "LightGCN"
DEFAULT_DATASET = "ml-100k"
METHOD_NAME = "CCD"
# strategies whose base student is distilled from the teacher, whatever the key ``base`` says
ALWAYS_TAUGHT = frozenset({"ccd", "distill", "distill_each_block", "retrain_distill"})

CONTEXT_BASELINE = "context baseline"
"""What tables call a strategy whose model is one of these."""
CONTEXT_MODELS = ("DCNV2", "DeepFM", "FM", "KD_DAGFM")
"""RecBole's context-aware models that can be trained anew on every block, and cannot be grown."""

_ACCEPTED_TYPES = (ModelType.GENERAL, ModelType.TRADITIONAL)


def properties_dir() -> Path:
    """Our YAML files: inside the package when installed, beside it in a working tree."""
    package = Path(__file__).parent.parent
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


def names_of(kind: str) -> list[str]:
    """Names of the files in a folder of our properties, for example the strategies."""
    return sorted(path.stem for path in (properties_dir() / kind).glob("*.yaml"))


@functools.cache
def properties(path: Path) -> Mapping[str, Any]:
    """A properties file, RecBole's or ours, read once per process; empty if there is no such file."""
    # unlike a path's own method it takes a name of any length
    return MappingProxyType(read_yaml(path) if os.path.isfile(path) else {})


def yaml_keys(path: Path) -> frozenset[str]:
    """The keys of a properties file; none if there is no such file."""
    return frozenset(properties(path))


def recbole_properties_dir() -> Path:
    """The folder of RecBole's property files."""
    return Path(recbole.__file__).parent / "properties"


def general_keys() -> frozenset[str]:
    """Keys of RecBole's and our ``overall.yaml`` and of RecBole's data set sample."""
    theirs = recbole_properties_dir()
    files = theirs / "overall.yaml", theirs / "dataset" / "sample.yaml", properties_dir() / "overall.yaml"
    return frozenset().union(*map(yaml_keys, files))


def model_keys(model: str) -> frozenset[str]:
    """The keys that only the model named ``model`` has, such as ``n_layers``."""
    return frozenset().union(*map(yaml_keys, _model_files(model))) - general_keys()


def documented(model: type[AbstractRecommender]) -> str:
    """The name whose keys a model has: its own, or that of the model it derives from."""
    names = [found.__name__ for found in model.__mro__]
    return next((name for name in names if any(map(os.path.isfile, _model_files(name)))), names[0])


def model_defaults(model: str) -> dict[str, Any]:
    """RecBole's and our defaults of the :func:`model_keys`."""
    values = merged(*map(properties, _model_files(model)))
    return {key: value for key, value in values.items() if key not in general_keys()}


def _model_files(model: str) -> list[Path]:
    return [folder / "model" / f"{model}.yaml" for folder in (recbole_properties_dir(), properties_dir())]


@functools.cache
def all_model_keys() -> frozenset[str]:
    """The union of :func:`model_keys` over all general models."""
    return frozenset().union(*map(model_keys, general_models()))


@functools.cache
def recbole_model_keys() -> frozenset[str]:
    """The keys of all of RecBole's models, those of other kinds among them."""
    return frozenset().union(*map(yaml_keys, (recbole_properties_dir() / "model").glob("*.yaml")))


@functools.cache
def strategy_keys() -> frozenset[str]:
    """The keys of all strategies, so that one file can serve several that are compared."""
    ours = properties_dir()
    files = [ours / "learning.yaml", *(ours / "strategy" / f"{name}.yaml" for name in names_of("strategy"))]
    classes = [found for kind in ("strategy", *PLUGIN_KINDS) for found in registered(kind).values()]
    return frozenset().union(*map(yaml_keys, files), *map(own_settings, classes)) - all_model_keys()


@functools.cache
def comparable_keys() -> frozenset[str]:
    """The keys in which strategies may differ when they are compared: the base block reads none of them."""
    classes = [found for kind in COMPARABLE_KINDS for found in registered(kind).values()]
    own = frozenset().union(*map(own_settings, classes)) - SCHEMA.keys()
    return own.union(keys_of(Scope.STRATEGY))


@functools.cache
def general_models() -> tuple[str, ...]:
    """Names of RecBole's general recommenders."""
    package = importlib.import_module("recbole.model.general_recommender")
    classes = (value for value in vars(package).values() if inspect.isclass(value))
    return tuple(sorted(c.__name__ for c in classes if issubclass(c, AbstractRecommender)))


def class_keys(model: type[AbstractRecommender]) -> frozenset[str]:
    """The keys that only a model's class has: those of :func:`documented`, and its own settings."""
    return model_keys(documented(model)) | frozenset(own_settings(model))


def class_defaults(model: type[AbstractRecommender]) -> dict[str, Any]:
    """Defaults of the :func:`class_keys`."""
    return merged(model_defaults(documented(model)), own_settings(model))


def model_class(name: object, source: str, modules: Modules = None) -> type[AbstractRecommender]:
    """The class of a model: one of ours, one in a user's modules, or one of RecBole's.

    Args:
        name: the model's name, or its class, which is checked and returned.
        source: where the name was given, for messages.
        modules: what the key ``plugins`` holds.

    Raises:
        ConfigError: If there is no such model, or it is not a general (or traditional) recommender.
    """
    if inspect.isclass(name):
        found = name
    elif not isinstance(name, str):
        shown = f"a {type(name).__name__}" if isinstance(name, (Config, Mapping)) else one_line(repr(name))
        raise ConfigError(f"model is {shown} ({source}), which is no name; give a model's name")
    elif name in (known := registered("model", modules)):
        found = known[name]
    else:
        try:
            found = get_model(name)
        except (ValueError, AttributeError, ImportError):
            remedy = suggestion(
                name, (*general_models(), *known), f"choose a general recommender such as {DEFAULT_MODEL}"
            )
            raise ConfigError(f"unknown model '{one_line(name)}' ({source}); {remedy}") from None
    kind = getattr(found, "type", None)
    if kind not in _ACCEPTED_TYPES:
        shown = kind.name.lower() if isinstance(kind, ModelType) else "unknown"
        context = f", or one of {', '.join(CONTEXT_MODELS)}" if kind == ModelType.CONTEXT else ""
        raise ConfigError(
            f"model '{found.__name__}' ({source}) is a {shown} model, which cannot follow a stream of "
            f"interactions; choose a general recommender such as {DEFAULT_MODEL}{context}"
        )
    return found


def is_context(model: type[AbstractRecommender]) -> bool:
    """Whether a model is one of the :data:`CONTEXT_MODELS`, or derives from one."""
    return documented(model) in CONTEXT_MODELS


def shown_strategy(strategy: str, model: str) -> str:
    """A strategy as tables name it, with what its model makes of it.

    Args:
        strategy: the strategy's name.
        model: the name of the student's model.
    """
    return f"{strategy} ({CONTEXT_BASELINE})" if model in CONTEXT_MODELS else strategy


def choose(key: str, value: object, source: str, more: Iterable[str] = ()) -> str:
    """Checks that ``value`` names one of our files for ``key`` ("strategy", "preset" or "ablation").

    Args:
        key: the key.
        value: its value.
        source: where it was given, for messages.
        more: names that may be chosen as well.

    Raises:
        ConfigError: If there is no such file.
    """
    known = sorted({*names_of(key), *more})
    if isinstance(value, str) and value in known:
        return value
    remedy = f"choose one of: {', '.join(known)}" if known else "leave it out, as there is none to choose"
    raise ConfigError(f"unknown {key} {one_line(repr(value))} ({source}); {remedy}")
