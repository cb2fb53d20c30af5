"""Strictness about values: each by itself, those that must fit each other, and those without effect."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from recbole.evaluator import metric_types
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.register import metric_information, metrics_dict
from recbole.utils import EvaluatorType

from recbole_ccd.config.conditions import Check, check_value, choice, like, list_of, optional
from recbole_ccd.config.model_rules import check_together as check_model_together
from recbole_ccd.config.model_settings import model_checks
from recbole_ccd.config.problems import Problems
from recbole_ccd.config.schema import SCHEMA, check_of, parts_of
from recbole_ccd.registry import one_or_more
from recbole_ccd.utils.errors import ConfigError, one_line

_LARGEST_INTEGER, _LARGEST_NUMBER = 2**63 - 1, 3.4e38

BLOCK_PARTS = ("train", "valid", "test")
# what ends like a part of something larger, such as RecBole's train, valid and test of one data set
_LIKE_A_PART = re.compile(r"(?:.*[._-])?(?:train|valid|test|val|dev|training|validation)", re.IGNORECASE)


def check_each(
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
    source_of: Callable[[str], str],
    registered: Mapping[str, Iterable[str]],
    model: str = "",
    misnamed: Collection[str] = (),
) -> None:
    """Checks the settings of a run, each by itself.

    Args:
        settings: all settings.
        defaults: the defaults, whose types count where a key has no check.
        source_of: where a key (or dotted keys) was set.
        registered: names that may be chosen, by the kind of what they name.
        model: name of the student's model, whose own keys have checks of their own.
        misnamed: keys that are unknown, or hold unknown ones; no more than known entries are looked at.

    Raises:
        ConfigError: If values are of the wrong type or impossible; the message has a line for each.
    """
    checks = {**_of_registered(registered), **model_checks(model)}
    problems = Problems()
    for key, value in settings.items():
        check = checks.get(key) or check_of(key)
        is_checked = check is not None or key not in SCHEMA or SCHEMA[key].is_read
        if is_checked and key not in misnamed:
            with problems.noted(key):
                check_value(key, value, check or like(defaults.get(key)), source_of(key))
        for part, nested in parts_of(key).items():
            if isinstance(value, Mapping) and part in value:
                path = f"{key}.{part}"
                with problems.noted(key):
                    check_value(path, value[part], nested, source_of(path))
    problems.tell()


def check_together(settings: Mapping[str, Any], source_of: Callable[[str], str], model: str) -> None:
    """Checks those settings of a run that must fit each other.

    Args:
        settings: all settings, each of them possible.
        source_of: where a key (or dotted keys) was set.
        model: name of the student's model.

    Raises:
        ConfigError: If some do not; the message has a line for each case.
    """
    problems = Problems()
    with problems.noted():
        check_model_together(model, settings, source_of)
    for check in (
        _check_loss_weights,
        _check_correlation,
        _check_groups,
        _check_sizes,
        _check_block_files,
        _check_columns,
        _check_split,
        _check_masked,
        _check_candidates,
        _check_metrics,
        _check_depth,
        _check_mutual,
    ):
        with problems.noted():
            check(settings, source_of)
    for role in ("student", "teacher"):
        with problems.noted():
            _check_replay(settings, role, source_of)
    problems.tell()


def _of_registered(registered: Mapping[str, Iterable[str]]) -> dict[str, Check]:
    """The checks of keys that choose among what is registered."""
    losses = choice(*registered["distillation loss"])
    regularizers = choice(*registered["regularizer"])
    either = Check(
        f"{losses.allowed}, or a list of different ones",
        lambda v: losses.accepts(v) or list_of(losses, distinct=True).accepts(v),
    )
    several = Check(
        f"{regularizers.allowed}, a list of different ones, or ~",
        lambda v: v is None or regularizers.accepts(v) or list_of(regularizers, distinct=True).accepts(v),
    )
    schemes = optional(choice(*registered["replay scheme"]))
    return {"distill_loss": either, "regularizer": several, "replay": schemes}


def _check_loss_weights(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Each loss of a list has a weight."""
    weights, losses = settings["distill_loss_weights"], one_or_more(settings["distill_loss"])
    if weights is not None and len(weights) != len(losses):
        key = "distill_loss_weights"
        start = f"{key} has {len(weights)} entries ({source_of(key)})"
        raise ConfigError(
            f"{start}, and distill_loss {len(losses)} ({source_of('distill_loss')}); give one per loss"
        )


def _check_correlation(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """A loss that is chosen has a term."""
    keys = ("correlation_value_weight", "correlation_rank_weight")
    if "correlation" in one_or_more(settings["distill_loss"]) and not any(settings[key] for key in keys):
        given = " and ".join(f"{key} ({source_of(key)})" for key in keys)
        raise ConfigError(f"{given} are 0, which leaves nothing of correlation; raise one of them")


def _check_groups(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Each group of items has a list, of at least one item."""
    groups, listed = settings["unkd_groups"], settings["distill_top_k"]
    if "unkd" in one_or_more(settings["distill_loss"]) and groups > listed:
        start = f"unkd_groups is {groups} ({source_of('unkd_groups')})"
        raise ConfigError(
            f"{start}, more than distill_top_k with {listed} ({source_of('distill_top_k')}), which is shared "
            "out among the groups; lower it"
        )


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


def supported_metrics() -> list[str]:
    """Metrics that the rankings of a block give, by RecBole's names."""
    ranking = (m for m, kind in metric_types.items() if kind == EvaluatorType.RANKING)
    return [m for m in ranking if all(need.startswith("rec.") for need in metric_information[m])]


def _check_metrics(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    metrics, supported = settings["metrics"], supported_metrics()
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if metric.lower() not in supported:
            known = metric.lower() in metric_types
            problem = "needs more than the rankings of a block" if known else "is no metric"
            start = f"metrics: '{one_line(metric)}' ({source_of('metrics')}) {problem}"
            raise ConfigError(f"{start}; choose among: {', '.join(supported)}")
    if settings.get("eval_users") is not None:
        for metric in [metrics] if isinstance(metrics, str) else metrics:
            if not issubclass(metrics_dict[metric.lower()], TopkMetric):
                given = f"eval_users is {settings['eval_users']} ({source_of('eval_users')})"
                start = f"{given}, and metrics has '{one_line(metric)}' ({source_of('metrics')})"
                raise ConfigError(
                    f"{start}, which is no mean over users and has no standard error; leave one of them out"
                )
    names = metric_names(metrics, settings["topk"])
    if settings["valid_metric"].lower() not in names:
        start = f"valid_metric is {one_line(repr(settings['valid_metric']))} ({source_of('valid_metric')})"
        raise ConfigError(f"{start}, which metrics and topk do not give; choose one of: {', '.join(names)}")


def _check_masked(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Where the valid parts are measured, nothing may know the test parts."""
    key = "valid_mask_test"
    if settings.get(key) and settings.get("eval_part") == "valid":
        start = f"{key} is True ({source_of(key)}), by which early stopping knows the test parts"
        raise ConfigError(f"{start}, and eval_part is valid ({source_of('eval_part')}); set {key} to False")


def _check_depth(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """The teacher must rank at least as many items as are asked of it."""
    depth = settings.get("ensemble_rank_depth")
    for key in ("topk", "distill_top_k", "exclusion_top_k") if depth is not None else ():
        longest = max(settings[key]) if isinstance(settings[key], list) else settings[key]
        if longest > depth:
            name = "ensemble_rank_depth"
            start = f"{name} is {depth} ({source_of(name)}), less than {key} with {longest}"
            raise ConfigError(f"{start} ({source_of(key)}); raise {name} or lower {key}")


def _check_mutual(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """A student that learns together with the teacher learns a block as a whole."""
    key, pieces = "student_updates_per_block", settings.get("student_updates_per_block")
    if not settings.get("mutual_learning"):
        return
    if pieces is not None and pieces > 1:
        start = f"{key} is {pieces} ({source_of(key)}), and with mutual_learning"
        raise ConfigError(
            f"{start} ({source_of('mutual_learning')}) the student learns a block with the teacher; make it 1"
        )
    for role in ("student", "teacher"):
        name = f"{role}_replay_candidates"
        drawn, candidates = settings.get("mutual_draws"), settings.get(name)
        least = min(candidates) if isinstance(candidates, list) else candidates
        if drawn is not None and least is not None and drawn > least:
            start = f"mutual_draws is {drawn} ({source_of('mutual_draws')}), more than {name} with {least}"
            raise ConfigError(f"{start} ({source_of(name)}); lower it or raise {name}")


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


def _check_sizes(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Tensors hold integers of 64 bits and numbers of single precision; the data's numbers may be others."""
    for key, value in settings.items():
        of_the_data = key in SCHEMA and SCHEMA[key].raw
        for path, entry in _numbers(key, value) if not of_the_data else ():
            limit = _LARGEST_INTEGER if isinstance(entry, int) else _LARGEST_NUMBER
            if not -limit <= entry <= limit and (isinstance(entry, int) or math.isfinite(entry)):
                start = f"{path} is {one_line(repr(entry), 40)} ({source_of(path)}), more than a tensor holds"
                raise ConfigError(f"{start}; give at most {limit:.3g}")


def _numbers(path: str, value: Any) -> Iterator[tuple[str, int | float]]:
    """The numbers in a setting, with the key or dotted keys of each."""
    if isinstance(value, Mapping):
        for part, entry in value.items():
            yield from _numbers(f"{path}.{part}", entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _numbers(path, entry)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _check_block_files(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """The stream is cut somehow; a block comes as one file, or as one for each of train, valid and test."""
    if all(settings.get(key) is None for key in ("block_ratios", "block_boundaries", "benchmark_filename")):
        raise ConfigError(
            f"block_ratios is None ({source_of('block_ratios')}), and nothing else cuts the stream; give it "
            "shares, or set block_boundaries or benchmark_filename"
        )
    key, blocks = "benchmark_filename", dict[str, list[str]]()
    for name in settings.get(key) or ():
        block, _, part = name.rpartition(".")
        named = (block, part) if block and part in BLOCK_PARTS else (name, "")
        if not named[1] and _LIKE_A_PART.fullmatch(name):
            shown = f"{one_line(repr(settings[key]))} ({source_of(key)})"
            example = ", ".join(f"b0.{part}" for part in BLOCK_PARTS)
            raise ConfigError(
                f"{key} is {shown}, where {one_line(repr(name))} would be a block of its own to train on; "
                f"name the three parts of each block, such as {example}"
            )
        blocks.setdefault(named[0], []).append(named[1])
    for block, parts in blocks.items():
        if sorted(parts) not in ([""], sorted(BLOCK_PARTS)):
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
    key = "unused_col"
    for field in (user, item):
        if any(field in fields for fields in (settings.get(key) or {}).values()):
            start = f"{key} names {one_line(repr(field))} ({source_of(key)}), which RecBole then drops"
            raise ConfigError(f"{start}; leave the columns of users and items out")
    load, unload = settings.get("load_col") or {}, settings.get("unload_col") or {}
    for suffix in unload:
        if unload[suffix] and load.get(suffix, "*") != "*":
            start = f"{both('unload_col', 'load_col')} both name columns of '{suffix}'"
            raise ConfigError(f"{start}; set load_col.{suffix} to '*'")


def _check_split(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """One is left out for each user, whatever else the rows could be grouped by."""
    key, args = "eval_args.group_by", settings["eval_args"]
    if "LS" in args["split"] and str(args["group_by"]).lower() == "none":
        start = f"{key} is {one_line(repr(args['group_by']))} ({source_of(key)}), and eval_args.split is LS"
        raise ConfigError(
            f"{start} ({source_of('eval_args.split')}), which leaves one out for each user; set {key} to user"
        )


def _check_candidates(settings: Mapping[str, Any], source_of: Callable[[str], str]) -> None:
    """Dynamic negatives are chosen among candidates."""
    key, args = "train_neg_sample_args", settings.get("train_neg_sample_args")
    if args and args.get("dynamic") and not args.get("candidate_num"):
        start = f"{key}.dynamic is True ({source_of(f'{key}.dynamic')}) without candidates to choose from"
        raise ConfigError(f"{start}; give {key}.candidate_num an integer >= 1")


def check_plugin_keys(
    settings: Mapping[str, Any],
    strategy: type[Any],
    schemes: Mapping[str, type[Any]],
    source_of: Callable[[str], str],
) -> None:
    """Refuses plugins that a strategy has no place for, as they would have no effect.

    Args:
        settings: all settings, each checked by itself.
        strategy: the strategy's class.
        schemes: replay schemes by name.
        source_of: where a key was set.

    Raises:
        ConfigError: If there is such a plugin.
    """
    for key, has_place, what in (
        ("replay", strategy.replays, "replays"),
        ("regularizer", strategy.regularizes is not None, "regularizes"),
    ):
        if settings[key] is not None and not has_place:
            raise ConfigError(
                f"{_given(key, settings, source_of)}, and strategy {strategy.name} {what} nothing; leave it "
                f"out, or give it in strategy_args to a strategy that {what}"
            )
    scheme = schemes.get(settings["replay"])
    if scheme is not None and scheme.needs_proxies and not strategy.has_proxies:
        others = [name for name, other in schemes.items() if not other.needs_proxies]
        raise ConfigError(
            f"{_given('replay', settings, source_of)}, which replays from proxies, and strategy "
            f"{strategy.name} has none; choose one of: {', '.join(others)}, or leave it out"
        )


def _given(key: str, settings: Mapping[str, Any], source_of: Callable[[str], str]) -> str:
    return f"{key} is {one_line(repr(settings[key]))} ({source_of(key)})"


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
    for path, row in SCHEMA.items():
        value = _at(given, path)
        if value is _ABSENT:
            continue
        with problems.noted():
            idle = next((idle for idle in row.idle if idle.when is None or idle.when(settings)), None)
            if idle is None or _is_one_of(value, (*idle.harmless, _at(defaults, path))):
                continue
            decided = f" ({source_of(idle.decided_by)})" if idle.decided_by else ""
            reason = f", as {idle.reason}" if idle.when is None else f" {idle.reason}{decided}"
            start = f"{path} is {one_line(repr(value))} ({source_of(path)}), which has no effect"
            raise ConfigError(f"{start}{reason}; {idle.remedy}")
    problems.tell()


_ABSENT = object()


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
