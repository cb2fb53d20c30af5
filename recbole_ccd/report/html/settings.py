"""Settings of a run as tables: those that are not the defaults first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from recbole_ccd.config import DERIVED_KEYS, CCDConfig
from recbole_ccd.report.html.page import Table
from recbole_ccd.utils.errors import CCDError

# what chooses files of defaults, and what the device is found by, which is better not looked for again
_CHOOSING = ("model", "dataset", "strategy", "preset", "ablation", "gpu_id", "use_gpu")
# where things lie differs from run to run and says nothing
_PLACES = frozenset({"run_dir", "checkpoint_dir", "data_path"})
_ABSENT = object()


def all_settings(config: Mapping[str, Any]) -> Table:
    """The settings of a run, as ``CCDConfig.to_dict`` gave them."""
    return Table([[key, _shown(config[key])] for key in sorted(config)], ["key", "value"])


def changed_settings(config: Mapping[str, Any]) -> Table | None:
    """Those that differ from the defaults of the same model, data set, strategy, preset and ablation.

    Args:
        config: as ``CCDConfig.to_dict`` gave them.

    Returns:
        A table, which may have no rows; None where this version cannot tell the defaults.
    """
    defaults = _defaults(config)
    if defaults is None:
        return None
    rows = [
        [key, _shown(value), _shown(defaults[key]) if key in defaults else None]
        for key, value in sorted(config.items())
        if value != defaults.get(key, _ABSENT) and key not in _PLACES | DERIVED_KEYS
    ]
    return Table(rows, ["key", "value", "default"], "Settings that differ from the defaults")


def differences(values: Mapping[str, Mapping[str, Any]]) -> tuple[Table, Table]:
    """Keys in which several runs differ, one column per run.

    Args:
        values: settings by the run's name.

    Returns:
        Those that at least two of them have, and the others, the strategies' own.
    """
    held = Counter(key for own in values.values() for key in own)

    def table(keys: Iterable[str], caption: str = "") -> Table:
        rows = [
            [key, *(_shown(own[key]) if key in own else None for own in values.values())]
            for key in sorted(keys)
        ]
        return Table(rows, ["key", *values], caption)

    several = [key for key, count in held.items() if count > 1]
    return table(several, "Settings in which strategies differ"), table(held.keys() - set(several))


def _defaults(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the settings would be if nobody had set any; None where this version cannot tell."""
    chosen = {key: config[key] for key in _CHOOSING if config.get(key) is not None}
    try:
        return CCDConfig(config_dict=chosen).to_dict()
    except (CCDError, KeyError, TypeError, ValueError):
        # an old run, or one of a model of the user's own
        return None


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
