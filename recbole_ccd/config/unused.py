"""Keys that RecBole has and that change nothing here: to set one is refused, with what to do instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_ccd.config.problems import Problems
from recbole_ccd.utils.errors import ConfigError, one_line


@dataclass(frozen=True)
class Unused:
    """Why a key changes nothing.

    Attributes:
        reason: why, in words that follow "which has no effect, as".
        remedy: what to do instead.
        harmless: values, beside the default, that ask for nothing but what is done anyway.
    """

    reason: str
    remedy: str = "leave it out"
    harmless: tuple[Any, ...] = (None,)


_EVERYTHING = (None, "[0,inf)")
_SEQUENCES = Unused("no model here reads sequences of items")
_ENTITIES = Unused("no model here reads a knowledge graph")
_ENTITIES_BY_NUMBER = Unused(_ENTITIES.reason, harmless=_EVERYTHING)
_KEPT = Unused("a run directory holds all that a run is gone on with", harmless=(None, False))
_ONE_PROCESS = "a run is one process, or several of parallel"
_IN_MIXED_PRECISION = Unused("nothing is trained in mixed precision", harmless=(None, False))

NEVER_READ: dict[str, Unused] = {
    "threshold": Unused(
        "every interaction that is kept counts as positive",
        "keep those that are by val_interval, such as {rating: '[4,inf)'}",
    ),
    "valid_metric_bigger": Unused("it follows from valid_metric"),
    "repeatable": Unused("what a user has done is not recommended again", "see mask_history"),
    "checkpoint_dir": Unused("checkpoints lie in the run directory", "set run_dir"),
    "save_dataset": _KEPT,
    "dataset_save_path": _KEPT,
    "save_dataloaders": _KEPT,
    "dataloaders_save_path": _KEPT,
    "enable_scaler": _IN_MIXED_PRECISION,
    "ip": Unused(_ONE_PROCESS, "see parallel", (None, "localhost", "127.0.0.1")),
    "port": Unused(_ONE_PROCESS, "see parallel", (None, "5678", 5678)),
    "group_offset": Unused(_ONE_PROCESS, "see parallel", (None, 0)),
    "MAX_ITEM_LIST_LENGTH": _SEQUENCES,
    "ITEM_LIST_LENGTH_FIELD": _SEQUENCES,
    "LIST_SUFFIX": _SEQUENCES,
    "POSITION_FIELD": _SEQUENCES,
    "HEAD_ENTITY_ID_FIELD": _ENTITIES,
    "TAIL_ENTITY_ID_FIELD": _ENTITIES,
    "RELATION_ID_FIELD": _ENTITIES,
    "ENTITY_ID_FIELD": _ENTITIES,
    "kg_reverse_r": _ENTITIES,
    "entity_kg_num_interval": _ENTITIES_BY_NUMBER,
    "relation_kg_num_interval": _ENTITIES_BY_NUMBER,
    "alias_of_entity_id": _ENTITIES,
    "alias_of_relation_id": _ENTITIES,
}
"""Keys that nothing here reads, whatever else is set."""


@dataclass(frozen=True)
class Condition:
    """When a key changes nothing.

    Attributes:
        holds: whether it does so with these settings.
        reason: why, in words that follow "which has no effect".
        remedy: what to do instead.
        decided_by: the key that makes it so, whose source is named; None for several.
        harmless: as of :class:`Unused`.
    """

    holds: Callable[[Mapping[str, Any]], bool]
    reason: str
    remedy: str
    decided_by: str | None = None
    harmless: tuple[Any, ...] = (None,)


POWER_MODELS = frozenset({"LightGCN", "SimpleX"})
"""The models that read ``require_pow``."""


def _without_power(settings: Mapping[str, Any]) -> bool:
    return POWER_MODELS.isdisjoint({settings["model"], *(settings.get("teacher_models") or ())})


def _negatives(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return settings.get("train_neg_sample_args") or {}


_WITH_FILES = (
    lambda settings: settings.get("benchmark_filename") is not None,
    "on the files of benchmark_filename",
)
_UNFILTERED = Condition(
    *_WITH_FILES, "filter the files, or leave one of them out", "benchmark_filename", _EVERYTHING
)
_CUT_BY_FILES = Condition(*_WITH_FILES, "leave one of them out", "benchmark_filename")
_CUT_BY_MOMENTS = Condition(
    lambda settings: settings.get("block_boundaries") is not None,
    "beside block_boundaries",
    "leave one of them out",
    "block_boundaries",
)
CONDITIONS: dict[str, tuple[Condition, ...]] = {
    "user_inter_num_interval": (_UNFILTERED,),
    "item_inter_num_interval": (_UNFILTERED,),
    "filter_inter_by_user_or_item": (_UNFILTERED,),
    "block_ratios": (_CUT_BY_FILES, _CUT_BY_MOMENTS),
    "block_boundaries": (_CUT_BY_FILES,),
    "parallel_workers": (
        Condition(
            lambda settings: settings.get("parallel") is None,
            "without parallel",
            "set parallel: ray, or make it None",
        ),
    ),
    "wandb_project": (
        Condition(lambda settings: not settings.get("log_wandb"), "without log_wandb", "set log_wandb: True"),
    ),
    "require_pow": (
        Condition(_without_power, f"without one of {', '.join(sorted(POWER_MODELS))}", "leave it out"),
    ),
    "train_neg_sample_args.candidate_num": (
        Condition(
            lambda settings: not _negatives(settings).get("dynamic"),
            "on negatives that are not dynamic",
            "set train_neg_sample_args.dynamic: True, or leave it out",
            harmless=(None, 0),
        ),
    ),
    "train_neg_sample_args.alpha": (
        Condition(
            lambda settings: _negatives(settings).get("distribution") != "popularity",
            "on negatives that are not drawn by popularity",
            "set train_neg_sample_args.distribution: popularity, or leave it out",
            harmless=(None, 1.0),
        ),
    ),
}
"""Keys, or dotted keys, that change nothing beside others; the first condition that holds is told."""


_FEATURES = "no model here reads columns of features"
OF_OTHER_MODELS: dict[str, str] = {
    "numerical_features": _FEATURES,
    "discretization": _FEATURES,
    "normalize_field": _FEATURES,
    "normalize_all": _FEATURES,
    "preload_weight": "no model here reads vectors of the data set's",
    "additional_feat_suffix": _FEATURES,
    "seq_len": "no model here reads columns of sequences",
    "RATING_FIELD": "no model here but DMF, with inter_matrix_type: rating, reads ratings",
}
"""Keys that prepare what models of the user's own, or few of RecBole's, read: to set one is warned of."""
_RATED = "rating"


def without_readers(
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    source_of: Callable[[str], str],
) -> list[str]:
    """Keys that a user has set and that change no result of models of RecBole's.

    The file that sets them may well serve other models too, so that nothing is refused.

    Args:
        settings: all settings; those of a run with models of the user's own are not looked at.
        given: those of the user.
        defaults: what they would be otherwise.
        source_of: where a key was set.

    Returns:
        A line for each, for the log.
    """
    members = settings.get("teacher_args") or {}
    parts = [settings, members, *(args for args in members.values() if isinstance(args, Mapping))]
    rated = any(part.get("inter_matrix_type") == _RATED for part in parts)
    lines = []
    for key, value in _set(given, OF_OTHER_MODELS):
        if _is_one_of(value, (None, [], _at(defaults, key))) or (key == "RATING_FIELD" and rated):
            continue
        start = f"{key} is {one_line(repr(value))} ({source_of(key)})"
        lines.append(f"{start}, which changes no result, as {OF_OTHER_MODELS[key]}; it can be left out")
    return lines


def check_effects(
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    source_of: Callable[[str], str],
) -> None:
    """Refuses keys that a user has set and that change nothing.

    A value that is the default is let pass, so that RecBole's own files, and those that a run has left, can
    be given; so is one that asks for what is done anyway.

    Args:
        settings: all settings; ``model`` is the name whose keys the student has.
        given: those of the user.
        defaults: what they would be otherwise.
        source_of: where a key, or dotted keys, was set.

    Raises:
        ConfigError: If there are some; a line for each says why it changes nothing, and what to do instead.
    """
    problems = Problems()
    for path, value in _set(given, NEVER_READ):
        unused = NEVER_READ[path]
        if not _is_one_of(value, (*unused.harmless, _at(defaults, path))):
            start = f"{path} is {one_line(repr(value))} ({source_of(path)}), which has no effect"
            with problems.noted():
                raise ConfigError(f"{start}, as {unused.reason}; {unused.remedy}")
    for path, value in _set(given, CONDITIONS):
        with problems.noted():
            _check_condition(path, value, settings, defaults, source_of)
    problems.tell()


def _check_condition(
    path: str,
    value: Any,
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
    source_of: Callable[[str], str],
) -> None:
    """Refuses a key that changes nothing beside others, for the first condition that holds."""
    for condition in CONDITIONS[path]:
        if not condition.holds(settings):
            continue
        if _is_one_of(value, (*condition.harmless, _at(defaults, path))):
            break
        decided = f" ({source_of(condition.decided_by)})" if condition.decided_by else ""
        start = f"{path} is {one_line(repr(value))} ({source_of(path)}), which has no effect"
        raise ConfigError(f"{start} {condition.reason}{decided}; {condition.remedy}")


_ABSENT = object()


def _set(given: Mapping[str, Any], paths: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = [(path, _at(given, path)) for path in paths]
    return [(path, value) for path, value in found if value is not _ABSENT]


def _at(values: Mapping[str, Any], path: str) -> Any:
    node: Any = values
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return _ABSENT
        node = node[key]
    return node


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    # 1 and True are equal
    return any(isinstance(value, bool) == isinstance(known, bool) and value == known for known in values)
