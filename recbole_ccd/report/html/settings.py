"""Settings of a run as tables: those that are not the defaults first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from recbole_ccd.config import DERIVED_KEYS, CCDConfig
from recbole_ccd.errors import CCDError
from recbole_ccd.report.html.elements import folded, paragraph, table

# what chooses files of defaults, and what the device is found by, which is better not looked for again
_CHOOSING = ("model", "dataset", "strategy", "preset", "ablation", "gpu_id", "use_gpu")
# where things lie differs from run to run and says nothing
_PLACES = frozenset({"run_dir", "checkpoint_dir", "data_path"})
_ABSENT = object()


def settings_tables(config: Mapping[str, Any]) -> str:
    """The settings of a run.

    Args:
        config: as ``CCDConfig.to_dict`` gave them.

    Returns:
        A table of those that differ from the defaults of the same model, data set, strategy, preset and
        ablation, and a folded one of all.
    """
    defaults = _defaults(config)
    parts = []
    if defaults is not None:
        changed = {
            key: value
            for key, value in config.items()
            if value != defaults.get(key, _ABSENT) and key not in _PLACES | DERIVED_KEYS
        }
        parts.append(_changed_table(changed, defaults))
    everything = [[key, _shown(config[key])] for key in sorted(config)]
    parts.append(folded(f"All {len(config)} settings", table(everything, ["key", "value"], kind="settings")))
    return "\n".join(parts)


def differences(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Keys in which several runs differ, one column per run.

    Args:
        values: settings by the run's name.

    Returns:
        A table of those that at least two of them have; the others, the strategies' own, are folded.
    """
    held = Counter(key for own in values.values() for key in own)

    def rows(keys: Iterable[str]) -> list[list[Any]]:
        return [[key, *(_shown(own[key]) if key in own else None for own in values.values())] for key in keys]

    several, single = (
        rows(sorted(key for key, count in held.items() if (count > 1) == wanted)) for wanted in (True, False)
    )
    header = ["key", *values]
    alike = table(several, header, "Settings in which strategies differ", "settings") if several else ""
    return alike + folded(
        "Settings that only one of them has", table(single, header, kind="settings") if single else ""
    )


def _changed_table(changed: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    if not changed:
        return paragraph("All settings are the defaults.")
    rows = [
        [key, _shown(value), _shown(defaults[key]) if key in defaults else None]
        for key, value in sorted(changed.items())
    ]
    return table(rows, ["key", "value", "default"], "Settings that differ from the defaults", "settings")


def _defaults(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the settings would be if nobody had set any; None where this version cannot tell."""
    chosen = {key: config[key] for key in _CHOOSING if config.get(key) is not None}
    try:
        return CCDConfig(config_dict=chosen).to_dict()
    except (CCDError, KeyError, TypeError, ValueError):
        # an old run, or one of a model of the user's own
        return None


def _shown(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    )
