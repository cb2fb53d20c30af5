"""Divergences of outputs, for models that the terms on embeddings do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from torch import Tensor

from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.model.growth import inference_rows
from recbole_ccd.model.history import padded, reading
from recbole_ccd.model.scoring import has_factors, row_logits, score_pairs
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.regularization.base import Regularizer, drawn
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@register("output_kl")
class OutputKLRegularizer(Regularizer):
    r"""For auto-encoders: KL between the frozen and the live output distribution on earlier interactions.

    .. math:: L = \frac{1}{B} \sum_u \mathrm{KL}\bigl(\mathrm{softmax}_{i \in N(u)}(f_{ui}) \,\Vert\,
              \mathrm{softmax}_{i \in N(u)}(s_{ui})\bigr)

    over the items N(u) that a user had before the block, with frozen scores f and live ones s. The frozen
    model reads what it predicted from before the block, which are these items; the live one reads the row
    that it learns in the block, replayed pairs included. Users who have nothing to read, before the block or
    now, are left out: they all have the one output of an empty row.

    Source: the continual learning of auto-encoders in CCD, Lee, Kang, Kweon, Yu, "Continual Collaborative
    Distillation for Recommender System", KDD 2024 (arXiv 2405.19046).

    .. code-block:: yaml

        teacher_models: [LightGCN, MultiVAE]
        regularizer: [lwc_kd, output_kl]   # each member is given the one that fits it
        output_kl_weight: 1.0
    """

    def bind(self, context: PluginContext) -> None:
        """Finds what the frozen model predicted from."""
        super().bind(context)
        self._earlier = inference_rows(self.block.before, self.config)
        self._rows = padded(self._earlier, self.live.device)
        self._has_any = torch.from_numpy(np.diff(self._earlier.indptr) > 0).to(self.live.device)

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether the divergence has a weight."""
        return bool(config["output_kl_weight"])

    @staticmethod
    def fits(model: type[GeneralRecommender]) -> bool:
        """Whether models of a class are auto-encoders."""
        return issubclass(model, AutoEncoderMixin)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence of the batch's earlier users."""
        users = self.earlier_users(interaction)
        users = users[self._has_any[users]]
        users = users[(self.live.history_item_value[users] > 0).any(dim=1)]
        if not len(users):
            return self._zero()
        with torch.no_grad(), reading(self.frozen, self._rows):
            frozen = row_logits(self.frozen, users)
        live = row_logits(self.live, users)[:, : self.frozen.n_items]
        rows, items = self.positives(self._earlier, users)
        others = torch.ones_like(frozen, dtype=torch.bool)
        others[rows, items] = False
        frozen, live = (scores.masked_fill(others, -torch.inf) for scores in (frozen, live))
        return (self.config["output_kl_weight"] * output_kl(frozen, live),)


@register("pair_kl")
class PairKLRegularizer(Regularizer):
    r"""For models that score pairs only: Bernoulli KL on the users' earlier interactions.

    .. math:: L = \frac{1}{P} \sum_{(u,i)} \Bigl[ y_{ui} \log\frac{y_{ui}}{\sigma(s_{ui})} +
              (1 - y_{ui}) \log\frac{1 - y_{ui}}{1 - \sigma(s_{ui})} \Bigr], \qquad y_{ui} = \sigma(f_{ui})

    with frozen scores f and live ones s of the P interactions of the previous block that a batch's users
    have. Of more of them than ``train_batch_size`` so many are drawn.

    Source: ours, the counterpart of :class:`OutputKLRegularizer` (Lee, Kang, Kweon, Yu, "Continual
    Collaborative Distillation for Recommender System", KDD 2024) for NeuMF, DMF and their like.

    .. code-block:: yaml

        model: NeuMF
        strategy: fine_tune
        regularizer: pair_kl
        pair_kl_weight: 0.1
    """

    def bind(self, context: PluginContext) -> None:
        """Seeds the draw of pairs."""
        super().bind(context)
        self._generator = torch_generator(self.seed, "pairs")

    def state_dict(self) -> dict[str, Any]:
        """Where the draw of pairs is."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._generator.set_state(state["generator"])

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether the divergence has a weight."""
        return bool(config["pair_kl_weight"])

    @staticmethod
    def fits(model: type[GeneralRecommender]) -> bool:
        """Whether models of a class are scored by pairs alone."""
        return not issubclass(model, AutoEncoderMixin) and not has_factors(model)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence on the earlier interactions of the batch's users."""
        users = self.earlier_users(interaction)
        rows, items = self.positives(self.earlier, users)
        if not len(items):
            return self._zero()
        users, items = drawn(self.config["train_batch_size"], self._generator, users[rows], items)
        with torch.no_grad():
            frozen = score_pairs(self.frozen, users, items)
        live = score_pairs(self.live, users, items)
        return (self.config["pair_kl_weight"] * pairwise_kl(frozen, live),)
