"""Strictness about keys: each must be known to what it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import training_arguments

from recbole_ccd.config.catalogue import (
    all_model_keys,
    choose,
    class_defaults,
    class_keys,
    comparable_keys,
    documented,
    general_models,
    model_keys,
    names_of,
    recbole_model_keys,
)
from recbole_ccd.config.conditions import check_value, like
from recbole_ccd.config.model_rules import check_together
from recbole_ccd.config.model_settings import model_checks
from recbole_ccd.config.recorded import DERIVED_KEYS
from recbole_ccd.config.schema import MEMBER_STAGES, STAGE_KEYS, check_of, parts_of
from recbole_ccd.config.sources import Layer
from recbole_ccd.registry import COMPARABLE_KINDS, Modules, of_user, user_keys
from recbole_ccd.utils.commands import GOES_WITH
from recbole_ccd.utils.errors import ConfigError, nearest, one_line, suggestion

# the strategy that ablations take parts away from
ABLATED = "ccd"

COUNTERPARTS = {
    # of earlier versions of RecBole
    "neg_sampling": "train_neg_sample_args",
    "training_neg_sample_num": "train_neg_sample_args.sample_num",
    "training_neg_sample_distribution": "train_neg_sample_args.distribution",
    "eval_setting": "eval_args",
    "split_ratio": "eval_args.split, such as {RS: [0.8, 0.1, 0.1]}",
    "leave_one_num": "eval_args.split, such as {RS: [0.8, 0.1, 0.1]}",
    "group_by_user": "eval_args.group_by",
    "group_by": "eval_args.group_by",
    "min_user_inter_num": "user_inter_num_interval, such as '[5,inf)'",
    "max_user_inter_num": "user_inter_num_interval, such as '[0,5]'",
    "min_item_inter_num": "item_inter_num_interval, such as '[5,inf)'",
    "max_item_inter_num": "item_inter_num_interval, such as '[0,5]'",
    "lowest_val": "val_interval, such as {rating: '[4,inf)'}",
    "highest_val": "val_interval, such as {rating: '[0,4]'}",
    "equal_val": "val_interval, such as {rating: '[4,4]'}",
    "not_equal_val": "val_interval, such as {rating: '[0,4);(4,5]'}",
    "fields_in_same_space": "alias_of_user_id or alias_of_item_id",
    "eval_neg_sample_args": "eval_args.mode, which is full",
    # of its programs
    "params_file": "tune=FILE on the command line",
    "tool": "tune=FILE on the command line, with tune_algorithm",
    "algo": "tune=FILE on the command line, with tune_algorithm",
    "max_evals": "tune=FILE on the command line, with tune_trials",
    "output_file": "run_dir, in which a search writes trials.md",
    "offset": "parallel",
    "config_file_list": "config_files on the command line, or the argument config_file_list",
    "model_file": "resume=RUN_DIR, or load_student from Python",
    "checkpoint": "run_dir",
    "saved_model_file": "run_dir",
    # names that others use
    "batch_size": "train_batch_size or eval_batch_size",
    "lr": "learning_rate",
    "optimizer": "learner",
    "device": "use_gpu and gpu_id",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "patience": "stopping_step",
    "early_stopping": "stopping_step",
    "early_stop": "stopping_step",
    "embedding_dim": "embedding_size",
    "emb_size": "embedding_size",
    "emb_dim": "embedding_size",
    "l2_reg": "weight_decay",
    "data_dir": "data_path",
    "random_seed": "seed",
}
"""Names that mean something known by another one, and what to use instead of each."""


def check_keys(layer: Layer, known: Collection[str], student: str, teachers: Sequence[str]) -> None:
    """Checks that every key of a source is known, and every key in a dictionary whose keys are fixed.

    Args:
        layer: the source.
        known: keys that the run knows.
        student: name of the student's model.
        teachers: names of the teacher's models, to tell where else a key may belong.

    Raises:
        ConfigError: If keys are unknown; the message has a line for each, with the nearest known one.
    """
    problems, concerned = [], set()
    for key, value in layer.values.items():
        if key not in known:
            concerned.add(key)
            problems.append(_unknown(key, layer.source, known, student, teachers))
        fixed = parts_of(key)
        for part in value if fixed and isinstance(value, Mapping) else ():
            if part not in fixed:
                dotted = [f"{key}.{known_part}" for known_part in fixed]
                near = nearest(part, fixed)
                remedy = f"did you mean '{key}.{near}'?" if near else f"give one of: {', '.join(dotted)}"
                concerned.add(key)
                problems.append(f"unknown key '{one_line(f'{key}.{part}')}' ({layer.source}); {remedy}")
    if problems:
        raise ConfigError(*problems, keys=concerned)


def _unknown(key: str, source: str, known: Collection[str], student: str, teachers: Sequence[str]) -> str:
    start = f"unknown key '{one_line(key)}' ({source})"
    meant = set(known) | GOES_WITH.keys()
    near = nearest(key, meant)
    beside = f", and the nearest known key is '{near}'" if near else ""
    if key == "config_files":
        return f"{start}: files are named on the command line or in config_file_list; move it there"
    if key in GOES_WITH:
        return f"{start}: it is an argument that goes with --{GOES_WITH[key]}; add that, or remove it"
    for model in teachers:
        if key in model_keys(model):
            where = f"but teacher member {model} has it; put it under teacher_args"
            return f"{start}: {student} has no such key{beside}, {where}"
    if key in all_model_keys():
        owner = next(model for model in general_models() if key in model_keys(model))
        return f"{start}: it belongs to {owner}, not to {student}{beside}; correct or remove it"
    if key in COUNTERPARTS:
        return f"{start}; use {COUNTERPARTS[key]}"
    if key in DERIVED_KEYS:
        return f"{start}: it follows from other settings; remove it"
    if key in recbole_model_keys():
        return f"{start}: it belongs to models of other kinds{beside}; correct or remove it"
    return (
        f"{start}; {suggestion(key, meant, '--help=TOPIC lists those that there are, and --help the topics')}"
    )


def check_strategy_args(layers: Sequence[Layer], plugins: Modules = None) -> None:
    """Checks the user's ``strategy_args``: names of strategies, and keys in which strategies may differ.

    Args:
        layers: the user's sources.
        plugins: modules with further strategies.

    Raises:
        ConfigError: If it is no mapping of strategies to settings, or a name or key in it is wrong.
    """
    more, comparable = of_user("strategy", plugins), comparable_keys() | user_keys(plugins, COMPARABLE_KINDS)
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
            choose("strategy", name, f"strategy_args, {layer.source}", more)
            for key in own:
                if key not in comparable:
                    start = f"unknown key '{one_line(f'strategy_args.{name}.{key}')}' ({layer.source})"
                    remedy = suggestion(key, comparable, "set it for all of them, or remove it")
                    raise ConfigError(f"{start}: strategies cannot differ in it; {remedy}")


def check_ablated(strategy: str, ablation: str, source: str) -> None:
    """Checks that a strategy has the parts that an ablation takes away; one of the user's own may have them.

    Args:
        strategy: its name.
        ablation: the ablation's.
        source: where that was given.

    Raises:
        ConfigError: If the strategy is one of ours and not CCD.
    """
    if strategy in names_of("strategy") and strategy != ABLATED:
        raise ConfigError(
            f"ablation is '{ablation}' ({source}), which takes a part of {ABLATED} away, and strategy is "
            f"{strategy}; leave ablation out, or add strategy {ABLATED}"
        )


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


def member_keys(model: type[AbstractRecommender]) -> frozenset[str]:
    """The keys that ``teacher_args`` may set for a member: its model's and those of its training."""
    staged = {f"{stage}_{key}" for stage in MEMBER_STAGES for key in STAGE_KEYS}
    return class_keys(model) | frozenset(training_arguments) | staged


def teacher_settings(
    members: Mapping[str, type[AbstractRecommender]],
    args: Mapping[str, Any],
    layers: Sequence[Layer],
    source_of: Callable[[str], str],
) -> dict[str, Any]:
    """Checks ``teacher_args``.

    Args:
        members: the teacher's models by name.
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
        groups: list[tuple[Mapping[str, type[AbstractRecommender]], str, str, Any]]
        if key in members:
            if not isinstance(value, Mapping):
                shown = one_line(repr(value))
                raise ConfigError(
                    f"{path} is {shown} ({source_of(path)}); give settings of {key} as a dictionary"
                )
            one = {key: members[key]}
            groups = [(one, f"{path}.{part}", part, entry) for part, entry in value.items()]
        else:
            groups = [(members, path, key, value)]
        users = any(layer.holds(path) for layer in layers)
        fits = [_check_member_setting(*group, source_of, strict=users) for group in groups]
        if all(fits):
            kept[key] = value
    for name, model in members.items():
        _check_member_together(name, model, kept, source_of)
    return kept


def _check_member_together(
    name: str, model: type[AbstractRecommender], args: Mapping[str, Any], source_of: Callable[[str], str]
) -> None:
    """Checks that the settings of a member fit each other, those it has by default among them."""
    own = args.get(name) or {}
    values = class_defaults(model) | {key: args[key] for key in args if key != name} | dict(own)

    def path_of(key: str) -> str:
        return f"teacher_args.{name}.{key}" if key in own else f"teacher_args.{key}"

    check_together(documented(model), values, source_of, path_of)


def _check_member_setting(
    members: Mapping[str, type[AbstractRecommender]],
    path: str,
    key: str,
    value: Any,
    source_of: Callable[[str], str],
    *,
    strict: bool,
) -> bool:
    """Whether some member knows the key; ``strict`` makes it an error if none does."""
    knowing = [model for model in members.values() if key in member_keys(model)]
    if not knowing and strict:
        known = frozenset(members).union(*map(member_keys, members.values()))
        names = ", ".join(members)
        start = f"unknown key '{one_line(path)}' ({source_of(path)}): no teacher member ({names}) has it"
        if key in general_models():
            raise ConfigError(f"{start}; add {key} to teacher_models or remove it")
        remedy = suggestion(key, known, "remove it, or set it for the whole run")
        raise ConfigError(f"{start}; {remedy}")
    for model in knowing:
        check = model_checks(documented(model)).get(key) or check_of(key)
        check = check or like(class_defaults(model).get(key))
        check_value(path, value, check, source_of(path))
    return bool(knowing)
