"""The configuration of a run, and its views: a stage's, a member's and a block's settings."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ccd.config.catalogue import class_defaults, class_keys, model_class
from recbole_ccd.config.loading import LoadedConfig
from recbole_ccd.config.recorded import DERIVED_KEYS
from recbole_ccd.config.schema import MEMBER_STAGES, POWER_MODELS, STAGE_KEYS, STAGES, UPDATES
from recbole_ccd.config.strict import member_keys
from recbole_ccd.config.unread import without_readers
from recbole_ccd.config.values import metric_names
from recbole_ccd.config.yaml_reader import merged, writable
from recbole_ccd.utils.errors import ConfigError

__all__ = ["DERIVED_KEYS", "MEMBER_STAGES", "STAGES", "STAGE_KEYS", "UPDATES", "CCDConfig"]

# whose models read no more than is known
_KNOWN_PACKAGES = ("recbole", "recbole_ccd")
_CHECKPOINTS, _NEGATIVES = "checkpoint_dir", "train_neg_sample_args"


class CCDConfig(LoadedConfig):
    """Settings of a run, of one of its stages, or of one of the teacher's members.

    Later ones win: RecBole's defaults, our ``properties`` (overall, strategy, model, dataset, preset),
    config files in order, ``config_dict``, ``argv``. Dictionaries are merged key by key. Read a setting
    with ``config["key"]``.

    Args:
        model: the student's name, or its class; None takes it from the settings, or LightGCN.
            ``"CCD"``, the name of the method, stands for LightGCN too.
        dataset: name of the data set; None takes it from the settings, or ml-100k.
        config_file_list: YAML files; the ``config.yaml`` of a run repeats it in another folder.
        config_dict: settings; it is copied.
        argv: arguments ``--key=value``, ``--dictionary.key=value`` and ``--config_files="a.yaml b.yaml"``.
            None means that there are none; ``sys.argv`` is never read. ``-m MODEL``, ``-d DATASET`` and
            ``--key value`` are understood too.

    Raises:
        ConfigError: If a source cannot be read, or keys or values in them are unknown or impossible; there is
            a line for each.
    """

    _stage: str | None = None
    # what STAGE_KEYS were before for_stage replaced them
    _unstaged: dict[str, Any] | None = None

    def __setitem__(self, key: str, value: Any) -> None:
        """Sets a key, which is looked at as it is at the beginning.

        What must fit other settings is looked at when the configuration is used (:meth:`check`), as several
        may be assigned one after the other.

        Args:
            key: the key.
            value: its value; it is copied.

        Raises:
            ConfigError: If the key is unknown, the value impossible, or other settings follow from it.
        """
        if key not in DERIVED_KEYS:
            value = self.check_assigned(key, value)
            # members are built from the user's settings, and a later assignment is one of them
            self.external_config_dict[key] = copy.deepcopy(value)
        if key == _NEGATIVES and value is not None:
            value = merged(self.internal_config_dict[key] or {}, value)
        super().__setitem__(key, value)
        if key == _NEGATIVES:
            # what None stands for, as at the beginning
            self._set_train_neg_sample_args()

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuses ``config.key = value``, which RecBole takes without a word and never reads.

        Args:
            name: the attribute.
            value: its value.

        Raises:
            ConfigError: If it is a key.
        """
        if name in self.__dict__.get("final_config_dict", ()):
            raise ConfigError(f"config.{name} cannot be set; write config['{name}'] = ...")
        super().__setattr__(name, value)

    def check(self) -> CCDConfig:
        """Looks at what must fit each other, after assignments.

        Returns:
            Itself.

        Raises:
            ConfigError: If something does not.
        """
        self.check_fit(self.final_config_dict)
        return self

    def warnings(self) -> list[str]:
        """Lines about keys that change nothing and are let pass; none beside code of the user's own."""
        if self["plugins"] or self.model_class.__module__.partition(".")[0] not in _KNOWN_PACKAGES:
            return []
        return without_readers(
            self.final_config_dict, self.external_config_dict, self.internal_config_dict, self._source
        )

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

    @property
    def stage(self) -> str | None:
        """The stage whose settings these are; None for those of the whole run."""
        return self._stage

    def for_base_student(self) -> CCDConfig:
        """The settings of the student of the base block: ``base_student_args`` over those of stage 1.

        Returns:
            A copy that shares nothing with this one.
        """
        own = copy.deepcopy(self)
        for key, value in (self["base_student_args"] or {}).items():
            prefix = "student_generation_" if key in STAGE_KEYS else ""
            # not by assignment, as in for_stage
            own.final_config_dict[prefix + key] = copy.deepcopy(value)
        return own

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
        students = class_keys(self.model_class) | {"model", "dataset"}
        if model not in POWER_MODELS:
            students |= {"require_pow"}
        its_class = model_class(model, "teacher_models", self["plugins"])
        run = {key: value for key, value in self.external_config_dict.items() if key not in students}
        shared = {key: value for key, value in self["teacher_args"].items() if key not in members}
        own = merged(shared, self["teacher_args"].get(model) or {})
        own = {key: value for key, value in own.items() if key in member_keys(its_class)}
        # the model's defaults once more, as a strategy or a data set may have set them for the student
        settings = merged(run, class_defaults(its_class), own)
        member = type(self)(model, self.dataset, config_dict=settings)
        member[_CHECKPOINTS] = self[_CHECKPOINTS]
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
    def from_dict(
        cls,
        values: Mapping[str, Any],
        argv: Sequence[str] | None = None,
        config_dict: Mapping[str, Any] | None = None,
    ) -> CCDConfig:
        """The configuration whose :meth:`to_dict` gave ``values``; what is derived is derived anew.

        Args:
            values: the settings.
            argv: arguments that go over them.
            config_dict: settings that lie between the two.

        Raises:
            ConfigError: As the constructor does.
        """
        kept = {key: value for key, value in values.items() if key not in DERIVED_KEYS}
        config = cls(config_dict=merged(kept, config_dict or {}), argv=argv)
        if _CHECKPOINTS in values:
            config[_CHECKPOINTS] = values[_CHECKPOINTS]
        return config


def given_config(config: object) -> CCDConfig:
    """The configuration that a function has been given.

    Args:
        config: what it has been given.

    Raises:
        ConfigError: If it is something else, such as RecBole's Config or a dictionary.
    """
    if isinstance(config, CCDConfig):
        return config
    kind = f"{type(config).__module__}.{type(config).__qualname__}".removeprefix("builtins.")
    raise ConfigError(
        f"config is a {kind}; give a recbole_ccd.CCDConfig, such as CCDConfig(config_dict={{'epochs': 10}})"
    )
