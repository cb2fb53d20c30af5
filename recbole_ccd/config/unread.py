"""Keys that prepare columns which no general recommender reads: let pass, with a line in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_ccd.config.catalogue import CONTEXT_MODELS
from recbole_ccd.utils.errors import one_line

_FEATURES = "no model here reads columns of numbers"
OF_OTHER_MODELS: dict[str, str] = {
    "numerical_features": _FEATURES,
    "discretization": _FEATURES,
    "normalize_field": _FEATURES,
    "normalize_all": _FEATURES,
    "preload_weight": "no model here reads vectors of the data set's",
    "additional_feat_suffix": "no model here reads further files of features",
    "seq_len": "no model here reads columns of sequences",
    "RATING_FIELD": "no model here but DMF, with inter_matrix_type: rating, reads ratings",
}
"""Keys that prepare what models of the user's own, or few of RecBole's, read: to set one is warned of."""
_RATED = "rating"


def without_readers(
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    source_of: Callable[[str], str],
) -> list[str]:
    """Keys that a user has set and that change no result of models of RecBole's.

    The file that sets them may well serve other models too, so that nothing is refused.

    Args:
        settings: all settings; those of a run with models of the user's own are not looked at.
        given: those of the user.
        defaults: what they would be otherwise.
        source_of: where a key was set.

    Returns:
        A line for each, for the log.
    """
    members = settings.get("teacher_args") or {}
    parts = [settings, members, *(args for args in members.values() if isinstance(args, Mapping))]
    rated = any(part.get("inter_matrix_type") == _RATED for part in parts)
    # of sequences the context-aware models read as many tokens as are loaded; what else is here they refuse
    read = ("seq_len",) if settings.get("model") in CONTEXT_MODELS else ()
    lines = []
    for key, value in given.items():
        as_ever = value in (None, []) or value == defaults.get(key)
        if key not in OF_OTHER_MODELS or key in read or as_ever or (key == "RATING_FIELD" and rated):
            continue
        start = f"{key} is {one_line(repr(value))} ({source_of(key)})"
        lines.append(f"{start}, which changes no result, as {OF_OTHER_MODELS[key]}; it can be left out")
    return lines
