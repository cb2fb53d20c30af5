"""The configured distillation losses, each with its weight, on some lists and some view of the student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.plugin.distillation.student import StudentView
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.registry import one_or_more, registered

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def chosen_losses(config: CCDConfig) -> dict[type[DistillationLoss], float]:
    """The configured losses with their weights; those of weight 0 are none."""
    known = registered(DistillationLoss.kind, config["plugins"])
    names = one_or_more(config["distill_loss"])
    weights = config["distill_loss_weights"] or [1.0] * len(names)
    return {known[name]: weight for name, weight in zip(names, weights, strict=True) if weight}


@dataclass(frozen=True)
class DistillationTask:
    """What is to be distilled, and to whom.

    Attributes:
        config: the stage's configuration.
        kinds: the losses with their weights.
        model: the student in training.
        rankings: the teacher's lists.
        seen: users × items that are in no list.
        seed: seed of what is drawn.
        view: what is seen of the student.
    """

    config: CCDConfig
    kinds: Mapping[type[DistillationLoss], float]
    model: GeneralRecommender
    rankings: TeacherRankings
    seen: csr_matrix
    seed: int
    view: StudentView


class WeightedLosses:
    """A weighted sum of losses on users, and of those with an item side on items."""

    def __init__(self, task: DistillationTask, like: WeightedLosses | None = None) -> None:
        """Makes the losses.

        Args:
            task: what they are of.
            like: losses of the same kinds, whose parameters they share.
        """
        given = (task.config, task.model, task.rankings, task.seen, task.seed, task.view)
        self._losses = {kind.name: (weight, kind(*given)) for kind, weight in task.kinds.items()}
        if like is not None:
            for name, (_, loss) in self._losses.items():
                loss.learn_with(like._losses[name][1])

    def __len__(self) -> int:
        """How many losses there are."""
        return len(self._losses)

    @property
    def have_item_side(self) -> bool:
        """Whether any of them has one."""
        return any(loss.has_item_side for _, loss in self._losses.values())

    def parameters(self) -> list[nn.Parameter]:
        """What the losses learn beside the student."""
        return [parameter for _, loss in self._losses.values() for parameter in loss.parameters()]

    def before_epoch(self, epoch: int) -> None:
        """Lets every loss draw what is due."""
        for _, loss in self._losses.values():
            loss.before_epoch(epoch)

    def user_loss(self, users: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct users, shape ``(B,)``."""
        terms = [weight * loss.user_loss(users) for weight, loss in self._losses.values()]
        return sum(terms[1:], start=terms[0])

    def user_losses(self, users: Tensor) -> Tensor:
        """The weighted loss of each of distinct users, shape ``(B,)``; it need not be differentiable."""
        terms = [weight * loss.user_losses(users) for weight, loss in self._losses.values()]
        return sum(terms[1:], start=terms[0])

    def item_loss(self, items: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct items, shape ``(B,)``."""
        sided = [(weight, loss) for weight, loss in self._losses.values() if loss.has_item_side]
        terms = [weight * loss.item_loss(items) for weight, loss in sided]
        return sum(terms[1:], start=terms[0])

    def top_items(self) -> Tensor:
        """The student's own lists now, as of :meth:`DistillationLoss.top_items`."""
        return next(loss for _, loss in self._losses.values()).top_items()

    def state_dict(self) -> dict[str, Any]:
        """What the losses keep from one epoch to the next."""
        return {name: loss.state_dict() for name, (_, loss) in self._losses.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where losses were that gave :meth:`state_dict`."""
        for name, (_, loss) in self._losses.items():
            loss.load_state_dict(state[name])
