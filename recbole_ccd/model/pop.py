"""Popularity, as RecBole has it, with every interaction counted."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import Pop as RecBolePop
from torch import Tensor

from recbole_ccd.registry import register


@register("Pop")
class Pop(RecBolePop):
    """RecBole's Pop, whose score is an item's number of interactions, divided by the largest one.

    RecBole 1.2.1 adds 1 per batch in which an item occurs, however often it occurs there.
    """

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Counts a batch of positives; there is nothing to descend on.

        Args:
            interaction: rows with their items, without sampled negatives.

        Returns:
            Zero, shape ``(1,)``.
        """
        items = interaction[self.ITEM_ID]
        self.item_cnt += torch.bincount(items, minlength=self.n_items).unsqueeze(1)
        self.max_cnt = self.item_cnt.max(dim=0).values
        return 0 * self.fake_loss
