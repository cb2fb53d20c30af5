"""What a run must be resumed with: the data, the settings that matter, and the versions of what computes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recbole_ccd
from recbole_ccd.config.schema import Scope, keys_of
from recbole_ccd.utils.errors import RunError, one_line

FREE_KEYS = frozenset(keys_of(Scope.RUN, Scope.DERIVED))
"""The keys in which a run that is resumed may differ."""

_ABSENT = object()


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run must be resumed with, out of what ``CCDConfig.to_dict`` gave."""
    return {key: value for key, value in config.items() if key not in FREE_KEYS}


def check_settings(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses other settings than a run was begun with.

    Args:
        folder: the run directory, for the message.
        recorded: what :func:`settings_of` gave then.
        now: what it gives now.

    Raises:
        RunError: If a key has another value; the message names the first one and both values.
    """
    for key in sorted(recorded.keys() | now.keys()):
        before, after = recorded.get(key, _ABSENT), now.get(key, _ABSENT)
        if before != after:
            raise RunError(
                f"{key} is {_shown(after)}, and the run in {folder} was begun with {_shown(before)}; leave "
                "it as it was, or start a new run"
            )


def _shown(value: Any) -> str:
    return "not set" if value is _ABSENT else one_line(repr(value))


def versions() -> dict[str, str]:
    """Versions of this package and of those whose arithmetic the results are."""
    return {
        "recbole_ccd": recbole_ccd.__version__,
        "recbole": _version("recbole"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def check_data(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses other data than a run was begun with.

    Args:
        folder: the run directory, for the message.
        recorded: the stream's :attr:`~recbole_ccd.data.stream.BlockStream.fingerprint` then.
        now: what it is now.

    Raises:
        RunError: If they differ; the message says in what, as far as sizes tell.
    """
    if recorded == now:
        return
    before, after = (list(data.get("blocks", ())) for data in (recorded, now))
    what = "the same sizes but other interactions, times, tokens or features"
    if len(before) != len(after):
        what = f"{len(after)} blocks instead of {len(before)}"
    for k, (old, new) in enumerate(zip(before, after, strict=False)):
        key = next((name for name in new if new[name] != old.get(name)), None)
        if key is not None:
            what = f"{new[key]} {key} in block {k} instead of {old.get(key)}"
            break
    raise RunError(
        f"the data are not those that the run in {folder} was begun with: {what}; point data_path at those, "
        "or start a new run"
    )
