"""An augmentation: one more term, on what is made of the users, by ``distill_augmentation``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import Tensor

from recbole_ccd.plugin.distillation.weighted import DistillationTask, WeightedLosses


class Augmentation(ABC):
    r"""The same losses once more, on augmented users: :math:`L = L_u + w \, L(\mathrm{augmented}(u))`.

    The base loss never sees what is augmented. The items' side has no augmented term.

    Source: Wang et al., "Knowledge Distillation Thrives on Data Augmentation", 2020 (arXiv 2012.02909), and
    "What Makes a 'Good' Data Augmentation in Knowledge Distillation", NeurIPS 2022.
    """

    def __init__(self, task: DistillationTask, losses: WeightedLosses) -> None:
        """Says what is augmented.

        Args:
            task: what is distilled without it.
            losses: the losses of that, which share their parameters.
        """
        config = deepcopy(task.config)
        config["distill_item_weight"] = 0.0
        self._task, self._like = replace(task, config=config), losses

    @abstractmethod
    def before_epoch(self, epoch: int) -> None:
        """Draws what is due; called once before each epoch."""

    @abstractmethod
    def user_loss(self, users: Tensor) -> Tensor:
        """Weighted sum of the losses of what is made of distinct users, shape ``(B,)``."""

    def state_dict(self) -> dict[str, Any]:
        """What lasts from one epoch to the next beside what each epoch is seeded with."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Goes on where an augmentation was that gave :meth:`state_dict`."""
