"""RecBole's MultiVAE and MultiDAE, which read users' rows sparse where the catalogue is wide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import MultiDAE as RecBoleMultiDAE
from recbole.model.general_recommender import MultiVAE as RecBoleMultiVAE
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, embedding_bag

from recbole_ccd.registry import register

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

WIDE = 4096
"""Items, the padding entry included, from which on rows are read sparse."""

# of torch.nn.functional.normalize
_LEAST_NORM = 1e-12


class SparseRows(NamedTuple):
    """Rows of some users, user after user; items are distinct within a row.

    Attributes:
        items: ids, shape ``(nnz,)``.
        weights: of the interactions, 1 for real ones, shape ``(nnz,)``.
        places: the row of each entry, shape ``(nnz,)``.
        offsets: where each row begins, shape ``(B,)``.
    """

    items: Tensor
    weights: Tensor
    places: Tensor
    offsets: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """The sum of the entries of each row.

        Args:
            values: of the entries, shape ``(nnz,)``.

        Returns:
            Shape ``(B,)``.
        """
        return values.new_zeros(len(self.offsets)).index_add(0, self.places, values)


def sparse_rows(items: Tensor, weights: Tensor) -> SparseRows:
    """Rows without their padding.

    Args:
        items: ids, shape ``(B, width)``.
        weights: of the same shape, 0 where there is nothing.
    """
    there = weights != 0
    lengths = there.sum(dim=1)
    return SparseRows(items[there], weights[there], there.nonzero()[:, 0], lengths.cumsum(0) - lengths)


def item_rows_in_memory(layer: nn.Linear) -> None:
    """Lays the weights of each input next to each other; shape and values stay.

    An item's weights are a column of the first layer's matrix, and a bag reads them as a row.

    Args:
        layer: a layer whose inputs are items.
    """
    layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())


def first_layer(layer: nn.Linear, rows: SparseRows, dropout_prob: float, training: bool) -> Tensor:
    """A layer's output for normalised rows under dropout, by a bag of the rows' items.

    It equals ``layer(dropout(normalize(dense rows)))`` to rounding. Dropout draws a number for each
    interaction, in the place of one for each item: what is 0 stays 0 whatever is drawn, so that the
    distribution is the same.

    Args:
        layer: of ``n_items`` inputs.
        rows: of B users.
        dropout_prob: the probability that an interaction is left out.
        training: whether any is.

    Returns:
        Shape ``(B, layer.out_features)``; of a user without interactions the layer's bias.
    """
    norms = rows.sums(rows.weights.square()).sqrt().clamp(min=_LEAST_NORM)
    weights = dropout(rows.weights / norms[rows.places], dropout_prob, training=training)
    found = embedding_bag(rows.items, layer.weight.t(), rows.offsets, mode="sum", per_sample_weights=weights)
    return found + layer.bias


class _SoftmaxLoss(torch.autograd.Function):
    """The loss of :func:`softmax_loss`, of whose batch × items passes half are left.

    Autograd would take exponentials twice and keep two more matrices of that size.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, items: Tensor, weights: Tensor, places: Tensor, totals: Tensor
    ) -> Tensor:
        chances = logits.softmax(dim=1)
        # of the likeliest item, whose chance is no denormal
        log_sums = logits.amax(dim=1) - chances.amax(dim=1).log()
        ctx.save_for_backward(chances, items, weights, places, totals)
        return ((totals * log_sums).sum() - (weights * logits[places, items]).sum()) / len(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        chances, items, weights, places, totals = ctx.saved_tensors
        scale = grad / len(chances)
        found = chances * (totals * scale).unsqueeze(1)
        found.view(-1).index_add_(0, places * found.shape[1] + items, weights * -scale)
        return found, None, None, None, None


def softmax_loss(logits: Tensor, rows: SparseRows) -> Tensor:
    """``-(log_softmax(logits) * dense rows).sum(1).mean()``, differentiable once.

    The softmax is over all items, so that the output layer is a full one.

    Args:
        logits: shape ``(B, n_items)``.
        rows: what is to be found; its weights are constants.

    Returns:
        A scalar.
    """
    totals = rows.sums(rows.weights)
    return _SoftmaxLoss.apply(logits, rows.items, rows.weights, rows.places, totals)


class _ReadsSparseRows:
    """What both models read, and how they score from it; ``get_rating_matrix`` stays RecBole's.

    Below :data:`WIDE` items they are RecBole's to the bit: sparse rows would make an epoch of ml-100k, of a
    tenth of a second, a quarter shorter, which is not worth other results.
    """

    history_item_id: Any
    history_item_value: Any
    get_rating_matrix: Callable[[Tensor], Tensor]
    forward: Callable[..., Any]
    n_items: int
    USER_ID: str
    ITEM_ID: str

    @property
    def is_wide(self) -> bool:
        """Whether the model reads its rows sparse."""
        return self.n_items >= WIDE

    def sparse_rows_of(self, user: Tensor) -> SparseRows:
        """The rows of some users, sparse.

        Args:
            user: ids, shape ``(B,)``.
        """
        return sparse_rows(self.history_item_id[user], self.history_item_value[user])

    def _all_scores(self, interaction: Interaction) -> Tensor:
        read = self.sparse_rows_of if self.is_wide else self.get_rating_matrix
        found = self.forward(read(interaction[self.USER_ID]))
        return found[0] if isinstance(found, tuple) else found

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of pairs, shape ``(B,)``."""
        scores, items = self._all_scores(interaction), interaction[self.ITEM_ID]
        return scores.gather(1, items.unsqueeze(1)).squeeze(1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items for some users, shape ``(B * n_items,)``."""
        return self._all_scores(interaction).view(-1)


@register("MultiVAE")
class MultiVAE(_ReadsSparseRows, RecBoleMultiVAE):
    """MultiVAE (Liang et al., WWW 2018), RecBole's in parameters and loss; it may read sparse rows.

    RecBole's class makes dense rows of a batch, of users × items, drops out and multiplies all of that.
    """

    def __init__(self, config: CCDConfig, dataset: Dataset) -> None:
        """Builds the model.

        Args:
            config: the model's configuration.
            dataset: what it is built on.
        """
        super().__init__(config, dataset)
        if self.is_wide:
            item_rows_in_memory(self.encoder[0])

    def forward(self, rating_matrix: Tensor | SparseRows) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of all items, and mean and logarithm of the variance of the hidden vectors.

        Args:
            rating_matrix: rows of B users, sparse, or dense of shape ``(B, n_items)``.
        """
        if isinstance(rating_matrix, Tensor):
            return super().forward(rating_matrix)
        hidden = first_layer(self.encoder[0], rating_matrix, self.drop_out, self.training)
        mu, logvar = self.encoder[1:](hidden).tensor_split([self.lat_dim // 2], dim=1)
        return self.decoder(self.reparameterize(mu, logvar)), mu, logvar

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """RecBole's loss: the multinomial likelihood and the annealed KL divergence."""
        if not self.is_wide:
            return super().calculate_loss(interaction)
        rows = self.sparse_rows_of(interaction[self.USER_ID])
        self.update += 1
        anneal = self.anneal_cap
        if self.total_anneal_steps > 0:
            anneal = min(self.anneal_cap, self.update / self.total_anneal_steps)
        logits, mu, logvar = self.forward(rows)
        divergence = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(dim=1).mean()
        return softmax_loss(logits, rows) + anneal * divergence


@register("MultiDAE")
class MultiDAE(_ReadsSparseRows, RecBoleMultiDAE):
    """MultiDAE (Liang et al., WWW 2018), RecBole's in parameters and loss; it may read sparse rows."""

    def __init__(self, config: CCDConfig, dataset: Dataset) -> None:
        """Builds the model.

        Args:
            config: the model's configuration.
            dataset: what it is built on.
        """
        super().__init__(config, dataset)
        if self.is_wide:
            # before it stands a dropout of probability 0
            item_rows_in_memory(self.encoder.mlp_layers[1])

    def forward(self, rating_matrix: Tensor | SparseRows) -> Tensor:
        """Scores of all items.

        Args:
            rating_matrix: rows of B users, sparse, or dense of shape ``(B, n_items)``.
        """
        if isinstance(rating_matrix, Tensor):
            return super().forward(rating_matrix)
        layers = self.encoder.mlp_layers
        hidden = first_layer(layers[1], rating_matrix, self.drop_out, self.training)
        return self.decoder(layers[2:](hidden))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """RecBole's loss, the multinomial likelihood."""
        if not self.is_wide:
            return super().calculate_loss(interaction)
        rows = self.sparse_rows_of(interaction[self.USER_ID])
        return softmax_loss(self.forward(rows), rows)
