"""Settings of runs that are compared: what they share, and what is special about each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]

# each run has its own
_OWN_PLACE = frozenset({"run_dir", "checkpoint_dir"})
_ABSENT = object()


def shared_settings(
    settings: Mapping[str, Sequence[Settings]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Divides the settings of several runs.

    Args:
        settings: those of each label's runs, one per seed; at least one.

    Returns:
        What is the same in all runs, and by label what is the same in its runs but not in all. The seed,
        where there are several, is in neither.
    """
    of_labels = {label: _common(runs) for label, runs in settings.items()}
    shared = _common([run for runs in settings.values() for run in runs])
    # what differs within one label says nothing about labels
    within = {key for label, runs in settings.items() for key in runs[0] if key not in of_labels[label]}
    own = {
        label: {key: value for key, value in found.items() if key not in shared and key not in within}
        for label, found in of_labels.items()
    }
    return shared, own


def _common(runs: Sequence[Settings]) -> dict[str, Any]:
    first, *others = runs
    return {
        key: value
        for key, value in first.items()
        if key not in _OWN_PLACE and all(one.get(key, _ABSENT) == value for one in others)
    }
