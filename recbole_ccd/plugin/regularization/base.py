"""A regularizer: terms that keep a model near what it was, chosen by the key ``regularizer``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.registry import one_or_more, registered
from recbole_ccd.utils.errors import ModelError
from recbole_ccd.utils.seeding import derive_seed

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class Regularizer(TrainerPlugin):
    """Loss terms that keep a live model near the frozen one before the block."""

    kind: ClassVar[str] = "regularizer"
    settings: ClassVar[Mapping[str, Any]] = {}
    """Keys of the regularizer with their defaults; those of ours are in ``learning.yaml`` instead."""

    def bind(self, context: PluginContext) -> None:
        """Freezes the model before the block.

        Args:
            context: a stage with a previous model.

        Raises:
            ValueError: the stage has none.
        """
        super().bind(context)
        self.frozen, self.live = context.frozen_previous(self.name), context.model
        # so that its draws are its own
        self.seed = derive_seed(context.seed, "retain")
        self.earlier = self.block.before.train_matrix

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether the settings give any of the terms a weight; others are not added to a stage."""
        return True

    @staticmethod
    def fits(model: type[GeneralRecommender]) -> bool:
        """Whether the terms are defined for models of a class; of several each is given those it fits."""
        return True

    def earlier_users(self, interaction: Interaction) -> Tensor:
        """Distinct users of a batch who were known before the block."""
        users = torch.unique(interaction[self.live.USER_ID])
        return users[users < self.frozen.n_users]

    def earlier_items(self, interaction: Interaction) -> Tensor:
        """Distinct items of a batch, or of its users in the block, that were known before it."""
        if self.live.ITEM_ID in interaction:
            items = interaction[self.live.ITEM_ID]
        else:
            items = self.positives(self.block.train_matrix, interaction[self.live.USER_ID])[1]
        items = torch.unique(items)
        return items[items < self.frozen.n_items]

    def _zero(self) -> tuple[Tensor]:
        # RecBole adds up the batches' terms one by one, so every batch must have as many
        return (torch.zeros((), device=self.live.device),)

    def positives(self, matrix: csr_matrix, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Nonzeros of some rows as (position in ``ids``, column) tensors."""
        places, columns = csr_rows(matrix, ids.cpu().numpy())
        return torch.from_numpy(places).to(ids.device), torch.from_numpy(columns).to(ids.device)


def drawn(most: int | None, generator: torch.Generator, *columns: Tensor) -> tuple[Tensor, ...]:
    """All entries of some columns, or so many at random: of a mean a sample is an unbiased estimate.

    Args:
        most: how many entries are drawn where there are more; None takes all.
        generator: moves on where there are more.
        *columns: each of shape ``(n,)``; what belongs together stays together.
    """
    n = len(columns[0])
    if most is None or n <= most:
        return columns
    places = torch.randperm(n, generator=generator)[:most].to(columns[0].device)
    return tuple(column[places] for column in columns)


def cluster_centers(vectors: Tensor, n_clusters: int, seed: int) -> Tensor:
    """Centres of vectors by k-means, the same bits for any number of threads.

    Args:
        vectors: shape ``(n, dim)``, without gradients.
        n_clusters: how many are wanted; there are never more than vectors.
        seed: seed of the first centres.

    Returns:
        Shape ``(min(n_clusters, n), dim)``, float32.
    """
    kmeans = KMeans(min(n_clusters, len(vectors)), n_init=1, random_state=seed)
    # with several threads the centres are summed in any order, and two runs differ in the last bits
    with threadpool_limits(limits=1):
        centers = kmeans.fit(vectors.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centers).float().to(vectors.device)


def chosen_regularizers(config: CCDConfig, model: GeneralRecommender) -> list[Regularizer]:
    """New plugins for a stage: the configured regularizers that fit a model and have a weight.

    Args:
        config: the model's configuration.
        model: the model.
    """
    known = registered(Regularizer.kind, config["plugins"])
    kinds = [known[name] for name in one_or_more(config["regularizer"])]
    return [kind() for kind in kinds if kind.fits(type(model)) and kind.is_active(config)]


def check_regularizers(config: CCDConfig, role: str) -> None:
    """Refuses regularizers of which none fits a model that is trained under them.

    Args:
        config: the run's configuration.
        role: ``student`` or ``teacher``, whose updates are regularized.

    Raises:
        ModelError: If there are some, and each would be left out.
    """
    known, names = registered(Regularizer.kind, config["plugins"]), one_or_more(config["regularizer"])
    models = [config.model_class]
    if role == "teacher":
        models = [config.for_member(m).model_class for m in range(len(config["teacher_models"]))]

    def fits(name: str) -> bool:
        return any(known[name].fits(model) for model in models)

    if names and not any(map(fits, names)):
        shown = ", ".join(dict.fromkeys(model.__name__ for model in models))
        whom = f"the student ({shown})" if role == "student" else f"a member of the teacher ({shown})"
        fitting = ", ".join(filter(fits, known))
        remedy = f"choose one of: {fitting}, or leave it out" if fitting else "leave it out"
        raise ModelError(f"regularizer: {', '.join(names)} does not fit {whom}; {remedy}")
