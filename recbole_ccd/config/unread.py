"""Keys that change no result of a run and may serve others: let pass, with a line in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_ccd.config.catalogue import CONTEXT_MODELS, properties_dir, yaml_keys
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
_CHOICES = ("replay", "regularizer", "strategy")


@dataclass(frozen=True)
class _Part:
    """A part of the method that a run may not have, and its keys.

    Attributes:
        keys: how its keys begin.
        chosen_by: the key that names what a run has.
        readers: the values of that key, or what may be among them, of which one reads these keys.
    """

    keys: tuple[str, ...]
    chosen_by: str
    readers: tuple[str, ...]


_PARTS = (
    _Part(("reservoir_",), "replay", ("reservoir", "ader", "spmf")),
    _Part(("ader_",), "replay", ("ader",)),
    _Part(("spmf_",), "replay", ("spmf",)),
    _Part(("lwc_kd_", "piw", "similarity_degree"), "regularizer", ("lwc_kd",)),
    _Part(("graphsail_",), "regularizer", ("graphsail",)),
    _Part(("ewc_",), "regularizer", ("ewc",)),
    _Part(("pisa_",), "regularizer", ("pisa",)),
    _Part(("output_kl_",), "regularizer", ("output_kl",)),
    _Part(("pair_kl_",), "regularizer", ("pair_kl",)),
    _Part(("sml_",), "strategy", ("sml",)),
)
_OF_PAIRS = _Part(("student_replay_", "teacher_replay_", "replay_"), "replay", ("proxy_guided",))


def without_readers(
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    source_of: Callable[[str], str],
) -> list[str]:
    """Keys that a user has set and that change no result of this run.

    They are of models that are not RecBole's, or of another strategy, replay scheme or regularizer. The file
    that sets them, or the command line of a comparison, may well serve others too, so that nothing is
    refused.

    Args:
        settings: all settings; those of a run with code of the user's own are not looked at.
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
        reason = None if as_ever else OF_OTHER_MODELS.get(key) or _part_that_is_not_there(key, settings)
        if reason is None or key in read or (key == "RATING_FIELD" and rated):
            continue
        start = f"{key} is {one_line(repr(value))} ({source_of(key)})"
        lines.append(f"{start}, which changes no result, as {reason}; it can be left out")
    return lines


def _part_that_is_not_there(key: str, settings: Mapping[str, Any]) -> str | None:
    """Why a key of a strategy, a replay scheme or a regularizer is not read; None if it is."""
    of_ccd = yaml_keys(properties_dir() / "strategy" / "ccd.yaml") - set(_CHOICES)
    parts = [*_PARTS, _Part(tuple(of_ccd), "strategy", ("ccd",))]
    # models that learn from each other have pairs to replay without a scheme
    parts += [] if settings.get("mutual_learning") else [_OF_PAIRS]
    for part in parts:
        if key.startswith(part.keys) and part.chosen_by in settings:
            chosen = settings[part.chosen_by]
            if not {*(chosen if isinstance(chosen, list) else [chosen])} & set(part.readers):
                readers = " or ".join(part.readers)
                return f"only {readers} reads it and {part.chosen_by} is {one_line(repr(chosen))}"
    return None
