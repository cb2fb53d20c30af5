"""What each setting may be: a table of checks."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recbole_ccd.config.sources import one_line
from recbole_ccd.errors import ConfigError

STAGES = ("base", "student_generation", "student_update", "teacher_update")
STAGE_KEYS = (
    "epochs",
    "learning_rate",
    "weight_decay",
    "train_batch_size",
    "eval_step",
    "stopping_step",
    "learner",
    "clip_grad_norm",
)


@dataclass(frozen=True)
class Check:
    """A condition on a value.

    Attributes:
        allowed: what is allowed, in words that follow "give".
        accepts: whether a value is allowed.
    """

    allowed: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def integer(low: int, high: int | None = None) -> Check:
    """An integer from ``low`` to ``high``."""
    words = f"an integer >= {low}" + ("" if high is None else f" and <= {high}")
    return Check(words, lambda v: _is_int(v) and low <= v and (high is None or v <= high))


def number(low: float, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number from ``low`` (or above it) to ``high``."""
    words = f"a number {'>' if above else '>='} {low:g}" + (f" and <= {high:g}" if high < math.inf else "")
    return Check(words, lambda v: _is_number(v) and (low < v if above else low <= v) and v <= high)


def choice(*values: Any, any_case: bool = False) -> Check:
    """One of ``values``; ``any_case`` takes upper and lower case for the same."""

    def accepts(value: Any) -> bool:
        word = value.lower() if any_case and isinstance(value, str) else value
        return any(type(word) is type(known) and word == known for known in values)

    return Check("one of: " + ", ".join("~" if v is None else str(v) for v in values), accepts)


def text() -> Check:
    """Text that is not empty."""
    return Check("text", lambda v: isinstance(v, str) and bool(v.strip()))


def optional(check: Check) -> Check:
    """What ``check`` allows, or None."""
    return Check(f"{check.allowed}, or ~", lambda v: v is None or check.accepts(v))


def list_of(check: Check, *, distinct: bool = False) -> Check:
    """A list that is not empty and whose entries pass ``check``."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, list) or not value or not all(map(check.accepts, value)):
            return False
        return not distinct or all(entry not in value[:i] for i, entry in enumerate(value))

    return Check(f"a list of {'different entries' if distinct else 'entries'}, each {check.allowed}", accepts)


def one_or_list(check: Check, meaning: str = "") -> Check:
    """What ``check`` allows, or a list of it."""
    several = list_of(check)
    return Check(
        f"{check.allowed}, or a list of such{meaning}", lambda v: check.accepts(v) or several.accepts(v)
    )


def per_block(check: Check) -> Check:
    """What ``check`` allows, or a list of it with one entry per block."""
    return one_or_list(check, " with one entry per block 1..K")


def _shares(value: Any, minimum: Callable[[float], bool]) -> bool:
    return (
        isinstance(value, list)
        and all(_is_number(v) and minimum(v) for v in value)
        and abs(sum(value) - 1) <= 1e-6
    )


def _is_split(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"RS"} or not _shares(value["RS"], lambda v: v >= 0):
        return False
    return len(value["RS"]) == 3 and value["RS"][0] > 0


def _is_full(value: Any) -> bool:
    return value == "full" or (isinstance(value, dict) and _ALL_FULL | value == _ALL_FULL)


def _moment(value: Any) -> float | None:
    """A boundary as a number that orders it, or None if it is none."""
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S") if isinstance(value, str) else ():
        with contextlib.suppress(ValueError):
            return datetime.datetime.strptime(value, form).replace(tzinfo=datetime.timezone.utc).timestamp()
    return float(value) if _is_number(value) else None


def _are_boundaries(value: Any) -> bool:
    if not isinstance(value, list) or not value or len({isinstance(v, str) for v in value}) > 1:
        return False
    moments = [_moment(v) for v in value]
    return None not in moments and all(a < b for a, b in zip(moments, moments[1:], strict=False))


def _are_proxies(value: Any) -> bool:
    known = ("stability", "plasticity")
    return isinstance(value, list) and all(v in known for v in value) and len(set(value)) == len(value)


_MAPPING = Check("settings as 'key: value'", lambda v: isinstance(v, dict))
_BOOLEAN = Check("True or False", lambda v: isinstance(v, bool))
_SIZE = integer(1)
_COUNTS = per_block(integer(0))
_ALL_FULL = {"valid": "full", "test": "full"}
_ALL_RANKED = {"distribution": "uniform", "sample_num": "none"}
_WHOLE_RANKING = Check("nothing: all known items are ranked", lambda v: v is None or v == _ALL_RANKED)

CHECKS: dict[str, Check] = {
    # run
    "run_dir": optional(text()),
    "seed": integer(0, 2**32 - 1),
    "gpu_id": Check("device numbers as text", lambda v: isinstance(v, str) or (_is_int(v) and v >= 0)),
    "worker": integer(0, 0),
    "state": optional(choice("debug", "info", "warning", "error", "critical", any_case=True)),
    "data_path": text(),
    "checkpoint_dir": text(),
    "nproc": choice(1),
    "world_size": choice(-1, 1),
    # stream and data
    "graph": choice("block", "cumulative"),
    "growth": choice("embeddings", "predictions"),
    "valid_blocks": choice("current", "seen"),
    "eval_part": choice("test", "valid"),
    "block_ratios": Check(
        "positive numbers that sum to 1", lambda v: bool(v) and _shares(v, lambda share: share > 0)
    ),
    "block_boundaries": optional(
        Check(
            "a list of increasing dates (YYYY-MM-DD[ HH:MM:SS]) or of increasing raw times", _are_boundaries
        )
    ),
    "benchmark_filename": optional(list_of(text(), distinct=True)),
    "load_col": optional(_MAPPING),
    "rm_dup_inter": optional(choice("first", "last")),
    "normalize_all": optional(_BOOLEAN),
    "normalize_field": optional(list_of(text())),
    # training
    "epochs": _SIZE,
    "learning_rate": number(0, above=True),
    "weight_decay": number(0),
    "train_batch_size": _SIZE,
    "eval_step": _SIZE,
    "stopping_step": integer(0),
    "learner": choice("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam", any_case=True),
    "clip_grad_norm": optional(_MAPPING),
    "train_neg_sample_args": optional(_MAPPING),
    "valid_neg_sample_args": _WHOLE_RANKING,
    "test_neg_sample_args": _WHOLE_RANKING,
    "loss_decimal_place": integer(1),
    # models
    "embedding_size": _SIZE,
    "latent_dimension": _SIZE,
    "n_layers": integer(0),
    "reg_weight": number(0),
    "dropout_prob": number(0, 1),
    "mlp_hidden_size": list_of(_SIZE),
    "resolution": number(0, above=True),
    # evaluation
    "eval_args": _MAPPING,
    "metrics": one_or_list(text()),
    "topk": one_or_list(_SIZE),
    "valid_metric": text(),
    "metric_decimal_place": integer(1),
    "eval_batch_size": _SIZE,
    "mask_history": choice("block", "all"),
    # roles
    "teacher_models": list_of(text()),
    "teacher_args": optional(_MAPPING),
    "base": choice("distilled", "plain"),
    "ensemble_exponent": number(0, above=True),
    "ensemble_rank_depth": optional(_SIZE),
    "student_updates_per_block": _SIZE,
    # stage 1
    "distill_loss": choice("rrd", "kl", "listnet", "cd", "rd"),
    "distill_temperature": number(0, above=True),
    "distill_rank_decay": number(0, above=True),
    "distill_rank_slope": number(0, above=True),
    "distill_rank_sample": _SIZE,
    "distill_draws": _SIZE,
    "distill_top_k": _SIZE,
    "distill_user_weight": number(0),
    "distill_item_weight": number(0),
    "n_uninteresting_items": optional(_SIZE),
    "n_uninteresting_users": optional(_SIZE),
    "n_uninteresting_pairs": _SIZE,
    "uninteresting_redraw": _SIZE,
    "distill_score_max": number(0, above=True),
    "distill_layer": choice("ego", "final"),
    "exclusion_top_k": integer(0),
    "distill_absent_users": _BOOLEAN,
    "student_start": choice("fresh", "previous"),
    # stage 2
    "proxies": Check("a list of different names out of stability, plasticity, or []", _are_proxies),
    "new_entity_initialization": choice("two_hop", "one_hop", "random"),
    "n_popular_neighbors": integer(0),
    "stability_ema": per_block(number(0, 1)),
    "plasticity_ema": per_block(number(0, 1)),
    "student_replay_candidates": per_block(_SIZE),
    "student_replay_stability": _COUNTS,
    "student_replay_plasticity": _COUNTS,
    "student_update_distill": number(0),
    "student_replay_weight": number(0),
    "student_replay_decay": optional(number(0, above=True)),
    "replay_temperature": number(0),
    "replay_rank_sample": optional(_SIZE),
    "replay_redraw": _SIZE,
    "replay_rank_student": choice("current", "distilled"),
    # stage 3
    "lwc_kd_anchors": optional(_SIZE),
    "lwc_kd_weight": number(0),
    "lwc_kd_temperature": number(0, above=True),
    "similarity_degree": number(0, above=True),
    "piw_clusters": _SIZE,
    "piw_weight": number(0),
    "teacher_replay_candidates": per_block(_SIZE),
    "teacher_replay_stability": _COUNTS,
    "teacher_replay_plasticity": _COUNTS,
    "teacher_replay_student": _COUNTS,
    "teacher_replay_weight": number(0),
    "teacher_replay_decay": optional(number(0, above=True)),
    "pseudo_interaction_value": number(0),
    "output_kl_weight": number(0),
    # other strategies
    "graphsail_local_weight": number(0),
    "graphsail_global_weight": number(0),
    "graphsail_self_weight": number(0),
    "graphsail_temperature": number(0, above=True),
    "graphsail_clusters": _SIZE,
    "reservoir_size": integer(0),
}
CHECKS |= {f"{stage}_{key}": optional(CHECKS[key]) for stage in STAGES for key in STAGE_KEYS}

# Dictionaries whose keys are fixed.
_CLIP = {
    "max_norm": number(0, above=True),
    "norm_type": number(0, above=True),
    "error_if_nonfinite": _BOOLEAN,
}
NESTED_CHECKS: dict[str, dict[str, Check]] = {
    "eval_args": {
        "split": Check("{RS: [train, valid, test]} with train > 0 and a sum of 1", _is_split),
        "group_by": choice("user"),
        "order": choice("RO"),
        "mode": Check("full", _is_full),
    },
    "train_neg_sample_args": {
        "distribution": choice("uniform", "popularity", "None", None),
        "sample_num": _SIZE,
        "alpha": number(0),
        "dynamic": _BOOLEAN,
        "candidate_num": integer(0),
    },
    "clip_grad_norm": _CLIP,
} | {f"{stage}_clip_grad_norm": _CLIP for stage in STAGES}


def like(default: Any) -> Check:
    """A check on the type that ``default`` has; a default of None allows anything."""
    if default is None:
        return Check("any value", lambda _: True)
    if isinstance(default, bool):
        return _BOOLEAN
    if isinstance(default, int):
        return Check("an integer", _is_int)
    if isinstance(default, float):
        return Check("a finite number", _is_number)
    kind, words = {str: (str, "text"), list: (list, "a list")}.get(
        type(default), (type(default), "a mapping")
    )
    return Check(words, lambda v: isinstance(v, kind))


def check_value(key: str, value: Any, check: Check, source: str) -> None:
    """Raises a ConfigError that names key, value, source and remedy if the check refuses the value."""
    if not check.accepts(value):
        raise ConfigError(
            f"{key} is {one_line(repr(value))} ({source}), which cannot be used; give {check.allowed}"
        )
