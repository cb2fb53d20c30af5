"""Edge dropout: the lists of the whole graph are distilled to the student on a part of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor

from recbole_ccd.model.graph_part import drawn_pairs, graph_of, without
from recbole_ccd.plugin.distillation.augmentation import Augmentation
from recbole_ccd.plugin.distillation.student import StudentView
from recbole_ccd.plugin.distillation.weighted import DistillationTask, WeightedLosses
from recbole_ccd.utils.seeding import derive_seed, torch_generator


class EdgeDropout(Augmentation):
    """The student on its graph without a share of the edges (``distill_augmentation: edge_dropout``).

    The edges left out are drawn anew for each epoch, and the rest is normalised anew; the teacher's lists are
    those of the whole graph. For students that propagate, distilled by their propagated vectors
    (``distill_layer: final``).

    Source: an augmentation as of :class:`Augmentation`; that of graphs is edge dropout, Wu et al.,
    "Self-supervised Graph Learning for Recommendation", SIGIR 2021.

    .. code-block:: yaml

        distill_layer: final
        distill_augmentation: edge_dropout
        augmentation_weight: 1.0
        augmentation_drop: 0.1
    """

    def __init__(self, task: DistillationTask, losses: WeightedLosses) -> None:
        """As of :class:`Augmentation`."""
        super().__init__(task, losses)
        self._graph, self._view = graph_of(task.model), _Exchanged(task.view, task.model)
        seed = derive_seed(task.seed, "edge dropout")
        self._losses = WeightedLosses(replace(self._task, seed=seed, view=self._view), like=losses)
        self._draw(0)

    def _draw(self, epoch: int) -> None:
        generator = torch_generator(self._task.seed, "dropped edges", epoch)
        dropped = drawn_pairs(self._graph, self._task.config["augmentation_drop"], generator)
        self._view.show(without(self._task.model, dropped))

    def before_epoch(self, epoch: int) -> None:
        """Draws the epoch's edges, and lets the losses draw what is due."""
        self._draw(epoch)
        self._losses.before_epoch(epoch)

    def user_loss(self, users: Tensor) -> Tensor:
        """Weighted sum of the losses of distinct users on the graph of the epoch."""
        return self._losses.user_loss(users)

    def state_dict(self) -> dict[str, Any]:
        """What the losses keep; the edges are those of the epoch."""
        return self._losses.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with it."""
        self._losses.load_state_dict(state)


class _Exchanged(StudentView):
    """A view of one model after the other."""

    def __init__(self, view: StudentView, model: GeneralRecommender) -> None:
        self._view = view
        self.show(model)

    def show(self, model: GeneralRecommender) -> None:
        """Goes over to another model."""
        self._now = self._view.of(model)

    def vectors(self) -> tuple[Tensor, Tensor]:
        return self._now.vectors()
