"""A stage that learns a block and holds on to the past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor

from recbole_ccd.seeding import derive_seed
from recbole_ccd.trainer.base import StageTrainer
from recbole_ccd.trainer.retention import Retention, make_retention


class RetainingTrainer(StageTrainer):
    """A stage whose batches add terms that hold the model near what it was.

    Where all weights of the terms are zero there are none, and the stage trains as a plain one does, bit
    for bit.
    """

    _retention: Retention | None = None

    def retain(self, frozen: GeneralRecommender, kind: type[Retention] | None = None) -> RetainingTrainer:
        """Sets what must not be forgotten; :meth:`at_block` comes first.

        Args:
            frozen: the model before the block.
            kind: the terms; default those that fit the model, see
                :func:`~recbole_ccd.trainer.retention.make_retention`.
        """
        seed = derive_seed(self.seed, "retain")
        self._retention = make_retention(self.config, self.block, frozen, self.model, seed, kind)
        parameters = self._retention.parameters() if self._retention else []
        if parameters:
            self.optimizer.add_param_group({"params": parameters})
        return self

    def state(self) -> dict[str, Any]:
        """With what the terms learn and draw."""
        return {**super().state(), "retention": self._retention.state() if self._retention else None}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """With what the terms learn and draw."""
        super().load_state(state)
        if self._retention is not None:
            self._retention.load_state(state["retention"])

    def extra_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The retention terms."""
        return self._retention.losses(interaction) if self._retention else ()
