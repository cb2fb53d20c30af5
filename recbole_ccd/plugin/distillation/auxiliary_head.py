"""The auxiliary head: the teacher does not reach the score that a student is served by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor, nn

from recbole_ccd.plugin.distillation.student import StudentView
from recbole_ccd.utils.seeding import torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# of what is drawn for coordinates that the student's vectors do not have
_DEVIATION = 0.01


class AuxiliaryHead(StudentView):
    r"""A head for distillation beside the served score (``distill_head: auxiliary``).

    The base loss trains the score :math:`s(u, i) = e_u \cdot e_i`. What is distilled, by whichever loss, is

    .. math:: a(u, i) = (e_u P_U + b_U) \cdot (e_i P_I + b_I)

    so that the teacher reaches the vectors through the head alone, and its bias need not reach the served
    score. The head starts as the identity, is trained with the student and thrown away when the stage ends.
    A penalty of :math:`\gamma (\|P_U - I\|^2 + \|P_I - I\|^2)` per user or item of a step ties it to the
    identity, which is distillation without a head.

    Source: auxiliary-task distillation, Khani et al., "Bridging the Gap: Unpacking the Hidden Challenges in
    Knowledge Distillation for Online Ranking Systems", RecSys 2024 (arXiv 2408.14678): layers are shared,
    and the teacher's labels train a logit of their own. The bilinear form on two tables of vectors is ours.

    .. code-block:: yaml

        distill_head: auxiliary
        distill_head_size: ~      # of the student's vectors
        distill_head_tie: 0.0     # gamma
    """

    def __init__(self, inner: StudentView, size: int | None, tie: float, seed: int) -> None:
        r"""A head at the identity.

        Args:
            inner: what it is put on.
            size: coordinates of what is distilled; None for as many as the student's vectors have.
            tie: the :math:`\gamma` above.
            seed: seed of what is drawn for a larger ``size``.
        """
        self._inner, self._tie = inner, tie
        with torch.no_grad():
            users, items = inner.vectors()
        n = users.shape[1]
        size = n if size is None else size
        generator, device = torch_generator(seed, "auxiliary head"), users.device
        self._identity = torch.eye(n, size, device=device)
        self._projections = [self._beginning(generator) for _ in (users, items)]
        self._shifts = [nn.Parameter(torch.zeros(size, device=device)) for _ in (users, items)]

    def _beginning(self, generator: torch.Generator) -> nn.Parameter:
        n, size = self._identity.shape
        drawn = torch.randn(n, max(size - n, 0), generator=generator) * _DEVIATION
        start = self._identity.clone()
        start[:, n:] = drawn.to(start.device)
        return nn.Parameter(start)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """The student's vectors behind the head."""
        users, items = (
            vectors @ projection + shift
            for vectors, projection, shift in zip(
                self._inner.vectors(), self._projections, self._shifts, strict=True
            )
        )
        return users, items

    def of(self, model: GeneralRecommender) -> StudentView:
        """The same head, with the same parameters, on another model."""
        other = object.__new__(AuxiliaryHead)
        vars(other).update({**vars(self), "_inner": self._inner.of(model)})
        return other

    def parameters(self) -> list[nn.Parameter]:
        """Projections and shifts of users and items."""
        return [*self._projections, *self._shifts]

    def penalty(self) -> Tensor | None:
        """The squared distance of the projections from the identity, with its weight."""
        if not self._tie:
            return None
        return self._tie * sum(
            ((projection - self._identity).square().sum() for projection in self._projections),
            start=self._identity.new_zeros(()),
        )

    def state_dict(self) -> dict[str, Any]:
        """Its parameters, users' first."""
        return {str(place): value.detach().clone() for place, value in enumerate(self.parameters())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these."""
        with torch.no_grad():
            for place, value in enumerate(self.parameters()):
                value.copy_(state[str(place)])


def chosen_view(config: CCDConfig, model: GeneralRecommender, seed: int) -> StudentView:
    """What is distilled of a student, as ``distill_head`` says: its own vectors, or those behind a head.

    Args:
        config: the stage's configuration.
        model: the student in training.
        seed: seed of what is drawn.
    """
    view = StudentView(model, config["distill_layer"])
    if config["distill_head"] == "shared":
        return view
    return AuxiliaryHead(view, config["distill_head_size"], config["distill_head_tie"], seed)
