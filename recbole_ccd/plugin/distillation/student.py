"""What distillation sees of a student: the vectors that its losses act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor, nn

from recbole_ccd.model.scoring import required_factors


class StudentView:
    """A student as it is; a subclass shows another one, such as one behind a head of its own.

    Losses ask for :meth:`vectors` where the student scores by an inner product, and score pairs by the model
    itself where it does not.
    """

    def __init__(self, model: GeneralRecommender, layer: str) -> None:
        """Says what is seen.

        Args:
            model: the student in training.
            layer: ``ego`` or ``final``, as of :func:`~recbole_ccd.model.scoring.factors`.
        """
        self._model, self._layer = model, layer

    def vectors(self) -> tuple[Tensor, Tensor]:
        """User and item vectors whose inner product a loss takes for the score.

        Returns:
            Differentiable tensors of shape ``(n_users, dim)`` and ``(n_items, dim)``.

        Raises:
            ValueError: the student does not score by an inner product.
        """
        return required_factors(self._model, self._layer)

    def of(self, model: GeneralRecommender) -> StudentView:
        """The same view of another model, such as the student on another graph.

        Args:
            model: one of the student's class and size.
        """
        return StudentView(model, self._layer)

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the view itself, trained with the student's and thrown away after the stage."""
        return []

    def penalty(self) -> Tensor | None:
        """What these cost for each user or item of a step, a scalar; None where there is nothing."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Its parameters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these."""
