"""Every key of ours, and every key of RecBole's that has an effect here or is refused: one row each.

A row says what a key's value may be, what it decides, in which stages it is read, and when it has no effect.
Validation, what runs must agree in that are compared, searched, resumed or updated, and docs/options.md are
made from these rows. What a key means, with its unit, and its default stand in ``properties/*.yaml``, beside
one another, where a user reads them; neither is said here again.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from recbole_ccd.config import conditions
from recbole_ccd.config.conditions import (
    BOOLEAN,
    Check,
    automatic,
    choice,
    integer,
    list_of,
    number,
    one_or_list,
    optional,
    per_block,
    text,
)

STAGES = ("base", "student_generation", "student_update", "teacher_update")
"""The stages that train, by the prefix of their own keys of training."""
UPDATES = STAGES[2:]
"""Those that update the model that there is."""
MEMBER_STAGES = ("base", "teacher_update")
"""Those that train members of the teacher."""

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
"""The keys of training that each stage may have for itself."""


class Scope(enum.Enum):
    """What a key's value decides, and so which runs must agree in it.

    Runs that are compared agree in ``STREAM``, ``MEASURE`` and ``BASE``, and ``strategy_args`` may hold
    ``STRATEGY``. A run is resumed and updated with what it was begun with, but for ``RUN``. A search tries
    ``BASE`` and ``STRATEGY``.
    """

    CHOICE = "what is run: the model, the data set, the strategy, the seed, and files of defaults"
    STREAM = "how data are read and cut into blocks, and what a model sees of them"
    MEASURE = "what is measured, and how it is shown"
    BASE = "the models, those of the base block among them, which compared strategies share"
    STRATEGY = "how the stream is followed after the base block, in which strategies may differ"
    RUN = "where things lie, what is shown and who computes, which changes no result but for rounding"
    DERIVED = "what follows from other keys, or from the place of the run, and is set by nobody"


@dataclass(frozen=True)
class Idle:
    """Why, or when, a key changes nothing, so that it is refused.

    Attributes:
        reason: why, in words that follow "which has no effect, as"; or when, in words that follow "which has
            no effect".
        remedy: what to do instead.
        harmless: values, beside the default, that ask for nothing but what is done anyway.
        when: whether it does so with these settings; None where nothing reads it, whatever else is set.
        decided_by: the key that makes it so, whose source is named; None for several.
    """

    reason: str
    remedy: str = "leave it out"
    harmless: tuple[Any, ...] = (None,)
    when: Callable[[Mapping[str, Any]], bool] | None = None
    decided_by: str | None = None


@dataclass(frozen=True)
class Key:
    """What there is to know of a key, or of dotted keys, beside its default and its meaning.

    Attributes:
        check: what the value may be; None for whatever is like the default, or is one of what is registered.
        scope: what it decides.
        stages: who reads it: some of :data:`STAGES`, ``data``, ``evaluation``, ``run``; none where it only
            puts other settings together, or is not read.
        idle: why or when it has no effect; the first that holds is told.
        looked_up: whether ``check`` says no more than that it is a name, which is checked where it is looked
            up.
        decides: whether other settings follow from it, so that it cannot be assigned afterwards.
        of_models: whether it is a key of those models only that have it.
        raw: whether its numbers are those of the data, which may be larger than those of tensors.
    """

    check: Check | None
    scope: Scope
    stages: tuple[str, ...] = ()
    idle: tuple[Idle, ...] = ()
    looked_up: bool = False
    decides: bool = False
    of_models: bool = False
    raw: bool = False

    @property
    def is_read(self) -> bool:
        """Whether something reads it, if only beside other settings."""
        return all(idle.when is not None for idle in self.idle)


CHOICE, STREAM, MEASURE, BASE = Scope.CHOICE, Scope.STREAM, Scope.MEASURE, Scope.BASE
STRATEGY, RUN, DERIVED = Scope.STRATEGY, Scope.RUN, Scope.DERIVED

_BASE, _GENERATION, _STUDENT, _TEACHER = ((stage,) for stage in STAGES)
_DATA, _EVALUATION, _RUN = ("data",), ("evaluation",), ("run",)
_DISTILLING = _GENERATION + UPDATES
_OF_STUDENTS = _BASE + _GENERATION + _STUDENT

_SIZE = integer(1)
_COUNT = integer(0)
_COUNTS = per_block(_COUNT)
_WEIGHT = number(0)
_POSITIVE = number(0, above=True)
_MAPPING = Check("settings as 'key: value'", lambda v: isinstance(v, dict))
_NAME, _NAME_OR_NONE = text(), optional(text())
# a number of 64 bits has no more than 17 that count; far beyond it rounding overflows
_DIGITS = integer(1, 100)
_NO_WORKER = Check(
    "0, as data are not loaded by processes of their own", lambda v: _COUNT.accepts(v) and v == 0
)

# Why and when keys have no effect

_EVERYTHING = (None, "[0,inf)")
_SEQUENCES = (Idle("no model here reads sequences of items"),)
_ENTITIES = (Idle("no model here reads a knowledge graph"),)
_ENTITIES_BY_NUMBER = (replace(_ENTITIES[0], harmless=_EVERYTHING),)
_KEPT = (Idle("a run directory holds all that a run is resumed from", harmless=(None, False)),)
_ONE_PROCESS = Idle("a run is one process, or several of parallel", "see parallel")

POWER_MODELS = frozenset({"LightGCN", "SimpleX"})
"""The models that read ``require_pow``."""


def _negatives(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return settings.get("train_neg_sample_args") or {}


_CUT_BY_FILES = Idle(
    "on the files of benchmark_filename",
    "leave one of them out",
    when=lambda settings: settings.get("benchmark_filename") is not None,
    decided_by="benchmark_filename",
)
_UNFILTERED = (
    replace(_CUT_BY_FILES, remedy="filter the files, or leave one of them out", harmless=_EVERYTHING),
)
_CUT_BY_MOMENTS = Idle(
    "beside block_boundaries",
    "leave one of them out",
    when=lambda settings: settings.get("block_boundaries") is not None,
    decided_by="block_boundaries",
)
_NOT_PARALLEL = Idle(
    "without parallel",
    "set parallel: ray, or make it None",
    when=lambda settings: settings.get("parallel") is None,
)
_NOT_MUTUAL = Idle(
    "without mutual_learning",
    "set mutual_learning: True",
    when=lambda settings: not settings.get("mutual_learning"),
)
_NO_BRIDGE = Idle(
    "without mutual_bridge",
    "set mutual_bridge: True",
    when=lambda settings: not settings.get("mutual_bridge"),
)
_ALL_MUTUAL = Idle(
    "with mutual_learning, where no member is left that learns after the student",
    "see mutual_draws",
    (None, 0),
    lambda settings: (
        bool(settings.get("mutual_learning"))
        and (settings.get("mutual_members") == "all" or len(settings.get("teacher_models") or ()) == 1)
    ),
    "mutual_learning",
)
_NOT_LOGGED = Idle(
    "without log_wandb", "set log_wandb: True", when=lambda settings: not settings.get("log_wandb")
)
_POWERLESS = Idle(
    f"without one of {', '.join(sorted(POWER_MODELS))}",
    when=lambda settings: POWER_MODELS.isdisjoint(
        {settings["model"], *(settings.get("teacher_models") or ())}
    ),
)
_NOT_DYNAMIC = Idle(
    "on negatives that are not dynamic",
    "set train_neg_sample_args.dynamic: True, or leave it out",
    (None, 0),
    lambda settings: not _negatives(settings).get("dynamic"),
)
_NOT_BY_POPULARITY = Idle(
    "on negatives that are not drawn by popularity",
    "set train_neg_sample_args.distribution: popularity, or leave it out",
    (None, 1.0),
    lambda settings: _negatives(settings).get("distribution") != "popularity",
)

_NO_HEAD = Idle(
    "without distill_head: auxiliary",
    "set that, or leave it out",
    when=lambda settings: settings.get("distill_head") != "auxiliary",
)
_NOT_AUGMENTED = Idle(
    "without distill_augmentation",
    "set that, or leave it out",
    when=lambda settings: settings.get("distill_augmentation") is None,
)
_NO_MIXUP = Idle(
    "without distill_augmentation: mixup",
    "set that, or leave it out",
    when=lambda settings: settings.get("distill_augmentation") != "mixup",
)
_NO_DROPOUT = Idle(
    "without distill_augmentation: edge_dropout",
    "set that, or leave it out",
    when=lambda settings: settings.get("distill_augmentation") != "edge_dropout",
)
_NOT_WEIGHED = Idle(
    "without distill_weighting",
    "set that, or leave it out",
    when=lambda settings: settings.get("distill_weighting") is None,
)
_NOT_ALIGNED = Idle(
    "without distill_gradient_alignment",
    "give that a weight, or leave it out",
    when=lambda settings: not settings.get("distill_gradient_alignment"),
)
_NO_CURRICULUM = Idle(
    "without distill_curriculum",
    "set that, or leave it out",
    when=lambda settings: settings.get("distill_curriculum") is None,
)

# The rows

_KEYS: dict[str, Key] = {
    # what is run
    "model": Key(_NAME, CHOICE, looked_up=True, decides=True),
    "dataset": Key(_NAME, CHOICE, looked_up=True, decides=True),
    "strategy": Key(_NAME, CHOICE, looked_up=True, decides=True),
    "ablation": Key(_NAME_OR_NONE, CHOICE, looked_up=True, decides=True),
    "strategy_args": Key(optional(_MAPPING), CHOICE, decides=True),
    "preset": Key(_NAME_OR_NONE, CHOICE, looked_up=True, decides=True),
    "seed": Key(integer(0, 2**32 - 1), CHOICE, (*_DATA, *STAGES)),
    "reproducibility": Key(BOOLEAN, CHOICE, STAGES),
    # run; where code comes from that is not ours is among it, as nothing can tell whether it is the same
    "plugins": Key(optional(one_or_list(_NAME)), RUN, looked_up=True, decides=True),
    "run_dir": Key(_NAME_OR_NONE, RUN, _RUN),
    "data_path": Key(_NAME, RUN, _DATA, decides=True),
    "dataset_url": Key(optional(conditions.ADDRESS), RUN, _DATA),
    "data_cache": Key(_NAME_OR_NONE, RUN, _DATA),
    "checkpoint_every": Key(optional(_SIZE), RUN, STAGES),
    "prepare_update": Key(BOOLEAN, RUN, _GENERATION),
    "parallel": Key(conditions.PARALLEL, RUN, MEMBER_STAGES),
    "parallel_workers": Key(optional(_SIZE), RUN, MEMBER_STAGES, idle=(_NOT_PARALLEL,)),
    "gpu_id": Key(conditions.DEVICES, RUN, (*STAGES, *_EVALUATION), decides=True),
    "use_gpu": Key(BOOLEAN, RUN, (*STAGES, *_EVALUATION), decides=True),
    "eval_batch_size": Key(_SIZE, RUN, _EVALUATION),
    "state": Key(choice("debug", "info", "warning", "error", "critical", any_case=True), RUN, _RUN),
    "show_epochs": Key(BOOLEAN, RUN, _RUN),
    "show_progress": Key(BOOLEAN, RUN, _RUN),
    "write_report": Key(BOOLEAN, RUN, _RUN),
    "log_wandb": Key(conditions.LOGGED, RUN, _RUN),
    "wandb_project": Key(_NAME, RUN, _RUN, idle=(_NOT_LOGGED,)),
    "nproc": Key(choice(1), RUN),
    "world_size": Key(choice(-1, 1), RUN),
    "ip": Key(None, RUN, idle=(replace(_ONE_PROCESS, harmless=(None, "localhost", "127.0.0.1")),)),
    "port": Key(None, RUN, idle=(replace(_ONE_PROCESS, harmless=(None, "5678", 5678)),)),
    "group_offset": Key(None, RUN, idle=(replace(_ONE_PROCESS, harmless=(None, 0)),)),
    "save_dataset": Key(BOOLEAN, RUN, idle=_KEPT),
    "dataset_save_path": Key(None, RUN, idle=_KEPT),
    "save_dataloaders": Key(BOOLEAN, RUN, idle=_KEPT),
    "dataloaders_save_path": Key(None, RUN, idle=_KEPT),
    # stream
    "graph": Key(choice("block", "cumulative"), STREAM, (*_DATA, *STAGES)),
    "valid_blocks": Key(choice("current", "seen"), STREAM, STAGES),
    "valid_mask_test": Key(BOOLEAN, STREAM, STAGES),
    "block_ratios": Key(optional(conditions.RATIOS), STREAM, _DATA, idle=(_CUT_BY_FILES, _CUT_BY_MOMENTS)),
    "block_boundaries": Key(optional(conditions.BOUNDARIES), STREAM, _DATA, idle=(_CUT_BY_FILES,), raw=True),
    "benchmark_filename": Key(optional(list_of(_NAME, distinct=True)), STREAM, _DATA),
    "mask_history": Key(choice("block", "all"), STREAM, _EVALUATION),
    "eval_args": Key(_MAPPING, STREAM, (*_DATA, *_EVALUATION), decides=True),
    "eval_args.split": Key(conditions.SPLIT, STREAM, _DATA),
    "eval_args.group_by": Key(choice("user", "none", None, any_case=True), STREAM, _DATA),
    "eval_args.order": Key(choice("RO", "TO"), STREAM, _DATA),
    "eval_args.mode": Key(conditions.FULL, STREAM, _EVALUATION),
    # data, as RecBole reads, filters and prepares it
    "USER_ID_FIELD": Key(_NAME, STREAM, _DATA),
    "ITEM_ID_FIELD": Key(_NAME, STREAM, _DATA),
    "TIME_FIELD": Key(_NAME_OR_NONE, STREAM, _DATA),
    "RATING_FIELD": Key(_NAME_OR_NONE, STREAM, (*_DATA, *STAGES)),
    "LABEL_FIELD": Key(_NAME, STREAM, (*_DATA, *STAGES)),
    "NEG_PREFIX": Key(_NAME, STREAM, (*_DATA, *STAGES)),
    "field_separator": Key(conditions.FIELD_SEPARATOR, STREAM, _DATA),
    "seq_separator": Key(conditions.SEPARATOR, STREAM, _DATA),
    "load_col": Key(optional(conditions.COLUMNS_WITH_INTER), STREAM, _DATA),
    "unload_col": Key(optional(conditions.COLUMNS), STREAM, _DATA),
    "unused_col": Key(optional(conditions.COLUMNS), STREAM, _DATA),
    "additional_feat_suffix": Key(optional(one_or_list(_NAME)), STREAM, _DATA),
    "rm_dup_inter": Key(optional(choice("first", "last")), STREAM, _DATA),
    "user_inter_num_interval": Key(optional(conditions.INTERVAL), STREAM, _DATA, idle=_UNFILTERED),
    "item_inter_num_interval": Key(optional(conditions.INTERVAL), STREAM, _DATA, idle=_UNFILTERED),
    "filter_inter_by_user_or_item": Key(optional(BOOLEAN), STREAM, _DATA, idle=_UNFILTERED),
    "val_interval": Key(optional(conditions.FILTERS), STREAM, _DATA, raw=True),
    "threshold": Key(
        optional(_MAPPING),
        STREAM,
        idle=(
            Idle(
                "every interaction that is kept counts as positive",
                "keep those that are by val_interval, such as {rating: '[4,inf)'}",
            ),
        ),
        raw=True,
    ),
    "discretization": Key(optional(_MAPPING), STREAM, _DATA, raw=True),
    "numerical_features": Key(conditions.COLUMN_LIST, STREAM, _DATA),
    "preload_weight": Key(optional(conditions.NAMES), STREAM, _DATA),
    "seq_len": Key(optional(_MAPPING), STREAM, _DATA),
    "alias_of_user_id": Key(optional(list_of(_NAME)), STREAM, _DATA),
    "alias_of_item_id": Key(optional(list_of(_NAME)), STREAM, _DATA),
    "normalize_all": Key(optional(BOOLEAN), STREAM, _DATA),
    "normalize_field": Key(optional(list_of(_NAME)), STREAM, _DATA),
    "MAX_ITEM_LIST_LENGTH": Key(None, STREAM, idle=_SEQUENCES),
    "ITEM_LIST_LENGTH_FIELD": Key(_NAME_OR_NONE, STREAM, idle=_SEQUENCES),
    "LIST_SUFFIX": Key(_NAME_OR_NONE, STREAM, idle=_SEQUENCES),
    "POSITION_FIELD": Key(_NAME_OR_NONE, STREAM, idle=_SEQUENCES),
    "HEAD_ENTITY_ID_FIELD": Key(_NAME_OR_NONE, STREAM, idle=_ENTITIES),
    "TAIL_ENTITY_ID_FIELD": Key(_NAME_OR_NONE, STREAM, idle=_ENTITIES),
    "RELATION_ID_FIELD": Key(_NAME_OR_NONE, STREAM, idle=_ENTITIES),
    "ENTITY_ID_FIELD": Key(_NAME_OR_NONE, STREAM, idle=_ENTITIES),
    "kg_reverse_r": Key(None, STREAM, idle=_ENTITIES),
    "entity_kg_num_interval": Key(_NAME_OR_NONE, STREAM, idle=_ENTITIES_BY_NUMBER),
    "relation_kg_num_interval": Key(_NAME_OR_NONE, STREAM, idle=_ENTITIES_BY_NUMBER),
    "alias_of_entity_id": Key(None, STREAM, idle=_ENTITIES),
    "alias_of_relation_id": Key(None, STREAM, idle=_ENTITIES),
    # evaluation
    "eval_part": Key(choice("test", "valid"), MEASURE, _EVALUATION),
    "eval_users": Key(optional(_SIZE), MEASURE, _EVALUATION),
    "metrics": Key(one_or_list(_NAME), MEASURE, _EVALUATION),
    "topk": Key(one_or_list(_SIZE), MEASURE, _EVALUATION),
    "valid_metric": Key(_NAME, MEASURE, (*STAGES, *_EVALUATION)),
    "metric_decimal_place": Key(_DIGITS, MEASURE, (*STAGES, *_EVALUATION)),
    "loss_decimal_place": Key(_DIGITS, MEASURE, STAGES),
    "la_include_base": Key(BOOLEAN, MEASURE, _EVALUATION),
    "ra_include_current": Key(BOOLEAN, MEASURE, _EVALUATION),
    "repeatable": Key(
        BOOLEAN, MEASURE, idle=(Idle("what a user has done is not recommended again", "see mask_history"),)
    ),
    # training
    "epochs": Key(automatic(_SIZE), BASE, STAGES),
    "learning_rate": Key(automatic(_POSITIVE, "by_batch"), BASE, STAGES),
    "weight_decay": Key(automatic(_WEIGHT, "by_size"), BASE, STAGES),
    "train_batch_size": Key(automatic(_SIZE), BASE, STAGES),
    "eval_step": Key(automatic(_SIZE), BASE, STAGES),
    "eval_start": Key(optional(_SIZE), BASE, STAGES),
    "stopping_step": Key(_COUNT, BASE, STAGES),
    "learner": Key(
        choice("adam", "adamw", "sgd", "adagrad", "rmsprop", "lazy_adam", any_case=True), BASE, STAGES
    ),
    "clip_grad_norm": Key(optional(conditions.CLIPPED), BASE, STAGES),
    "clip_grad_norm.max_norm": Key(_POSITIVE, BASE, STAGES),
    "clip_grad_norm.norm_type": Key(_POSITIVE, BASE, STAGES),
    "clip_grad_norm.error_if_nonfinite": Key(BOOLEAN, BASE, STAGES),
    "train_neg_sample_args": Key(optional(_MAPPING), BASE, STAGES),
    "train_neg_sample_args.distribution": Key(choice("uniform", "popularity", "None", None), BASE, STAGES),
    "train_neg_sample_args.sample_num": Key(_SIZE, BASE, STAGES),
    # a larger power of a popularity of millions is infinite
    "train_neg_sample_args.alpha": Key(number(0, 10), BASE, STAGES, idle=(_NOT_BY_POPULARITY,)),
    "train_neg_sample_args.dynamic": Key(BOOLEAN, BASE, STAGES),
    "train_neg_sample_args.candidate_num": Key(_COUNT, BASE, STAGES, idle=(_NOT_DYNAMIC,)),
    "shuffle": Key(BOOLEAN, BASE, STAGES),
    "worker": Key(_NO_WORKER, BASE, STAGES),
    "transform": Key(choice(None), BASE),
    # the stages' own terms and passes are in full precision
    "enable_amp": Key(choice(False), BASE),
    "enable_scaler": Key(
        BOOLEAN, BASE, idle=(Idle("nothing is trained in mixed precision", harmless=(None, False)),)
    ),
    "require_pow": Key(BOOLEAN, BASE, STAGES, idle=(_POWERLESS,)),
    # models of the user's that have the usual keys; config/model_settings.py has those of RecBole's
    "embedding_size": Key(_SIZE, BASE, _OF_STUDENTS, of_models=True),
    "latent_dimension": Key(_SIZE, BASE, _OF_STUDENTS, of_models=True),
    "n_layers": Key(_COUNT, BASE, _OF_STUDENTS, of_models=True),
    "reg_weight": Key(_WEIGHT, BASE, _OF_STUDENTS, of_models=True),
    "ssl_weight": Key(_WEIGHT, BASE, _OF_STUDENTS, of_models=True),
    "dropout_prob": Key(number(0, 1), BASE, _OF_STUDENTS, of_models=True),
    # roles
    "teacher_models": Key(list_of(_NAME), BASE, MEMBER_STAGES, decides=True),
    "teacher_args": Key(optional(_MAPPING), BASE, MEMBER_STAGES, decides=True),
    "base": Key(choice("distilled", "plain"), BASE, _BASE, decides=True),
    "ensemble_exponent": Key(_POSITIVE, BASE, (*_DISTILLING, *_EVALUATION)),
    "ensemble_rank_depth": Key(optional(_SIZE), BASE, (*_DISTILLING, *_EVALUATION)),
    "growth": Key(choice("embeddings", "predictions"), BASE, UPDATES),
    # stage 1, of the base block too
    "distill_loss": Key(None, BASE, _DISTILLING),
    "distill_loss_weights": Key(optional(list_of(_WEIGHT)), BASE, _DISTILLING),
    "distill_temperature": Key(_POSITIVE, BASE, _DISTILLING),
    "distill_rank_decay": Key(_POSITIVE, BASE, _DISTILLING),
    "distill_rank_slope": Key(_POSITIVE, BASE, _DISTILLING),
    "distill_rank_sample": Key(_SIZE, BASE, _DISTILLING),
    "distill_draws": Key(_SIZE, BASE, _DISTILLING),
    "distill_propose_depth": Key(_SIZE, BASE, _DISTILLING),
    "distill_propose_temperature": Key(_POSITIVE, BASE, _DISTILLING),
    "distill_accept_rank": Key(_SIZE, BASE, _DISTILLING),
    "correlation_value_weight": Key(_WEIGHT, BASE, _DISTILLING),
    "correlation_rank_weight": Key(_WEIGHT, BASE, _DISTILLING),
    "correlation_tau": Key(_POSITIVE, BASE, _DISTILLING),
    "correlation_centered": Key(BOOLEAN, BASE, _DISTILLING),
    "teacher_prune_rate": Key(conditions.SHARE_BELOW_ONE, BASE, _DISTILLING),
    "teacher_prune_share": Key(number(0, 1), BASE, _DISTILLING),
    "distill_compare": Key(choice("items", "users"), BASE, _DISTILLING),
    "comparative_scale": Key(_POSITIVE, BASE, _DISTILLING),
    "comparative_items": Key(_SIZE, BASE, _DISTILLING),
    "rce_temperature": Key(_POSITIVE, BASE, _DISTILLING),
    "rce_beta": Key(_WEIGHT, BASE, _DISTILLING),
    "unkd_groups": Key(_SIZE, BASE, _DISTILLING),
    "distill_top_k": Key(_SIZE, BASE, _DISTILLING),
    "distill_lists": Key(choice("unseen", "seen_first"), BASE, _GENERATION),
    "distill_user_weight": Key(_WEIGHT, BASE, _DISTILLING),
    "distill_item_weight": Key(_WEIGHT, BASE, _DISTILLING),
    "n_uninteresting_items": Key(optional(_SIZE), BASE, _DISTILLING),
    "n_uninteresting_users": Key(optional(_SIZE), BASE, _DISTILLING),
    "n_uninteresting_pairs": Key(_SIZE, BASE, _DISTILLING),
    "uninteresting_redraw": Key(_SIZE, BASE, _DISTILLING),
    "distill_score_max": Key(_POSITIVE, BASE, _DISTILLING),
    "distill_layer": Key(choice("ego", "final"), BASE, _GENERATION),
    "distill_absent_users": Key(BOOLEAN, BASE, _GENERATION),
    # ways of distilling, round any loss
    "distill_head": Key(choice("shared", "auxiliary"), BASE, _DISTILLING),
    "distill_head_size": Key(optional(_SIZE), BASE, _DISTILLING, idle=(_NO_HEAD,)),
    "distill_head_tie": Key(_WEIGHT, BASE, _DISTILLING, idle=(_NO_HEAD,)),
    "distill_augmentation": Key(optional(choice("mixup", "edge_dropout")), BASE, _GENERATION + _STUDENT),
    "augmentation_weight": Key(_WEIGHT, BASE, _GENERATION + _STUDENT, idle=(_NOT_AUGMENTED,)),
    "augmentation_beta": Key(_POSITIVE, BASE, _GENERATION + _STUDENT, idle=(_NO_MIXUP,)),
    "distill_pick": Key(_SIZE, BASE, _GENERATION + _STUDENT, idle=(_NO_MIXUP,)),
    "augmentation_drop": Key(number(0, 1), BASE, _GENERATION + _STUDENT, idle=(_NO_DROPOUT,)),
    "distill_weighting": Key(optional(choice("relative_difficulty")), BASE, _GENERATION),
    "difficulty_warmup": Key(number(0, 1), BASE, _GENERATION, idle=(_NOT_WEIGHED,)),
    "difficulty_rank": Key(_SIZE, BASE, _GENERATION, idle=(_NOT_WEIGHED,)),
    "difficulty_floor": Key(number(0, 1), BASE, _GENERATION, idle=(_NOT_WEIGHED,)),
    "distill_gradient_alignment": Key(_WEIGHT, BASE, _GENERATION),
    "alignment_drop": Key(number(0, 1), BASE, _GENERATION, idle=(_NOT_ALIGNED,)),
    "distill_curriculum": Key(optional(choice("hetcomp")), BASE, _BASE + _GENERATION),
    "curriculum_lists": Key(_COUNT, BASE, _BASE + _GENERATION, idle=(_NO_CURRICULUM,)),
    "curriculum_alpha": Key(_WEIGHT, BASE, _GENERATION, idle=(_NO_CURRICULUM,)),
    "curriculum_decay": Key(number(0, 1), BASE, _GENERATION, idle=(_NO_CURRICULUM,)),
    "base_student_args": Key(optional(_MAPPING), BASE, _GENERATION),
    "exclusion_top_k": Key(_COUNT, BASE, _DISTILLING),
    "exclude_student_items": Key(BOOLEAN, STRATEGY, _DISTILLING),
    "student_side_lists": Key(choice("unseen", "all"), STRATEGY, _DISTILLING),
    "exclude_teacher_negatives": Key(BOOLEAN, STRATEGY, _TEACHER),
    "student_start": Key(choice("fresh", "previous"), STRATEGY, _GENERATION),
    # new users and items
    "new_entity_initialization": Key(choice("two_hop", "one_hop", "random"), STRATEGY, UPDATES),
    "n_popular_neighbors": Key(_COUNT, STRATEGY, UPDATES),
    # replay and regularization
    "replay": Key(None, STRATEGY, UPDATES),
    "reservoir_size": Key(_COUNT, STRATEGY, UPDATES),
    "ader_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "ader_adaptive": Key(BOOLEAN, STRATEGY, UPDATES),
    "ader_exemplars": Key(_SIZE, STRATEGY, UPDATES),
    "spmf_draws": Key(optional(_SIZE), STRATEGY, UPDATES),
    "spmf_sharpness": Key(_WEIGHT, STRATEGY, UPDATES),
    "regularizer": Key(None, STRATEGY, UPDATES),
    "lwc_kd_anchors": Key(optional(_SIZE), STRATEGY, UPDATES),
    "lwc_kd_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "lwc_kd_temperature": Key(_POSITIVE, STRATEGY, UPDATES),
    "similarity_degree": Key(_POSITIVE, STRATEGY, UPDATES),
    "piw": Key(BOOLEAN, STRATEGY, UPDATES),
    "piw_clusters": Key(_SIZE, STRATEGY, UPDATES),
    "piw_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "output_kl_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "pair_kl_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "graphsail_local_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "graphsail_global_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "graphsail_self_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "graphsail_temperature": Key(_POSITIVE, STRATEGY, UPDATES),
    "graphsail_clusters": Key(_SIZE, STRATEGY, UPDATES),
    "ewc_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "ewc_decay": Key(number(0, 1), STRATEGY, UPDATES),
    "ewc_sample": Key(optional(_SIZE), STRATEGY, UPDATES),
    "pisa_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    "pisa_temperature": Key(_POSITIVE, STRATEGY, UPDATES),
    "pisa_share": Key(number(0, 0.5), STRATEGY, UPDATES),
    "pisa_clusters": Key(_SIZE, STRATEGY, UPDATES),
    "pisa_item_weight": Key(_WEIGHT, STRATEGY, UPDATES),
    # sml
    "sml_epochs": Key(_COUNT, STRATEGY, _STUDENT),
    "sml_learning_rate": Key(_POSITIVE, STRATEGY, _STUDENT),
    "sml_filters": Key(conditions.TWO_SIZES, STRATEGY, _STUDENT),
    "sml_hidden": Key(_SIZE, STRATEGY, _STUDENT),
    # ccd
    "deployed_student": Key(choice("updated", "generated", "better"), STRATEGY, _GENERATION + _STUDENT),
    "student_updates_per_block": Key(_SIZE, STRATEGY, _STUDENT),
    "proxies": Key(conditions.PROXIES, STRATEGY, UPDATES),
    "stability_ema": Key(per_block(number(0, 1)), STRATEGY, _STUDENT),
    "plasticity_ema": Key(per_block(number(0, 1)), STRATEGY, _STUDENT),
    "student_replay_candidates": Key(per_block(_SIZE), STRATEGY, _STUDENT),
    "student_replay_stability": Key(_COUNTS, STRATEGY, _STUDENT),
    "student_replay_plasticity": Key(_COUNTS, STRATEGY, _STUDENT),
    "student_replay_weight": Key(_WEIGHT, STRATEGY, _STUDENT),
    "student_replay_decay": Key(optional(_POSITIVE), STRATEGY, _STUDENT),
    "student_replay_batch_size": Key(optional(automatic(_SIZE, "joint")), STRATEGY, _STUDENT),
    "student_replay_labels": Key(choice("source", "matched"), STRATEGY, _STUDENT),
    "student_update_distill": Key(_WEIGHT, STRATEGY, _STUDENT),
    "replay_temperature": Key(_WEIGHT, STRATEGY, UPDATES),
    "replay_rank_sample": Key(optional(_SIZE), STRATEGY, UPDATES),
    "replay_redraw": Key(_SIZE, STRATEGY, UPDATES),
    "replay_rank_student": Key(choice("current", "distilled"), STRATEGY, UPDATES),
    "update_distill_teacher": Key(choice("grown", "previous"), STRATEGY, UPDATES),
    "update_distill_users": Key(choice("absent", "all"), STRATEGY, UPDATES),
    "update_distill_layer": Key(choice("ego", "final"), STRATEGY, _STUDENT),
    "teacher_update_distill": Key(_WEIGHT, STRATEGY, _TEACHER),
    "teacher_replay_candidates": Key(per_block(_SIZE), STRATEGY, _TEACHER),
    "teacher_replay_stability": Key(_COUNTS, STRATEGY, _TEACHER),
    "teacher_replay_plasticity": Key(_COUNTS, STRATEGY, _TEACHER),
    "teacher_replay_student": Key(_COUNTS, STRATEGY, _TEACHER, idle=(_ALL_MUTUAL,)),
    "teacher_replay_weight": Key(_WEIGHT, STRATEGY, _TEACHER),
    "teacher_replay_decay": Key(optional(_POSITIVE), STRATEGY, _TEACHER),
    "teacher_replay_batch_size": Key(optional(automatic(_SIZE, "joint")), STRATEGY, _TEACHER),
    "teacher_replay_labels": Key(choice("source", "matched"), STRATEGY, _TEACHER),
    "pseudo_interaction_value": Key(_WEIGHT, STRATEGY, UPDATES),
    "mutual_learning": Key(BOOLEAN, STRATEGY, UPDATES),
    "mutual_weight": Key(_WEIGHT, STRATEGY, UPDATES, idle=(_NOT_MUTUAL,)),
    "mutual_draws": Key(_SIZE, STRATEGY, UPDATES, idle=(_NOT_MUTUAL,)),
    "mutual_temperature": Key(_POSITIVE, STRATEGY, UPDATES, idle=(_NOT_MUTUAL,)),
    "mutual_members": Key(choice("all", "first"), STRATEGY, UPDATES, idle=(_NOT_MUTUAL,)),
    "mutual_bridge": Key(BOOLEAN, STRATEGY, _GENERATION),
    "mutual_bridge_temperature": Key(_POSITIVE, STRATEGY, _GENERATION, idle=(_NO_BRIDGE,)),
    # what RecBole computes, or the place of a run decides: it is in a Config, and nobody can set it
    "valid_metric_bigger": Key(BOOLEAN, DERIVED, idle=(Idle("it follows from valid_metric"),)),
    "checkpoint_dir": Key(
        _NAME, DERIVED, idle=(Idle("checkpoints lie in the run directory", "set run_dir"),)
    ),
    "valid_neg_sample_args": Key(conditions.WHOLE_RANKING, DERIVED, _EVALUATION),
    "test_neg_sample_args": Key(conditions.WHOLE_RANKING, DERIVED, _EVALUATION),
    **dict.fromkeys(
        ("MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank"),
        Key(None, DERIVED),
    ),
}


def _of_stage(stage: str) -> dict[str, Key]:
    """The keys of training of a stage: those without prefix, or None."""
    scope, found = STRATEGY if stage in UPDATES else BASE, {}
    for key, row in _KEYS.items():
        if key.partition(".")[0] in STAGE_KEYS:
            check = row.check if "." in key or row.check is None else optional(row.check)
            found[f"{stage}_{key}"] = replace(row, check=check, scope=scope, stages=(stage,))
    return found


for _stage in STAGES:
    _KEYS |= _of_stage(_stage)
for _key in (*STAGE_KEYS, "distill_layer"):
    _KEYS[f"base_student_args.{_key}"] = replace(_KEYS[_key], stages=_GENERATION)

SCHEMA: Mapping[str, Key] = MappingProxyType(_KEYS)
"""The rows by key, and by dotted keys where those of a dictionary are fixed."""


def check_of(key: str) -> Check | None:
    """What the value of a key may be; None where no row tells, or it is checked where it is looked up."""
    row = SCHEMA.get(key)
    return None if row is None or row.looked_up else row.check


@functools.cache
def parts_of(key: str) -> Mapping[str, Check]:
    """What the entries of a dictionary may be whose keys are fixed; none of any other."""
    rows = {path.partition(".")[2]: row for path, row in SCHEMA.items() if path.startswith(f"{key}.")}
    return MappingProxyType({part: row.check for part, row in rows.items() if row.check is not None})


def keys_of(*scopes: Scope) -> tuple[str, ...]:
    """The keys of some scopes, in the order of their rows; dotted ones are not among them."""
    return tuple(key for key, row in SCHEMA.items() if row.scope in scopes and "." not in key)


def known_keys() -> frozenset[str]:
    """The keys that any run knows, whatever its models are; a user may set each, or is told why not."""
    return frozenset(
        key
        for key, row in SCHEMA.items()
        if "." not in key and not row.of_models and (row.scope is not DERIVED or row.check or row.idle)
    )
