"""The ``config.yaml`` of a run as a source of settings: what was derived is derived anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ccd.config.overruled import without_overruled
from recbole_ccd.config.schema import Scope, keys_of

DERIVED_KEYS = frozenset(keys_of(Scope.DERIVED))
"""What RecBole computes, or the place of a run decides; it is in a Config but nobody can set it."""
# nobody writes them by hand
_MARKS = frozenset({"MODEL_TYPE", "eval_type", "single_spec", "local_rank"})
# another run is in another place
_OF_THE_RUN = DERIVED_KEYS | {"run_dir"}


def is_recorded(values: Mapping[str, Any]) -> bool:
    """Whether a file's settings are all those of a run, as its directory has them in ``config.yaml``."""
    return values.keys() >= _MARKS


def repeatable(values: Mapping[str, Any], later: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a run as those of another one.

    Args:
        values: what the ``config.yaml`` of a run holds.
        later: the sources that lie over it, to which what the run had for single stages gives way as defaults
            do.
    """
    kept = {key: value for key, value in values.items() if key not in _OF_THE_RUN}
    return without_overruled(kept, {key for source in later for key in source})
