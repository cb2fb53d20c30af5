"""Nested plain values with tensors in them, as named tensors and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_STRUCTURE = "structure"


def serialize(value: Any) -> dict[str, Tensor]:
    """A nested value as a flat dictionary of tensors, of which one holds the structure as JSON.

    Args:
        value: dictionaries with plain keys, lists, tuples, numbers, text, truth values, None and tensors.

    Returns:
        The tensors; :func:`deserialize` makes of them what was given.

    Raises:
        TypeError: If there is anything else in it.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encoded(value, tensors))
    tensors[_STRUCTURE] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    return tensors


def deserialize(tensors: Mapping[str, Tensor]) -> Any:
    """What :func:`serialize` was given.

    Raises:
        ValueError: If the tensors are not what it returned.
    """
    try:
        structure = json.loads(bytes(tensors[_STRUCTURE].tolist()))
        return _decoded(structure, tensors)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a packed value: {error!r}") from error


def _encoded(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[_encoded(key, tensors), _encoded(part, tensors)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(part, tensors) for part in value]}
    if isinstance(value, list):
        return [_encoded(part, tensors) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be packed")


def _decoded(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(structure, list):
        return [_decoded(part, tensors) for part in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_decoded(key, tensors): _decoded(part, tensors) for key, part in content}
    if kind == "tuple":
        return tuple(_decoded(part, tensors) for part in content)
    raise ValueError(f"unknown kind {kind!r}")
