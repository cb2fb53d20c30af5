"""Strictness: every key must be known to what it is meant for, and the values must fit each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from recbole.evaluator import metric_types
from recbole.evaluator.register import metric_information
from recbole.utils import EvaluatorType, training_arguments

from recbole_ccd.config.catalogue import (
    all_model_keys,
    choose,
    comparable_keys,
    general_models,
    model_defaults,
    model_keys,
    nearest,
)
from recbole_ccd.config.checks import CHECKS, NESTED_CHECKS, STAGE_KEYS, STAGES
from recbole_ccd.config.conditions import check_value, like
from recbole_ccd.config.sources import Layer, one_line
from recbole_ccd.errors import ConfigError

BLOCK_PARTS = ("train", "valid", "test")


def check_keys(layer: Layer, known: Collection[str], student: str, teachers: Sequence[str]) -> None:
    """Checks that every key of a source is known, and every key in a dictionary whose keys are fixed.

    Args:
        layer: the source.
        known: keys that the run knows.
        student: name of the student's model.
        teachers: names of the teacher's models, to tell where else a key may belong.

    Raises:
        ConfigError: If a key is unknown; the message names the nearest known one.
    """
    for key, value in layer.values.items():
        if key not in known:
            raise ConfigError(_unknown(key, layer.source, known, student, teachers))
        fixed = NESTED_CHECKS.get(key)
        for part in value if fixed and isinstance(value, Mapping) else ():
            if part not in fixed:
                raise ConfigError(
                    f"unknown key '{one_line(f'{key}.{part}')}' ({layer.source}); did you mean "
                    f"'{key}.{nearest(str(part), fixed)}'?"
                )


def _unknown(key: str, source: str, known: Collection[str], student: str, teachers: Sequence[str]) -> str:
    start = f"unknown key '{one_line(key)}' ({source})"
    near = f"the nearest known key is '{nearest(key, known)}'"
    if key == "config_files":
        return f"{start}: files are named on the command line or in config_file_list; move it there"
    for model in teachers:
        if key in model_keys(model):
            where = f"but teacher member {model} has it; put it under teacher_args"
            return f"{start}: {student} has no such key, {near}, {where}"
    if key in all_model_keys():
        owner = next(model for model in general_models() if key in model_keys(model))
        return f"{start}: it belongs to {owner}, not to {student}, and {near}; correct or remove it"
    return f"{start}; did you mean '{nearest(key, known)}'?"


def check_strategy_args(layers: Sequence[Layer]) -> None:
    """Checks the user's ``strategy_args``: names of strategies, and keys in which strategies may differ.

    Args:
        layers: the user's sources.

    Raises:
        ConfigError: If it is no mapping of strategies to settings, or a name or key in it is wrong.
    """
    for layer in layers:
        args = layer.values.get("strategy_args")
        if args is None:
            continue
        if not isinstance(args, Mapping) or not all(isinstance(own, Mapping) for own in args.values()):
            raise ConfigError(
                f"strategy_args is {one_line(repr(args))} ({layer.source}); give settings as "
                "'strategy: {key: value}'"
            )
        for name, own in args.items():
            choose("strategy", name, f"strategy_args, {layer.source}")
            for key in own:
                if key not in comparable_keys():
                    start = f"unknown key '{one_line(f'strategy_args.{name}.{key}')}' ({layer.source})"
                    near = nearest(str(key), comparable_keys())
                    raise ConfigError(f"{start}: strategies cannot differ in it; did you mean '{near}'?")


def check_ablation(
    ablation: str, taken: Mapping[str, Any], given: Mapping[str, Any], source_of: Callable[[str], str]
) -> None:
    """Checks that no setting of the user's undoes an ablation, which nobody would see in the tables.

    Args:
        ablation: its name.
        taken: its settings.
        given: the user's.
        source_of: where a key was set.

    Raises:
        ConfigError: If a key has one value here and another one there.
    """
    for key in taken:
        if given.get(key, taken[key]) != taken[key]:
            start = f"{key} is {one_line(repr(given[key]))} ({source_of(key)})"
            raise ConfigError(
                f"{start}, and ablation {ablation} makes it {taken[key]!r}; leave one of them out"
            )


def member_keys(model: str) -> frozenset[str]:
    """The keys that ``teacher_args`` may set for a member: its model's and those of its training."""
    staged = {f"{stage}_{key}" for stage in STAGES for key in STAGE_KEYS}
    return model_keys(model) | frozenset(training_arguments) | staged


def teacher_settings(
    members: Sequence[str],
    args: Mapping[str, Any],
    layers: Sequence[Layer],
    source_of: Callable[[str], str],
) -> dict[str, Any]:
    """Checks ``teacher_args``.

    Args:
        members: names of the teacher's models.
        args: its settings; a key that is a member's name holds settings for that model only.
        layers: the user's sources.
        source_of: where a dotted key was set.

    Returns:
        The settings that concern a member. Defaults that no member knows are left out.

    Raises:
        ConfigError: If no member knows a key that the user set, or a value is impossible.
    """
    kept: dict[str, Any] = {}
    for key, value in args.items():
        path = f"teacher_args.{key}"
        if key in members:
            if not isinstance(value, Mapping):
                shown = one_line(repr(value))
                raise ConfigError(
                    f"{path} is {shown} ({source_of(path)}); give settings of {key} as a dictionary"
                )
            groups = [([key], f"{path}.{part}", part, entry) for part, entry in value.items()]
        else:
            groups = [(list(members), path, key, value)]
        users = any(layer.holds(path) for layer in layers)
        fits = [_check_member_setting(*group, source_of, strict=users) for group in groups]
        if all(fits):
            kept[key] = value
    return kept


def _check_member_setting(
    members: Sequence[str],
    path: str,
    key: str,
    value: Any,
    source_of: Callable[[str], str],
    *,
    strict: bool,
) -> bool:
    """Whether some member knows the key; ``strict`` makes it an error if none does."""
    knowing = [model for model in members if key in member_keys(model)]
    if not knowing and strict:
        known = frozenset(members).union(*map(member_keys, members))
        names = ", ".join(dict.fromkeys(members))
        start = f"unknown key '{one_line(path)}' ({source_of(path)}): no teacher member ({names}) has it"
        if key in general_models():
            raise ConfigError(f"{start}; add {key} to teacher_models or remove it")
        raise ConfigError(f"{start}; did you mean '{nearest(key, known)}'?")
    for model in dict.fromkeys(knowing):
        check = CHECKS.get(key) or like(model_defaults(model).get(key))
        check_value(path, value, check, source_of(path))
    return bool(knowing)


def check_settings(
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
    nullable: frozenset[str],
    source_of: Callable[[str], str],
) -> None:
    """Checks the settings of a run, each by itself and then together.

    Args:
        settings: all settings.
        defaults: the defaults, whose types count where the table has no check.
        nullable: keys without check that may be None although their default is not.
        source_of: where a key (or dotted keys) was set.

    Raises:
        ConfigError: If a value is of the wrong type or impossible.
    """
    for key, value in settings.items():
        check = CHECKS.get(key) or like(defaults.get(key))
        if value is not None or key in CHECKS or key not in nullable:
            check_value(key, value, check, source_of(key))
        for part, nested in NESTED_CHECKS.get(key, {}).items():
            if isinstance(value, Mapping) and part in value:
                path = f"{key}.{part}"
                check_value(path, value[part], nested, source_of(path))
    _check_block_files(settings, source_of)
    _check_columns(settings, source_of)
    _check_candidates(settings, source_of)
    _check_metrics(settings, source_of)
    _check_depth(settings, source_of)
    for role in ("student", "teacher"):
        _check_replay(settings, role, source_of)


def metric_names(metrics: str | list[str], topk: int | list[int]) -> list[str]:
    """The names under which RecBole's evaluator returns metrics, such as ``recall@20``."""
    metrics = [metrics] if isinstance(metrics, str) else metrics
    cutoffs = [topk] if isinstance(topk, int) else topk
    names: list[str] = []
    for metric in (m.lower() for m in metrics):
        # GAUC looks at whole rankings and has no cutoff
        whole = metric_information[metric] == ["rec.meanrank"]
        names += [metric] if whole else [f"{metric}@{k}" for k in cutoffs]
    return list(dict.fromkeys(names))


def _supported_metrics() -> list[str]:
    ranking = (m for m, kind in metric_types.items() if kind == EvaluatorType.RANKING)
    return [m for m in ranking if all(need.startswith("rec.") for need in metric_information[m])]


def _check_metrics(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    metrics, supported = settings["metrics"], _supported_metrics()
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if metric.lower() not in supported:
            known = metric.lower() in metric_types
            problem = "needs more than the rankings of a block" if known else "is no metric"
            start = f"metrics: '{one_line(metric)}' ({source_of('metrics')}) {problem}"
            raise ConfigError(f"{start}; choose among: {', '.join(supported)}")
    names = metric_names(metrics, settings["topk"])
    if settings["valid_metric"].lower() not in names:
        start = f"valid_metric is {one_line(repr(settings['valid_metric']))} ({source_of('valid_metric')})"
        raise ConfigError(f"{start}, which metrics and topk do not give; choose one of: {', '.join(names)}")


def _check_depth(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """The teacher must rank at least as many items as are asked of it."""
    depth = settings.get("ensemble_rank_depth")
    for key in ("topk", "distill_top_k", "exclusion_top_k") if depth is not None else ():
        longest = max(settings[key]) if isinstance(settings[key], list) else settings[key]
        if longest > depth:
            name = "ensemble_rank_depth"
            start = f"{name} is {depth} ({source_of(name)}), less than {key} with {longest}"
            raise ConfigError(f"{start} ({source_of(key)}); raise {name} or lower {key}")


def _check_replay(settings: Mapping[str, Any], role: str, source_of: Callable[[str], str]) -> None:
    """No more items can be drawn without replacement than there are candidates."""
    name = f"{role}_replay_candidates"
    for source in ("stability", "plasticity", "student"):
        key = f"{role}_replay_{source}"
        drawn, candidates = settings.get(key), settings.get(name)
        if drawn is None or candidates is None:
            continue
        drawn, candidates = (v if isinstance(v, list) else [v] for v in (drawn, candidates))
        for block in range(max(len(drawn), len(candidates))):
            least = candidates[min(block, len(candidates) - 1)]
            if drawn[min(block, len(drawn) - 1)] > least:
                limit = f"the {least} of {name} in block {block + 1} ({source_of(name)})"
                start = f"{key} is {settings[key]} ({source_of(key)})"
                raise ConfigError(f"{start}, more than {limit}; lower it or raise {name}")


def _check_block_files(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """A block comes as one file, or as one for each of train, valid and test."""
    blocks: dict[str, list[str]] = {}
    for name in settings.get("benchmark_filename") or ():
        block, _, part = name.rpartition(".")
        named = (block, part) if block and part in BLOCK_PARTS else (name, "")
        blocks.setdefault(named[0], []).append(named[1])
    for block, parts in blocks.items():
        if sorted(parts) not in ([""], sorted(BLOCK_PARTS)):
            key = "benchmark_filename"
            given = one_line(", ".join(f"{block}.{part}" if part else block for part in parts))
            whole = one_line(", ".join(f"{block}.{part}" for part in BLOCK_PARTS))
            start = f"{key} has {given} of block '{one_line(block)}' ({source_of(key)})"
            raise ConfigError(f"{start}; name {whole}, or one file with the whole block")


def _check_columns(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Users and items have a column each, and RecBole takes the columns to load or those not to load."""

    def both(*keys: str) -> str:
        return " and ".join(f"{key} ({source_of(key)})" for key in keys)

    user, item = settings["USER_ID_FIELD"], settings["ITEM_ID_FIELD"]
    if user == item:
        start = f"{both('USER_ID_FIELD', 'ITEM_ID_FIELD')} are both {one_line(repr(user))}"
        raise ConfigError(f"{start}; give the column of each")
    load, unload = settings.get("load_col") or {}, settings.get("unload_col") or {}
    for suffix in unload:
        if unload[suffix] and load.get(suffix, "*") != "*":
            start = f"{both('unload_col', 'load_col')} both name columns of '{suffix}'"
            raise ConfigError(f"{start}; set load_col.{suffix} to '*'")


def _check_candidates(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Dynamic negatives are chosen among candidates."""
    key, args = "train_neg_sample_args", settings.get("train_neg_sample_args")
    if args and args.get("dynamic") and not args.get("candidate_num"):
        start = f"{key}.dynamic is True ({source_of(f'{key}.dynamic')}) without candidates to choose from"
        raise ConfigError(f"{start}; give {key}.candidate_num an integer >= 1")
