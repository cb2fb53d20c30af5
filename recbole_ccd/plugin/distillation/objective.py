"""The configured distillation losses as one weighted objective, and passes that minimise it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_ccd.plugin.base import TrainingPass
from recbole_ccd.plugin.distillation.augmentation import Augmentation
from recbole_ccd.plugin.distillation.auxiliary_head import chosen_view
from recbole_ccd.plugin.distillation.curriculum import Curriculum
from recbole_ccd.plugin.distillation.edge_dropout import EdgeDropout
from recbole_ccd.plugin.distillation.mixup import Mixup
from recbole_ccd.plugin.distillation.weighted import DistillationTask, WeightedLosses, chosen_losses
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.utils.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

_AUGMENTATIONS: Mapping[str, type[Augmentation]] = MappingProxyType(
    {"mixup": Mixup, "edge_dropout": EdgeDropout}
)
# no loss can be called so, as a name has no blank
_VIEW, _AUGMENTATION, _CURRICULUM = "view of the student", "augmented users", "places on the courses"


def wants_item_lists(config: CCDConfig) -> bool:
    """Whether each item's users are wanted of a teacher: for a loss with an item side that has a weight."""
    chosen = chosen_losses(config)
    return config["distill_item_weight"] > 0 and any(loss.has_item_side for loss in chosen)


def wants_member_ranks(config: CCDConfig) -> bool:
    """Whether a loss that has a weight reads where each member of the teacher ranks the listed items."""
    return any(loss.needs_member_ranks for loss in chosen_losses(config))


def wants_grouped_items(config: CCDConfig) -> bool:
    """Whether a loss that has a weight reads the teacher's lists within groups of items."""
    return any(loss.needs_grouped_items for loss in chosen_losses(config))


class DistillationObjective:
    """The weighted sum of the configured losses on users, and of those with an item side on items.

    What they are distilled through, and what is added to them, is as the ways of distilling say:
    ``distill_head``, ``distill_augmentation`` and ``distill_curriculum``.
    """

    def __init__(
        self,
        config: CCDConfig,
        model: GeneralRecommender,
        rankings: TeacherRankings,
        seen: csr_matrix,
        seed: int,
        courses: Sequence[Tensor] | None = None,
    ) -> None:
        """Arguments as of :class:`DistillationLoss`, and the members' courses, if there is a curriculum."""
        self._user_weight, self._item_weight = config["distill_user_weight"], config["distill_item_weight"]
        self._view = chosen_view(config, model, seed)
        self._augmentation_weight = config["augmentation_weight"]
        kinds = chosen_losses(config)
        self._task = DistillationTask(config, kinds, model, rankings, seen, seed, self._view)
        self._curriculum: Curriculum | None = None
        if courses is not None and kinds:
            self._curriculum = Curriculum(config, courses, rankings.top_items.to(model.device))
        self._begin(0)

    def _begin(self, epoch: int, before: WeightedLosses | None = None) -> None:
        """Makes the losses of the lists that are distilled from an epoch on, after others or none."""
        self._epoch, task = epoch, self._task
        if self._curriculum is not None:
            rankings = replace(task.rankings, top_items=self._curriculum.lists())
            seed = derive_seed(task.seed, "curriculum", epoch) if epoch else task.seed
            task = replace(task, rankings=rankings, seed=seed)
        # what losses learn goes on from one list to the next
        self._losses = WeightedLosses(task, like=before)
        self._augmentation: Augmentation | None = None
        kind = task.config["distill_augmentation"]
        if kind is not None and self._augmentation_weight > 0 and self.has_users:
            self._augmentation = _AUGMENTATIONS[kind](task, self._losses)

    @property
    def has_users(self) -> bool:
        """Whether the users' side has a weight."""
        return self._user_weight > 0 and len(self._losses) > 0

    @property
    def has_items(self) -> bool:
        """Whether there is an item side that has one."""
        return self._item_weight > 0 and self._losses.have_item_side

    def before_epoch(self, epoch: int) -> None:
        """Lets users go on with their courses and every loss draw what is due."""
        if self._curriculum is not None and epoch and epoch % self._task.config["uninteresting_redraw"] == 0:
            if self._curriculum.advance(self._losses.top_items(), epoch):
                self._begin(epoch, self._losses)
        self._losses.before_epoch(epoch)
        if self._augmentation is not None:
            self._augmentation.before_epoch(epoch)

    def user_loss(self, users: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct users, shape ``(B,)``."""
        loss = self._losses.user_loss(users)
        if self._augmentation is not None:
            loss = loss + self._augmentation_weight * self._augmentation.user_loss(users)
        return self._with_penalty(self._user_weight * loss, users)

    def item_loss(self, items: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct items, shape ``(B,)``."""
        return self._with_penalty(self._item_weight * self._losses.item_loss(items), items)

    def _with_penalty(self, loss: Tensor, rows: Tensor) -> Tensor:
        penalty = self._view.penalty()
        return loss if penalty is None else loss + len(rows) * penalty

    def parameters(self) -> list[nn.Parameter]:
        """What is trained beside the student: the losses' own parameters, and those of a head."""
        return [*self._losses.parameters(), *self._view.parameters()]

    def state_dict(self) -> dict[str, Any]:
        """What the losses, and the ways in which they are distilled, keep from one epoch to the next."""
        ways = {_VIEW: self._view.state_dict()}
        if self._augmentation is not None:
            ways[_AUGMENTATION] = self._augmentation.state_dict()
        if self._curriculum is not None:
            ways[_CURRICULUM] = {"places": self._curriculum.places.clone(), "epoch": self._epoch}
        return {**self._losses.state_dict(), **{name: state for name, state in ways.items() if state}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where an objective was that gave :meth:`state_dict`."""
        if self._curriculum is not None:
            self._curriculum.places.copy_(state[_CURRICULUM]["places"])
            self._begin(state[_CURRICULUM]["epoch"], self._losses)
        self._losses.load_state_dict(state)
        self._view.load_state_dict(state.get(_VIEW, {}))
        if self._augmentation is not None:
            self._augmentation.load_state_dict(state.get(_AUGMENTATION, {}))


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
