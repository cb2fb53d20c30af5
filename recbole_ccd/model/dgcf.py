"""DGCF, as RecBole has it, for blocks of a few batches too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole.data.dataset import Dataset
from recbole.model.general_recommender import DGCF as RecBoleDGCF

from recbole_ccd.registry import register

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@register("DGCF")
class DGCF(RecBoleDGCF):
    """RecBole's DGCF, which compares the factors of a few users and as many items in every batch.

    RecBole 1.2.1 draws the larger of both numbers divided by the number of batches. Where there are more
    users than items, or the other way round, and few batches, that is more than there are of the others.
    """

    cor_batch_size: int

    def __init__(self, config: CCDConfig, dataset: Dataset) -> None:
        """Builds the model.

        Args:
            config: the model's configuration.
            dataset: what it is built on.
        """
        super().__init__(config, dataset)
        self.cor_batch_size = min(self.cor_batch_size, self.n_users, self.n_items)
