"""The configured distillation losses as one weighted objective, and passes that minimise it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_ccd.plugin.base import TrainingPass
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.registry import one_or_more, registered
from recbole_ccd.utils.seeding import torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def _chosen(config: CCDConfig) -> dict[type[DistillationLoss], float]:
    """The configured losses with their weights; those of weight 0 are none."""
    known = registered(DistillationLoss.kind, config["plugins"])
    names = one_or_more(config["distill_loss"])
    weights = config["distill_loss_weights"] or [1.0] * len(names)
    return {known[name]: weight for name, weight in zip(names, weights, strict=True) if weight}


def wants_item_lists(config: CCDConfig) -> bool:
    """Whether each item's users are wanted of a teacher: for a loss with an item side that has a weight."""
    return config["distill_item_weight"] > 0 and any(loss.has_item_side for loss in _chosen(config))


def wants_member_ranks(config: CCDConfig) -> bool:
    """Whether a loss that has a weight reads where each member of the teacher ranks the listed items."""
    return any(loss.needs_member_ranks for loss in _chosen(config))


def wants_grouped_items(config: CCDConfig) -> bool:
    """Whether a loss that has a weight reads the teacher's lists within groups of items."""
    return any(loss.needs_grouped_items for loss in _chosen(config))


class DistillationObjective:
    """The weighted sum of the configured losses on users, and of those with an item side on items."""

    def __init__(
        self,
        config: CCDConfig,
        model: GeneralRecommender,
        rankings: TeacherRankings,
        seen: csr_matrix,
        seed: int,
    ) -> None:
        """Arguments as of :class:`DistillationLoss`."""
        self._user_weight, self._item_weight = config["distill_user_weight"], config["distill_item_weight"]
        chosen = _chosen(config)
        self._losses = {
            kind.name: (weight, kind(config, model, rankings, seen, seed)) for kind, weight in chosen.items()
        }

    @property
    def has_users(self) -> bool:
        """Whether the users' side has a weight."""
        return self._user_weight > 0 and bool(self._losses)

    @property
    def has_items(self) -> bool:
        """Whether there is an item side that has one."""
        return self._item_weight > 0 and any(loss.has_item_side for _, loss in self._losses.values())

    def parameters(self) -> list[nn.Parameter]:
        """What the losses learn beside the model."""
        return [parameter for _, loss in self._losses.values() for parameter in loss.parameters()]

    def before_epoch(self, epoch: int) -> None:
        """Lets every loss draw what is due."""
        for _, loss in self._losses.values():
            loss.before_epoch(epoch)

    def user_loss(self, users: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct users, shape ``(B,)``."""
        terms = [weight * loss.user_loss(users) for weight, loss in self._losses.values()]
        return self._user_weight * sum(terms[1:], start=terms[0])

    def item_loss(self, items: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct items, shape ``(B,)``."""
        sided = [(weight, loss) for weight, loss in self._losses.values() if loss.has_item_side]
        terms = [weight * loss.item_loss(items) for weight, loss in sided]
        return self._item_weight * sum(terms[1:], start=terms[0])

    def state_dict(self) -> dict[str, Any]:
        """What the losses keep from one epoch to the next."""
        return {name: loss.state_dict() for name, (_, loss) in self._losses.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where an objective was that gave :meth:`state_dict`."""
        for name, (_, loss) in self._losses.items():
            loss.load_state_dict(state[name])


def distillation_pass(
    ids: Tensor,
    loss: Callable[[Tensor], Tensor],
    batch_size: int,
    generator_key: tuple[int, str, int],
    device: torch.device,
    weight: float = 1.0,
) -> TrainingPass:
    """Optimizer steps on users or items in random order.

    Losses are sums over rows divided by the batch size, which keeps them in the proportion to the base loss's
    mean that the paper's sums have.

    Args:
        ids: distinct users or items, shape ``(n,)``.
        loss: weighted sum of the losses of some of them.
        batch_size: how many make a step.
        generator_key: seed, what they are, and the epoch.
        device: where the model is.
        weight: weight of the pass.
    """
    order = torch.randperm(len(ids), generator=torch_generator(*generator_key))
    return TrainingPass(
        generator_key[1],
        ids[order].split(batch_size) if len(ids) else (),
        lambda batch: weight / batch_size * loss(batch.to(device)),
    )
