"""How settings are found: RecBole's Config over more sources, strict about keys and values."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_ccd.compat import NumpyLeftAlone
from recbole_ccd.config.catalogue import (
    ALWAYS_TAUGHT,
    DEFAULT_DATASET,
    DEFAULT_MODEL,
    METHOD_NAME,
    all_model_keys,
    choose,
    comparable_keys,
    documented,
    general_keys,
    is_context,
    model_class,
    model_keys,
    properties,
    properties_dir,
    recbole_model_keys,
    recbole_properties_dir,
    strategy_keys,
    yaml_keys,
)
from recbole_ccd.config.overruled import without_overruled
from recbole_ccd.config.problems import Problems, SoundSettings
from recbole_ccd.config.schema import SCHEMA, known_keys
from recbole_ccd.config.sources import Layer, read_layers
from recbole_ccd.config.strict import (
    check_ablated,
    check_ablation,
    check_keys,
    check_strategy_args,
    teacher_settings,
)
from recbole_ccd.config.values import check_each, check_effects, check_plugin_keys, check_together
from recbole_ccd.config.yaml_reader import ConfigLoader, merged, plain_keys
from recbole_ccd.registry import (
    KEY,
    PLUGIN_KINDS,
    check_modules,
    is_ours,
    own_settings,
    registered,
    user_keys,
)
from recbole_ccd.utils.errors import ConfigError, one_line
from recbole_ccd.utils.guard import guarded

_ASSIGNED = "assignment"
# what RecBole makes lists of
_LISTED = ("metrics", "topk")
# the folder in which RecBole ships DEFAULT_DATASET
_SHIPPED = "dataset_example"


class LoadedConfig(NumpyLeftAlone):
    """Settings from all sources, put together by the hooks of RecBole's constructor and checked.

    See :class:`~recbole_ccd.config.CCDConfig`, which adds what runs ask of them, for the arguments.
    """

    # RecBole's, which has no annotations
    parameters: dict[str, list[str]]
    internal_config_dict: dict[str, Any]

    def __init__(
        self,
        model: str | type[AbstractRecommender] | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Layer] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        argv: Sequence[str] | None = None,
    ) -> None:
        # what strategy_args has for the chosen strategy
        self._own: dict[str, Any] = {}
        self._problems = Problems()
        with guarded("a setting"):
            self._layers = read_layers(config_file_list, config_dict, argv)
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
        self._find_modules()
        # what cannot be chosen is told with all the rest, which is looked at with the default in its place
        found = model_class(DEFAULT_MODEL, "default")
        with self._problems.noted("model"):
            found = model_class(DEFAULT_MODEL if model == METHOD_NAME else model, source, self._plugins)
        source = self._source("dataset") if dataset is None else "dataset argument"
        dataset = self.external_config_dict.get("dataset", DEFAULT_DATASET) if dataset is None else dataset
        with self._problems.noted("dataset"):
            _check_name(dataset, source)
        dataset = DEFAULT_DATASET if "dataset" in self._problems.wrong else dataset
        name, found, dataset = super()._get_model_and_dataset(found, dataset)
        return vars(found).get("registered_as", name), found, dataset

    def _update_internal_config_dict(self, file: str | os.PathLike[str]) -> Mapping[str, Any]:
        values = properties(Path(file))
        self._lay_over(values)
        return values

    def _load_internal_config_dict(
        self, model: str, model_class: type[AbstractRecommender], dataset: str
    ) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        ours, presets = properties_dir(), recbole_properties_dir() / "dataset"
        self._update_internal_config_dict(ours / "overall.yaml")
        # RecBole has laid what it knows of the data set under ours
        self._update_internal_config_dict(presets / f"{dataset}.yaml")
        for kind in PLUGIN_KINDS:
            for plugin in registered(kind, self._plugins).values():
                self._lay_over(own_settings(plugin))
        strategy = self._strategy_file()
        preset, ablation = map(self._chosen_file, ("preset", "ablation"))
        known_as = documented(model_class)
        if known_as != model:
            # a class of the user's, which derives from one of RecBole's
            self._update_internal_config_dict(recbole_properties_dir() / "model" / f"{known_as}.yaml")
        # a strategy or a data set may set a key that only some models have
        foreign = all_model_keys() - model_keys(known_as)
        for file in filter(None, ("learning", strategy, f"model/{known_as}", f"dataset/{dataset}", preset)):
            values = self._properties_of(file)
            kept = {key: value for key, value in values.items() if key not in foreign}
            self._lay_over(kept)
        self._lay_over(own_settings(model_class))
        if is_context(model_class):
            # no teacher can be distilled into it
            self._lay_over({"base": "plain"})
        with self._problems.noted("strategy_args"):
            check_strategy_args(self._layers, self._plugins)
            given = (
                self.internal_config_dict["strategy_args"],
                self.external_config_dict.get("strategy_args"),
            )
            self._own = merged(*(args or {} for args in given)).get(Path(strategy).name) or {}
        self._lay_over(self._own)
        if ablation:
            with self._problems.noted():
                if "strategy" not in self._problems.wrong:
                    check_ablated(Path(strategy).name, Path(ablation).name, self._source("ablation"))
            taken = self._update_internal_config_dict(ours / f"{ablation}.yaml")
            with self._problems.noted():
                check_ablation(Path(ablation).name, taken, self.external_config_dict, self._source)

    def _lay_over(self, values: Mapping[str, Any]) -> None:
        self.internal_config_dict = merged(self.internal_config_dict, values)

    def _strategy_file(self) -> str:
        key, known = "strategy", registered("strategy", self._plugins)
        default = self.internal_config_dict[key]
        with self._problems.noted(key):
            return (
                f"{key}/{choose(key, self.external_config_dict.get(key, default), self._source(key), known)}"
            )
        return f"{key}/{default}"

    def _chosen_file(self, key: str) -> str | None:
        name = self.external_config_dict.get(key, self.internal_config_dict[key])
        with self._problems.noted(key):
            return None if name is None else f"{key}/{choose(key, name, self._source(key))}"
        return None

    def _properties_of(self, file: str) -> Mapping[str, Any]:
        """What a file of ours holds; of a strategy also what its class has, and those it derives from."""
        kind, _, name = file.partition("/")
        if kind != "strategy":
            return properties(properties_dir() / f"{file}.yaml")
        lineage = reversed(registered(kind, self._plugins)[name].__mro__)
        known = [found for found in lineage if "registered_as" in vars(found)]
        files = {found: properties_dir() / kind / f"{vars(found)['registered_as']}.yaml" for found in known}
        ours = {found: properties(file) if is_ours(found) else {} for found, file in files.items()}
        return merged(*(merged(ours[found], own_settings(found)) for found in known))

    def _find_modules(self) -> None:
        default = properties(properties_dir() / "overall.yaml")[KEY]
        self._plugins = self.external_config_dict.get(KEY, default)
        ours = general_keys() | all_model_keys() | strategy_keys()
        check_modules(self._plugins, self._source(KEY), ours, ours - comparable_keys())

    # Checks: the settings are complete here, and RecBole has not yet rewritten any

    def _get_final_config_dict(self) -> dict[str, Any]:
        teachers = self.external_config_dict.get(
            "teacher_models", self.internal_config_dict.get("teacher_models")
        )
        problems = self._problems
        with problems.noted():
            self._check_known(teachers)
        defaults = without_overruled(self.internal_config_dict, self.external_config_dict)
        settings = merged(defaults, self.external_config_dict)
        names, known_as = self._what_is_there()
        known_as = "" if "model" in problems.wrong else known_as
        misnamed = set(problems.wrong)
        with problems.noted():
            check_each(settings, self.internal_config_dict, self._source, names, known_as, misnamed)
        with problems.noted():
            self.check_fit(settings, problems.wrong)
        sound = SoundSettings(settings, problems.wrong)
        with problems.noted():
            strategy = registered("strategy", self._plugins)[sound["strategy"]]
            check_plugin_keys(sound, strategy, names["replay scheme"], self._source)
        with problems.noted():
            if sound.get("teacher_models"):
                settings["teacher_args"] = self._checked_teacher(sound)
        problems.tell()
        if settings["strategy"] in ALWAYS_TAUGHT:
            # what is recorded is what is done, also where one file serves other strategies too
            settings["base"] = "distilled"
        return settings

    def _what_is_there(self) -> tuple[dict[str, dict[str, type[Any]]], str]:
        """Names that may be chosen, by kind, and the name whose keys the student's model has."""
        names = {kind: registered(kind, self._plugins) for kind in PLUGIN_KINDS}
        return names, documented(self.model_class)

    def check_fit(self, settings: Mapping[str, Any], wrong: Collection[str] = ()) -> None:
        """Looks at what must fit each other.

        Args:
            settings: all settings.
            wrong: keys whose values cannot be used by themselves, which are not looked at.

        Raises:
            ConfigError: If something does not, or keys of the user's have no effect; a line for each.
        """
        problems, name = Problems(), documented(self.model_class)
        with problems.noted():
            check_together(SoundSettings(settings, wrong), self._source, name)
        given = {key: value for key, value in self.external_config_dict.items() if key not in wrong}
        sound = SoundSettings({**settings, "model": name}, wrong)
        with problems.noted():
            check_effects(sound, given, self.internal_config_dict, self._source)
        problems.tell()

    def check_assigned(self, key: str, value: Any) -> Any:
        """Looks at a setting that is assigned after the beginning.

        Args:
            key: the key.
            value: its value.

        Returns:
            The value in plain objects.

        Raises:
            ConfigError: If the key is unknown, the value impossible, or other settings follow from it.
        """
        layer = Layer(_ASSIGNED, plain_keys({key: value}, _ASSIGNED))
        if key in SCHEMA and SCHEMA[key].decides:
            raise ConfigError(
                f"{key} cannot be assigned, as other settings follow from it; give it to "
                f"CCDConfig(config_dict={{'{key}': ...}})"
            )
        self._check_layers([layer], self.final_config_dict.get("teacher_models"))
        check_each(
            layer.values,
            self.internal_config_dict,
            lambda _: _ASSIGNED,
            *self._what_is_there(),
        )
        self._layers.append(layer)
        one = key in _LISTED and not isinstance(layer.values[key], list)
        return [layer.values[key]] if one else layer.values[key]

    def _check_known(self, teachers: Any) -> None:
        self._check_layers(self._layers, teachers)

    def _check_layers(self, layers: Sequence[Layer], teachers: Any) -> None:
        named = teachers if isinstance(teachers, list) else []
        known = set(self.internal_config_dict) | known_keys() | user_keys(self._plugins)
        known |= {key for keys in self.parameters.values() for key in keys}
        # the first is read by nothing in RecBole, the second is derived from the model
        known -= {"config_file", "MODEL_TYPE"}
        if "model" in self._problems.wrong:
            # which keys it has cannot be told
            layers = [_without(recbole_model_keys() - known, layer) for layer in layers]
        problems = Problems()
        for layer in layers:
            with problems.noted():
                check_keys(layer, known, self.model, [name for name in named if isinstance(name, str)])
        problems.tell()

    def _checked_teacher(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the teacher's members."""
        source = f"teacher_models, {self._source('teacher_models')}"
        members = {name: model_class(name, source, self._plugins) for name in settings["teacher_models"]}
        # settings of ours that fit no member are left out; those of the user are an error
        return teacher_settings(members, settings.get("teacher_args") or {}, self._layers, self._source)

    def _source(self, path: str) -> str:
        """Which source decided a key, or dotted keys; for a dictionary the last one that touched it."""
        default = "strategy_args" if path in self._own else "default"
        return next((layer.source for layer in reversed(self._layers) if layer.holds(path)), default)

    # What RecBole derives

    def _set_default_parameters(self) -> None:
        given = self.external_config_dict.get("data_path")
        super()._set_default_parameters()
        # RecBole reads its own copy, wherever that is by now, whatever is given
        if self.dataset == DEFAULT_DATASET and given and Path(given).name != _SHIPPED:
            self.final_config_dict["data_path"] = os.path.join(given, self.dataset)
        self.final_config_dict["data_path"] = os.path.normpath(self.final_config_dict["data_path"])

    def _init_device(self) -> None:
        super()._init_device()
        # RecBole reads gpu_id only
        if not self.final_config_dict["use_gpu"]:
            self.final_config_dict["device"] = torch.device("cpu")


def _without(keys: Collection[str], layer: Layer) -> Layer:
    """A layer without some keys."""
    return Layer(layer.source, {key: value for key, value in layer.values.items() if key not in keys})


def _check_name(dataset: object, source: str) -> None:
    """Refuses what cannot be the name of a data set."""
    if not isinstance(dataset, str) or not dataset.strip():
        raise ConfigError(f"dataset is {dataset!r} ({source}), which is no name; give the name")
    # a file of this name is read among the property files
    if Path(dataset).name != dataset or "\\" in dataset:
        raise ConfigError(
            f"dataset is {one_line(repr(dataset))} ({source}), which is a path; give the name, and the "
            "folder that holds the data set's in data_path"
        )
