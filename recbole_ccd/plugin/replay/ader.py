"""ADER: the model before the block is distilled on past interactions, the more the less is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ccd.loss.output_kl import output_kl, pairwise_kl
from recbole_ccd.loss.replay import adaptive_weight
from recbole_ccd.model.growth import inference_rows
from recbole_ccd.model.history import padded, reading
from recbole_ccd.model.scoring import has_factors, is_autoencoder, row_logits, score_pairs
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.replay.base import ReplayScheme
from recbole_ccd.plugin.replay.reservoir import ReservoirReplay
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import torch_generator


@register("ader")
class ADERReplay(ReplayScheme):
    r"""Adaptively distilled exemplar replay: of a reservoir's interactions the old model's answers are kept.

    .. math:: L = \lambda_k \frac{1}{|B|} \sum_{(u, i) \in B} \mathrm{KL}\bigl(\mathrm{softmax}(f_u)
              \,\Vert\, \mathrm{softmax}(s_u)\bigr), \qquad
              \lambda_k = \lambda \sqrt{\frac{|I_{k-1}|}{|I_k|} \cdot \frac{|E|}{|D_k|}}

    beside the loss of each batch, with scores f of the model before the block and live ones s of the items
    :math:`I_{k-1}` that were known before it, over ``ader_exemplars`` interactions B drawn out of the
    reservoir E. The weight grows with the share of the known items that are old and with the size of the
    reservoir as against that of the block :math:`D_k`; with ``ader_adaptive: False`` it is :math:`\lambda`.

    Models that score pairs alone keep their scores of the interactions drawn (Bernoulli KL). Auto-encoders
    read what they read before the block and what they learn in it, and users without either are left out.

    Exemplars are the rows of the uniform :class:`~recbole_ccd.plugin.replay.reservoir.ReservoirReplay`, and
    are not chosen by herding, which needs them to be carried from block to block.

    Source: Mi, Lin, Faltings, "ADER: Adaptively Distilled Exemplar Replay Towards Continual Learning for
    Session-based Recommendation", RecSys 2020.

    .. code-block:: yaml

        strategy: fine_tune
        replay: ader
        reservoir_size: 20000
        ader_weight: 1.0         # lambda
        ader_adaptive: True
        ader_exemplars: 64
    """

    def bind(self, context: PluginContext) -> None:
        """Freezes the model before the block, and takes the reservoir.

        Args:
            context: a stage with a previous model.

        Raises:
            ValueError: the stage has none.
        """
        super().bind(context)
        self._frozen = context.frozen_previous(self.name)
        pairs = self.block.pairs_of(ReservoirReplay.rows(self.block, self.config))
        self._pairs = tuple(torch.from_numpy(ids).to(self.model.device) for ids in pairs)
        self._generator = torch_generator(self.seed, "exemplars")
        self._weight = self._weight_of(len(pairs[0]))
        if is_autoencoder(self._frozen):
            earlier = inference_rows(self.block.before, self.config)
            self._rows = padded(earlier, self.model.device)
            self._has_any = torch.from_numpy(np.diff(earlier.indptr) > 0).to(self.model.device)

    def _weight_of(self, n_exemplars: int) -> float:
        weight: float = self.config["ader_weight"]
        if not self.config["ader_adaptive"]:
            return weight if n_exemplars else 0.0
        sizes = (self.block.n_old_items - 1, self.block.n_items - 1, n_exemplars, len(self.block.train))
        return weight * adaptive_weight(*sizes)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted divergence on some exemplars, whatever the batch is."""
        if not self._weight:
            return ()
        n = len(self._pairs[0])
        drawn = torch.randint(n, (self.config["ader_exemplars"],), generator=self._generator)
        users, items = (ids[drawn.to(ids.device)] for ids in self._pairs)
        return (self._weight * self._divergence(users, items),)

    def _divergence(self, users: Tensor, items: Tensor) -> Tensor:
        if not (is_autoencoder(self.model) or has_factors(type(self.model))):
            with torch.no_grad():
                frozen = score_pairs(self._frozen, users, items)
            return pairwise_kl(frozen, score_pairs(self.model, users, items))
        if is_autoencoder(self.model):
            users = users[self._has_any[users]]
            users = users[(self.model.history_item_value[users] > 0).any(dim=1)]
            with torch.no_grad(), reading(self._frozen, self._rows):
                frozen = row_logits(self._frozen, users)
        else:
            with torch.no_grad():
                frozen = row_logits(self._frozen, users)
        live = row_logits(self.model, users)[:, 1 : self._frozen.n_items]
        return output_kl(frozen[:, 1:], live)

    def state_dict(self) -> dict[str, Any]:
        """Where the draw of exemplars is."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._generator.set_state(state["generator"])
