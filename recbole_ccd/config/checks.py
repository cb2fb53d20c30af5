"""What each setting may be: a table of checks."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import re
from collections.abc import Callable
from typing import Any

from recbole_ccd.config.conditions import (
    BOOLEAN,
    Check,
    choice,
    integer,
    is_number,
    list_of,
    number,
    one_or_list,
    optional,
    per_block,
    text,
)

STAGES = ("base", "student_generation", "student_update", "teacher_update")
STAGE_KEYS = (
    "epochs",
    "learning_rate",
    "weight_decay",
    "train_batch_size",
    "eval_step",
    "eval_start",
    "stopping_step",
    "learner",
    "clip_grad_norm",
)


def _shares(value: Any, minimum: Callable[[float], bool]) -> bool:
    return (
        isinstance(value, list)
        and all(is_number(v) and minimum(v) for v in value)
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
    return float(value) if is_number(value) else None


def _are_boundaries(value: Any) -> bool:
    if not isinstance(value, list) or not value or len({isinstance(v, str) for v in value}) > 1:
        return False
    moments = [moment for moment in map(_moment, value) if moment is not None]
    return len(moments) == len(value) and all(a < b for a, b in zip(moments, moments[1:], strict=False))


def _are_proxies(value: Any) -> bool:
    known = ("stability", "plasticity")
    return isinstance(value, list) and all(v in known for v in value) and len(set(value)) == len(value)


def _is_interval(value: Any) -> bool:
    """Whether RecBole can read it: ``[1,5)``, or several such after one another with ``;`` between them."""
    parts = [_BOUNDS.fullmatch(part.strip()) for part in value.split(";")] if isinstance(value, str) else []
    with contextlib.suppress(ValueError):
        return bool(parts) and all(part and float(part[1]) <= float(part[2]) for part in parts)
    return False


def _are_filters(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, list) or _is_interval(v) for v in value.values())


def _are_lists(value: Any) -> bool:
    words = list_of(text())
    return isinstance(value, dict) and all(v == [] or words.accepts(v) for v in value.values())


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and all(text().accepts(v) for v in value.values())


def _are_columns(value: Any) -> bool:
    if not isinstance(value, dict) or not value.get("inter"):
        return False
    return _are_lists({suffix: columns for suffix, columns in value.items() if columns != "*"})


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


_MAPPING = Check("settings as 'key: value'", lambda v: isinstance(v, dict))
_SIZE = integer(1)
_COUNT = integer(0)
_COUNTS = per_block(_COUNT)
_ALL_FULL = {"valid": "full", "test": "full"}
_ALL_RANKED = {"distribution": "uniform", "sample_num": "none"}
_WHOLE_RANKING = Check("nothing: all known items are ranked", lambda v: v is None or v == _ALL_RANKED)
_BOUNDS = re.compile(r"[\[(]([^,]+),([^,]+)[\])]")
_INTERVAL = Check("an interval as text, such as '[5,inf)'", _is_interval, True, True)
_COLUMNS = Check("lists of columns by file suffix", _are_lists, True)
_SEPARATOR = Check("one or more characters", lambda v: isinstance(v, str) and v != "", True, True)
_FIELD_SEPARATOR = Check(
    "one or more characters without a line end",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"[^\r\n\0]+", v)),
    True,
    True,
)
# a number of 64 bits has no more than 17 that count; far beyond it rounding overflows
_DIGITS = integer(1, 100)
_ADDRESS = Check(
    "an address that begins with http:// or https://",
    lambda v: isinstance(v, str) and bool(re.fullmatch(r"https?://[\x21-\x7e]+", v)),
    True,
    True,
)
_LOGGED = Check("False, or install wandb", lambda v: v is False or (v is True and _has("wandb")))
_PARALLEL = Check(
    "~, or ray if that is installed", lambda v: v is None or (v == "ray" and _has("ray")), True, True
)
_DEVICES = Check("device numbers as text", lambda v: isinstance(v, str) or _COUNT.accepts(v), True, True)
_NO_WORKER = Check(
    "0, as data are not loaded by processes of their own", lambda v: _COUNT.accepts(v) and v == 0
)
_CLIPPED = Check("at least {max_norm: number}", lambda v: isinstance(v, dict) and "max_norm" in v)

CHECKS: dict[str, Check] = {
    # run
    "run_dir": optional(text()),
    "checkpoint_every": optional(integer(1)),
    "parallel": _PARALLEL,
    "parallel_workers": optional(integer(1)),
    "seed": integer(0, 2**32 - 1),
    "gpu_id": _DEVICES,
    "worker": _NO_WORKER,
    "state": choice("debug", "info", "warning", "error", "critical", any_case=True),
    "data_path": text(),
    "dataset_url": optional(_ADDRESS),
    "nproc": choice(1),
    "world_size": choice(-1, 1),
    "log_wandb": _LOGGED,
    # stream and data
    "graph": choice("block", "cumulative"),
    "growth": choice("embeddings", "predictions"),
    "valid_blocks": choice("current", "seen"),
    "valid_mask_test": BOOLEAN,
    "eval_part": choice("test", "valid"),
    "block_ratios": optional(
        Check("positive numbers that sum to 1", lambda v: bool(v) and _shares(v, lambda share: share > 0))
    ),
    "block_boundaries": optional(
        Check(
            "a list of increasing dates (YYYY-MM-DD[ HH:MM:SS]) or of increasing raw times", _are_boundaries
        )
    ),
    "benchmark_filename": optional(list_of(text(), distinct=True)),
    # data, as RecBole reads, filters and prepares it
    "USER_ID_FIELD": text(),
    "ITEM_ID_FIELD": text(),
    "TIME_FIELD": optional(text()),
    "RATING_FIELD": optional(text()),
    "LABEL_FIELD": text(),
    "NEG_PREFIX": text(),
    "field_separator": _FIELD_SEPARATOR,
    "seq_separator": _SEPARATOR,
    "load_col": optional(
        Check("lists of columns, or '*', by file suffix, those of inter among them", _are_columns, True)
    ),
    "unload_col": optional(_COLUMNS),
    "unused_col": optional(_COLUMNS),
    "additional_feat_suffix": optional(one_or_list(text())),
    "rm_dup_inter": optional(choice("first", "last")),
    "user_inter_num_interval": optional(_INTERVAL),
    "item_inter_num_interval": optional(_INTERVAL),
    "val_interval": optional(
        Check("an interval as text, such as '[5,inf)', or a list of tokens, by column", _are_filters, True)
    ),
    "threshold": optional(_MAPPING),
    "discretization": optional(_MAPPING),
    "preload_weight": optional(Check("columns of vectors by the column of their ids", _are_names, True)),
    "seq_len": optional(_MAPPING),
    "alias_of_user_id": optional(list_of(text())),
    "alias_of_item_id": optional(list_of(text())),
    "normalize_all": optional(BOOLEAN),
    "normalize_field": optional(list_of(text())),
    "transform": choice(None),
    # training
    "epochs": _SIZE,
    "learning_rate": number(0, above=True),
    "weight_decay": number(0),
    "train_batch_size": _SIZE,
    "eval_step": _SIZE,
    "eval_start": optional(_SIZE),
    "stopping_step": integer(0),
    "learner": choice("adam", "adamw", "sgd", "adagrad", "rmsprop", any_case=True),
    "clip_grad_norm": optional(_CLIPPED),
    "train_neg_sample_args": optional(_MAPPING),
    "valid_neg_sample_args": _WHOLE_RANKING,
    "test_neg_sample_args": _WHOLE_RANKING,
    "loss_decimal_place": _DIGITS,
    # the stages' own terms and passes are in full precision
    "enable_amp": choice(False),
    # models of the user's that have the usual keys; config/model_settings.py has those of RecBole's
    "embedding_size": _SIZE,
    "latent_dimension": _SIZE,
    "n_layers": integer(0),
    "reg_weight": number(0),
    "ssl_weight": number(0),
    "dropout_prob": number(0, 1),
    # evaluation
    "eval_args": _MAPPING,
    "metrics": one_or_list(text()),
    "topk": one_or_list(_SIZE),
    "valid_metric": text(),
    "metric_decimal_place": _DIGITS,
    "eval_batch_size": _SIZE,
    "mask_history": choice("block", "all"),
    # roles
    "teacher_models": list_of(text()),
    "teacher_args": optional(_MAPPING),
    "strategy_args": optional(_MAPPING),
    "base": choice("distilled", "plain"),
    "ensemble_exponent": number(0, above=True),
    "ensemble_rank_depth": optional(_SIZE),
    "student_updates_per_block": _SIZE,
    # stage 1
    "distill_loss_weights": optional(list_of(number(0))),
    "distill_temperature": number(0, above=True),
    "distill_rank_decay": number(0, above=True),
    "distill_rank_slope": number(0, above=True),
    "distill_rank_sample": _SIZE,
    "distill_draws": _SIZE,
    "distill_top_k": _SIZE,
    "distill_lists": choice("unseen", "seen_first"),
    "distill_user_weight": number(0),
    "distill_item_weight": number(0),
    "n_uninteresting_items": optional(_SIZE),
    "n_uninteresting_users": optional(_SIZE),
    "n_uninteresting_pairs": _SIZE,
    "uninteresting_redraw": _SIZE,
    "distill_score_max": number(0, above=True),
    "distill_layer": choice("ego", "final"),
    "base_student_args": optional(_MAPPING),
    "exclusion_top_k": integer(0),
    "exclude_student_items": BOOLEAN,
    "student_side_lists": choice("unseen", "all"),
    "exclude_teacher_negatives": BOOLEAN,
    "distill_absent_users": BOOLEAN,
    "student_start": choice("fresh", "previous"),
    # stage 2
    "proxies": Check("a list of different names out of stability, plasticity, or []", _are_proxies, True),
    "new_entity_initialization": choice("two_hop", "one_hop", "random"),
    "n_popular_neighbors": integer(0),
    "stability_ema": per_block(number(0, 1)),
    "plasticity_ema": per_block(number(0, 1)),
    "student_replay_candidates": per_block(_SIZE),
    "student_replay_stability": _COUNTS,
    "student_replay_plasticity": _COUNTS,
    "student_update_distill": number(0),
    "teacher_update_distill": number(0),
    "deployed_student": choice("updated", "generated"),
    "update_distill_teacher": choice("grown", "previous"),
    "update_distill_users": choice("absent", "all"),
    "update_distill_layer": choice("ego", "final"),
    "student_replay_weight": number(0),
    "student_replay_decay": optional(number(0, above=True)),
    "student_replay_batch_size": optional(_SIZE),
    "student_replay_labels": choice("source", "matched"),
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
    "teacher_replay_batch_size": optional(_SIZE),
    "teacher_replay_labels": choice("source", "matched"),
    "pseudo_interaction_value": number(0),
    "output_kl_weight": number(0),
    "pair_kl_weight": number(0),
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
    "error_if_nonfinite": BOOLEAN,
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
        # a larger power of a popularity of millions is infinite
        "alpha": number(0, 10),
        "dynamic": BOOLEAN,
        "candidate_num": integer(0),
    },
    "clip_grad_norm": _CLIP,
    "base_student_args": {key: CHECKS[key] for key in (*STAGE_KEYS, "distill_layer")},
} | {f"{stage}_clip_grad_norm": _CLIP for stage in STAGES}
