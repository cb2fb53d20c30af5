"""The configuration of a run: RecBole's Config with our defaults, strict about keys and values."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_ccd.config.catalogue import (
    DEFAULT_DATASET,
    DEFAULT_MODEL,
    METHOD_NAME,
    all_model_keys,
    choose,
    model_class,
    model_defaults,
    model_keys,
    properties,
    properties_dir,
    recbole_properties_dir,
    strategy_keys,
    yaml_keys,
)
from recbole_ccd.config.checks import STAGE_KEYS, STAGES
from recbole_ccd.config.sources import (
    ConfigLoader,
    merged,
    read_layers,
    writable,
)
from recbole_ccd.config.strict import (
    check_ablation,
    check_keys,
    check_settings,
    check_strategy_args,
    member_keys,
    metric_names,
    teacher_settings,
)
from recbole_ccd.errors import ConfigError

__all__ = ["DERIVED_KEYS", "STAGES", "STAGE_KEYS", "CCDConfig"]

# What RecBole computes; it is in a Config but nobody can set it.
DERIVED_KEYS = frozenset(
    {
        "MODEL_TYPE",
        "MODEL_INPUT_TYPE",
        "eval_type",
        "device",
        "single_spec",
        "local_rank",
        "valid_metric_bigger",
        "valid_neg_sample_args",
        "test_neg_sample_args",
    }
)
# Keys without a default that RecBole's programs accept.
_EXTRA_KEYS = frozenset(
    {"model", "dataset", "nproc", "ip", "port", "world_size", "group_offset"}
    | {"valid_neg_sample_args", "test_neg_sample_args"}
)


class CCDConfig(Config):
    """Settings of a run, of one of its stages, or of one of the teacher's members.

    Later ones win: RecBole's defaults, our ``properties`` (overall, strategy, model, dataset, preset),
    config files in order, ``config_dict``, ``argv``. Dictionaries are merged key by key. Read a setting
    with ``config["key"]``.

    Args:
        model: the student's name, or its class; None takes it from the settings, or LightGCN.
            ``"CCD"``, the name of the method, stands for LightGCN too.
        dataset: name of the data set; None takes it from the settings, or ml-100k.
        config_file_list: YAML files.
        config_dict: settings; it is copied.
        argv: arguments ``--key=value``, ``--dictionary.key=value`` and ``--config_files="a.yaml b.yaml"``.
            None means that there are none; ``sys.argv`` is never read.

    Raises:
        ConfigError: If a source cannot be read, or a key or a value in it is unknown or impossible.
    """

    def __init__(
        self,
        model: str | type[AbstractRecommender] | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        argv: Sequence[str] | None = None,
    ) -> None:
        self._layers = read_layers(config_file_list, config_dict, argv)
        # what strategy_args has for the chosen strategy
        self._own: dict[str, Any] = {}
        self._stage: str | None = None
        # what STAGE_KEYS were before for_stage replaced them
        self._unstaged: dict[str, Any] = {}
        super().__init__(model, dataset, config_file_list, config_dict)

    # Sources: hooks of RecBole's constructor

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        # RecBole extends these lists in place, and they are its module globals
        self.parameters = {category: list(keys) for category, keys in self.parameters.items()}
        listed = {key for keys in self.parameters.values() for key in keys}
        ours = yaml_keys(properties_dir() / "overall.yaml") | strategy_keys()
        self.parameters["Continual"] = sorted(ours - listed)

    def _build_yaml_loader(self) -> type[yaml.SafeLoader]:
        return ConfigLoader

    def _load_config_files(self, file_list: Sequence[str] | None) -> dict[str, Any]:
        return merged(*(layer.values for layer in self._layers[:-2]))

    def _load_variable_config_dict(self, config_dict: Mapping[str, Any] | None) -> dict[str, Any]:
        return self._layers[-2].values

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._layers[-1].values

    def _merge_external_config_dict(self) -> None:
        self.external_config_dict = merged(*(layer.values for layer in self._layers))

    def _get_model_and_dataset(
        self, model: str | type[AbstractRecommender] | None, dataset: str | None
    ) -> tuple[str, type[AbstractRecommender], str]:
        source = self._source("model") if model is None else "model argument"
        model = self.external_config_dict.get("model", DEFAULT_MODEL) if model is None else model
        found = model_class(DEFAULT_MODEL if model == METHOD_NAME else model, source)
        source = self._source("dataset") if dataset is None else "dataset argument"
        dataset = self.external_config_dict.get("dataset", DEFAULT_DATASET) if dataset is None else dataset
        if not isinstance(dataset, str) or not dataset.strip():
            raise ConfigError(f"dataset is {dataset!r} ({source}), which is no name; give the name")
        return super()._get_model_and_dataset(found, dataset)

    def _update_internal_config_dict(self, file: str | os.PathLike[str]) -> Mapping[str, Any]:
        values = properties(Path(file))
        self._lay_over(values)
        return values

    def _load_internal_config_dict(
        self, model: str, model_class: type[AbstractRecommender], dataset: str
    ) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        ours = properties_dir()
        self._update_internal_config_dict(ours / "overall.yaml")
        strategy, preset, ablation = map(self._chosen_file, ("strategy", "preset", "ablation"))
        # a strategy or a data set may set a key that only some models have
        foreign = all_model_keys() - model_keys(model)
        for file in filter(None, ("learning", strategy, f"model/{model}", f"dataset/{dataset}", preset)):
            values = properties(ours / f"{file}.yaml")
            kept = {key: value for key, value in values.items() if key not in foreign}
            self._lay_over(kept)
        check_strategy_args(self._layers)
        given = (self.internal_config_dict["strategy_args"], self.external_config_dict.get("strategy_args"))
        self._own = merged(*(args or {} for args in given)).get(Path(strategy).name) or {}
        self._lay_over(self._own)
        if ablation:
            taken = self._update_internal_config_dict(ours / f"{ablation}.yaml")
            check_ablation(Path(ablation).name, taken, self.external_config_dict, self._source)

    def _lay_over(self, values: Mapping[str, Any]) -> None:
        self.internal_config_dict = merged(self.internal_config_dict, values)

    def _chosen_file(self, key: str) -> str | None:
        name = self.external_config_dict.get(key, self.internal_config_dict[key])
        return None if name is None else f"{key}/{choose(key, name, self._source(key))}"

    # Checks: the settings are complete here, and RecBole has not yet rewritten any

    def _get_final_config_dict(self) -> dict[str, Any]:
        teachers = self.external_config_dict.get(
            "teacher_models", self.internal_config_dict.get("teacher_models")
        )
        self._check_known(teachers)
        defaults = copy.deepcopy(self.internal_config_dict)
        for key in self.external_config_dict.keys() & set(STAGE_KEYS):
            defaults.update({f"{stage}_{key}": None for stage in STAGES})
        settings = merged(defaults, self.external_config_dict)
        nullable = yaml_keys(recbole_properties_dir() / "dataset" / "sample.yaml") | {"dataloaders_save_path"}
        check_settings(settings, self.internal_config_dict, nullable, self._source)
        if settings.get("teacher_models"):
            self._check_teacher(settings)
        return settings

    def _check_known(self, teachers: Any) -> None:
        named = teachers if isinstance(teachers, list) else []
        known = set(self.internal_config_dict) | strategy_keys() | _EXTRA_KEYS
        known |= {key for keys in self.parameters.values() for key in keys}
        # the first is read by nothing in RecBole, the second is derived from the model
        known -= {"config_file", "MODEL_TYPE"}
        for layer in self._layers:
            check_keys(layer, known, self.model, [name for name in named if isinstance(name, str)])

    def _check_teacher(self, settings: dict[str, Any]) -> None:
        for name in settings["teacher_models"]:
            model_class(name, f"teacher_models, {self._source('teacher_models')}")
        # settings of ours that fit no member are left out; those of the user are an error
        settings["teacher_args"] = teacher_settings(
            settings["teacher_models"], settings.get("teacher_args") or {}, self._layers, self._source
        )

    def _source(self, path: str) -> str:
        """Which source decided a key, or dotted keys; for a dictionary the last one that touched it."""
        default = "strategy_args" if path in self._own else "default"
        return next((layer.source for layer in reversed(self._layers) if layer.holds(path)), default)

    # What RecBole derives

    def _set_default_parameters(self) -> None:
        given = self.external_config_dict.get("data_path")
        super()._set_default_parameters()
        if self.dataset == DEFAULT_DATASET and given and Path(given, self.dataset).is_dir():
            self.final_config_dict["data_path"] = os.path.join(given, self.dataset)
        self.final_config_dict["data_path"] = os.path.normpath(self.final_config_dict["data_path"])

    def _init_device(self) -> None:
        super()._init_device()
        # RecBole reads gpu_id only
        if not self.final_config_dict["use_gpu"]:
            self.final_config_dict["device"] = torch.device("cpu")

    # Views

    def __setitem__(self, key: str, value: Any) -> None:
        # members are built from the user's settings, and a later assignment is one of them
        if key in self and key not in DERIVED_KEYS | {"model", "dataset", "data_path"}:
            self.external_config_dict[key] = copy.deepcopy(value)
        super().__setitem__(key, value)

    def for_stage(self, stage: str) -> CCDConfig:
        """The settings of one stage: those with the stage's prefix that are not None replace the plain ones.

        Args:
            stage: one of :data:`STAGES`.

        Returns:
            A copy that shares nothing with this one.

        Raises:
            ConfigError: If there is no such stage.
        """
        if stage not in STAGES:
            raise ConfigError(f"unknown stage {stage!r}; choose one of: {', '.join(STAGES)}")
        staged = copy.deepcopy(self)
        staged._stage = stage
        staged._unstaged = self._unstaged or {key: copy.deepcopy(self[key]) for key in STAGE_KEYS}
        for key in STAGE_KEYS:
            own = staged[f"{stage}_{key}"]
            # not by assignment, which would make it a setting of all stages
            staged.final_config_dict[key] = copy.deepcopy(staged._unstaged[key] if own is None else own)
        return staged

    def for_member(self, index: int) -> CCDConfig:
        """The settings of one of the teacher's members.

        The student's model settings do not reach it: a member has its model's defaults under the run's
        other settings and ``teacher_args``.

        Args:
            index: position in ``teacher_models``, from 0.

        Raises:
            ConfigError: If there is no such member.
        """
        members = self["teacher_models"] or []
        if not 0 <= index < len(members):
            raise ConfigError(f"there is no teacher member {index} among {members}; extend teacher_models")
        model = members[index]
        students = model_keys(self.model) | {"model", "dataset"}
        run = {key: value for key, value in self.external_config_dict.items() if key not in students}
        shared = {key: value for key, value in self["teacher_args"].items() if key not in members}
        own = merged(shared, self["teacher_args"].get(model) or {})
        own = {key: value for key, value in own.items() if key in member_keys(model)}
        # the model's defaults once more, as a strategy or a data set may have set them for the student
        settings = merged(run, model_defaults(model), own)
        member = type(self)(model, self.dataset, config_dict=settings)
        return member.for_stage(self._stage) if self._stage else member

    def per_block(self, key: str, block: int) -> Any:
        """The value of ``key`` in a block, where one value serves all blocks or a list has one for each.

        Args:
            key: the key.
            block: number of the block, from 1; those beyond the list's end take its last entry.

        Raises:
            ValueError: If ``block`` is less than 1.
        """
        if block < 1:
            raise ValueError(f"block {block}: settings per block begin with block 1")
        value = self[key]
        return value[min(block, len(value)) - 1] if isinstance(value, list) else value

    def metric_names(self) -> list[str]:
        """The metrics by the names of RecBole's evaluator, such as ``recall@20``."""
        return metric_names(self["metrics"], self["topk"])

    @property
    def primary_metric(self) -> str:
        """The metric of early stopping, by the name of RecBole's evaluator."""
        return self["valid_metric"].lower()

    def to_dict(self) -> dict[str, Any]:
        """All settings in values that JSON and YAML can hold; :meth:`from_dict` reads them back."""
        values = {key: writable(value) for key, value in self.final_config_dict.items()}
        # as a user gives it: RecBole has added the name of the data set
        values["data_path"] = os.path.dirname(self["data_path"])
        if self["train_neg_sample_args"]["distribution"] == "none":
            values["train_neg_sample_args"] = None
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], argv: Sequence[str] | None = None) -> CCDConfig:
        """The configuration whose :meth:`to_dict` gave ``values``; what is derived is derived anew.

        Args:
            values: the settings.
            argv: arguments that go over them.

        Raises:
            ConfigError: As the constructor does.
        """
        return cls(config_dict={key: v for key, v in values.items() if key not in DERIVED_KEYS}, argv=argv)
