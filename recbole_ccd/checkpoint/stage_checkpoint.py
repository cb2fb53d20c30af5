"""What is read back of a run's finished work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class StageCheckpoint:
    """What was left of a finished stage.

    Attributes:
        record: what result.json has of it.
        state: the model's weights.
    """

    record: Any
    state: dict[str, Tensor]


@dataclass
class BlockCheckpoint:
    """What was left of a finished block.

    Attributes:
        block: its index.
        states: weights by the model's name.
        result: the document of the result so far.
    """

    block: int
    states: dict[str, dict[str, Tensor]]
    result: Any
