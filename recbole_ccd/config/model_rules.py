"""Which settings of RecBole's general recommenders must fit each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_ccd.utils.errors import ConfigError, one_line


@dataclass(frozen=True)
class _Rule:
    """What settings of a model must be to one another.

    Attributes:
        models: the models concerned.
        keys: the keys, the one to change first.
        hold: whether their values, in that order, can be used together.
        problem: what is wrong otherwise.
        remedy: what to do then.
    """

    models: tuple[str, ...]
    keys: tuple[str, ...]
    hold: Callable[..., bool]
    problem: str
    remedy: str


_DIFFUSION = ("DiffRec", "LDiffRec")
# without noise there is nothing to divide by, with less than this too little
_LEAST_NOISE = 1e-12


def _is_schedule(most: float, least: float, scale: float, schedule: str) -> bool:
    if scale == 0 or schedule in ("cosine", "binomial"):
        return True
    rises = least < most or (schedule == "linear" and least == most)
    return rises and scale * least >= _LEAST_NOISE and scale * most < 1


_RULES = (
    _Rule(
        ("DGCF",),
        ("n_factors", "embedding_size"),
        lambda factors, size: size % factors == 0,
        "each factor has an equal part of the embedding",
        "give n_factors a divisor of embedding_size",
    ),
    _Rule(
        ("ConvNCF",),
        ("cnn_kernels", "cnn_channels"),
        lambda kernels, channels: len(kernels) + 1 == len(channels),
        "each kernel leads from one entry of cnn_channels to the next",
        "give one kernel less than channels",
    ),
    _Rule(
        ("ConvNCF",),
        ("cnn_strides", "cnn_kernels"),
        lambda strides, kernels: len(strides) == len(kernels),
        "each kernel has a stride",
        "give as many strides as kernels",
    ),
    _Rule(
        ("DMF",),
        ("item_hidden_size_list", "user_hidden_size_list"),
        lambda items, users: items[-1] == users[-1],
        "users and items end as vectors of one size",
        "give both lists the same last entry",
    ),
    _Rule(
        ("NeuMF",),
        ("mlp_hidden_size", "mlp_train"),
        lambda sizes, trained: bool(sizes) or not trained,
        "the layers are what is trained",
        "give mlp_hidden_size an entry, or set mlp_train to False",
    ),
    _Rule(
        ("NNCF",),
        ("neigh_num", "conv_kernel_size", "pool_kernel_size"),
        lambda number, kernel, pool: number - kernel + 1 >= pool,
        "the neighbours are fewer than the kernels reach over",
        "raise neigh_num or lower the others",
    ),
    _Rule(
        _DIFFUSION,
        ("sampling_steps", "steps"),
        lambda sampled, steps: sampled <= steps,
        "no more steps can be gone back than there are",
        "lower sampling_steps or raise steps",
    ),
    _Rule(
        _DIFFUSION,
        ("steps", "noise_scale"),
        lambda steps, scale: steps > 1 or scale == 0,
        "noise is added in two steps at least",
        "raise steps, or set noise_scale to 0",
    ),
    _Rule(
        _DIFFUSION,
        ("sampling_steps", "noise_scale"),
        lambda sampled, scale: sampled == 0 or scale != 0,
        "there is no noise to begin with",
        "set sampling_steps to 0",
    ),
    _Rule(
        ("LDiffRec",),
        ("mean_type", "noise_scale"),
        lambda kind, scale: kind == "x0" or scale != 0,
        "there is no noise to predict",
        "set mean_type to x0",
    ),
    _Rule(
        _DIFFUSION,
        ("noise_max", "noise_min", "noise_scale", "noise_schedule"),
        _is_schedule,
        "the noise does not rise from at least 1e-12 to less than 1",
        "give noise_min < noise_max < 1 / noise_scale",
    ),
)


def check_together(
    model: str,
    values: Mapping[str, Any],
    source_of: Callable[[str], str],
    path_of: Callable[[str], str] = str,
) -> None:
    """Checks that the settings of a model fit each other.

    Args:
        model: the model's name, as of :func:`~recbole_ccd.config.model_settings.model_checks`.
        values: its settings, which pass their checks; a rule for keys that are not there is left out.
        source_of: where a key, by its path, was set.
        path_of: the path of a key, as the user writes it.

    Raises:
        ConfigError: If two settings cannot be used together.
    """
    for rule in _RULES:
        if model not in rule.models or not values.keys() >= set(rule.keys):
            continue
        given = [values[key] for key in rule.keys]
        if not rule.hold(*given):
            paths = map(path_of, rule.keys)
            shown = ", and ".join(
                f"{path} is {one_line(repr(value))} ({source_of(path)})"
                for path, value in zip(paths, given, strict=True)
            )
            raise ConfigError(f"{shown}, but for {model} {rule.problem}; {rule.remedy}")
