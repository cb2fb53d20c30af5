"""Elastic weight consolidation: a parameter is held the more, the more it has mattered for the past."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import logsigmoid

from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.data.sparse import binary_matrix
from recbole_ccd.loss.ewc import anchored_penalty, squared_gradients
from recbole_ccd.model.history import padded, reading
from recbole_ccd.model.scoring import is_autoencoder, row_logits, score_pairs
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.regularization.base import Regularizer, drawn
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# interactions whose gradients are taken in one backward pass: the more, the coarser the estimate of what
# matters for many of them
_AT_A_TIME = 256


@register("ewc")
class EWCRegularizer(Regularizer):
    r"""Elastic weight consolidation, for every model that can be grown.

    .. math:: L = \frac{\lambda}{2} \sum_i F_i (\theta_i - \theta^*_i)^2, \qquad
              F_i = \sum_{j < k} \gamma^{k - 1 - j} \frac{1}{|D_j|} \sum_{n \in D_j}
              \Bigl( \frac{\partial \ell_n}{\partial \theta_i} \Bigr)^2_{\theta = \theta^*}

    in block k, with the parameters :math:`\theta^*` of the model before the block, over the old prefix of
    every parameter: F is the diagonal of the empirical Fisher information of the train interactions
    :math:`D_j` of each block before, of which ``ewc_sample`` are drawn. An interaction's negative
    log-likelihood is :math:`\ell = -\log\sigma(s_{ui} - s_{uj})` with a drawn negative j, and for models that
    learn from whole rows :math:`\ell = -\log\mathrm{softmax}_i(s_u)`.

    The sum over the blocks is that of online EWC, but for one thing: all terms are taken at the model before
    the block, and not each at the model of its time, so that nothing but interactions and one model has to be
    stored. With :math:`\gamma = 0` it is the Fisher information of the block before alone.

    Source: Kirkpatrick, Pascanu, Rabinowitz, Veness, Desjardins, Rusu, Milan, Quan, Ramalho,
    Grabska-Barwinska, Hassabis, Clopath, Kumaran, Hadsell, "Overcoming catastrophic forgetting in neural
    networks", PNAS 2017; the decay of online EWC: Schwarz et al., "Progress & Compress: A scalable framework
    for continual learning", ICML 2018.

    .. code-block:: yaml

        strategy: fine_tune
        regularizer: ewc
        ewc_weight: 30.0     # lambda
        ewc_decay: 0.9       # gamma
        ewc_sample: 10000
    """

    def bind(self, context: PluginContext) -> None:
        """Takes the Fisher information, and where the parameters stand."""
        super().bind(context)
        live = dict(self.live.named_parameters())
        old = {name: value for name, value in self.frozen.named_parameters() if value.requires_grad}
        self._parameters = [live[name] for name in old]
        # what a grown model begins with is what the old one had, unless it is meant for another graph
        self._anchors = [
            live[name].detach()[tuple(slice(0, size) for size in value.shape)].clone()
            for name, value in old.items()
        ]
        self._importances = self._fisher(list(old.values()))

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether the penalty has a weight."""
        return bool(config["ewc_weight"])

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted penalty, whatever the batch is."""
        penalty = anchored_penalty(self._parameters, self._anchors, self._importances)
        return (self.config["ewc_weight"] * penalty,)

    def _fisher(self, parameters: list[Tensor]) -> list[Tensor]:
        total = [torch.zeros_like(value) for value in parameters]
        block: Block | None = self.block.before
        share, decay = 1.0, self.config["ewc_decay"]
        while block is not None and share > 0:
            generator = torch_generator(self.seed, "fisher", block.index)
            matrix = binary_matrix(block.train)
            samples = self._samples(block, matrix, generator)
            with self._reading(matrix):
                for batch in zip(*(column.split(_AT_A_TIME) for column in samples), strict=True):
                    squares = squared_gradients(self._losses(*batch), parameters, generator)
                    for entries, found in zip(total, squares, strict=True):
                        entries.add_(found, alpha=share / len(samples[0]))
            block, share = block.previous, share * decay
        return total

    def _samples(self, block: Block, matrix: csr_matrix, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Users and items of some interactions of a block, and a negative of each unless rows are read."""
        feat, device = block.train.inter_feat, self.frozen.device
        pairs = feat[self.frozen.USER_ID], feat[self.frozen.ITEM_ID]
        users, items = drawn(self.config["ewc_sample"], generator, *pairs)
        if learns_from_rows(self.config):
            return users.to(device), items.to(device)
        sampler = NegativeSampler(matrix, seed=derive_seed(self.seed, "negatives", block.index))
        negatives = sampler.sample_by_key_ids(users.numpy(), 1)
        return users.to(device), items.to(device), negatives.to(device)

    def _reading(self, matrix: csr_matrix) -> AbstractContextManager[None]:
        """Makes an auto-encoder read the rows of a block."""
        if not is_autoencoder(self.frozen):
            return nullcontext()
        return reading(self.frozen, padded(matrix, self.frozen.device))

    def _losses(self, users: Tensor, items: Tensor, negatives: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of each interaction by the model before the block."""
        if negatives is not None:
            scores, others = (score_pairs(self.frozen, users, ids) for ids in (items, negatives))
            return -logsigmoid(scores - others)
        # nobody recommends [PAD]
        chances = row_logits(self.frozen, users)[:, 1:].log_softmax(dim=1)
        return -chances.gather(1, items[:, None] - 1).squeeze(1)
