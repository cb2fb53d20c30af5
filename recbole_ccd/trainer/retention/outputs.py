"""Divergences of outputs, for models that the terms on embeddings do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.model.history import reading
from recbole_ccd.model.scoring import score_pairs, score_rows
from recbole_ccd.trainer.retention.base import Retention

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class OutputRetention(Retention):
    """For auto-encoders: KL between the frozen and the live output distribution on earlier interactions."""

    @staticmethod
    def is_wanted(config: CCDConfig) -> bool:
        """Whether the divergence has a weight."""
        return bool(config["output_kl_weight"])

    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence of the batch's earlier users."""
        users = self.earlier_users(interaction)
        if not len(users):
            return self._nothing()
        with torch.no_grad(), reading(self.frozen, self.earlier):
            frozen = score_rows(self.frozen, users)
        with reading(self.live, self.earlier):
            live = score_rows(self.live, users)[:, : self.frozen.n_items]
        return (self.config["output_kl_weight"] * output_kl(frozen[:, 1:], live[:, 1:]),)


class PairRetention(Retention):
    """For models that score pairs only: Bernoulli KL on the users' earlier interactions."""

    @staticmethod
    def is_wanted(config: CCDConfig) -> bool:
        """Whether the divergence has a weight."""
        return bool(config["output_kl_weight"])

    def losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence on the earlier interactions of the batch's users."""
        users = self.earlier_users(interaction)
        rows, items = self.positives(self.earlier, users)
        if not len(items):
            return self._nothing()
        with torch.no_grad():
            frozen = score_pairs(self.frozen, users[rows], items)
        live = score_pairs(self.live, users[rows], items)
        return (self.config["output_kl_weight"] * pairwise_kl(frozen, live),)
