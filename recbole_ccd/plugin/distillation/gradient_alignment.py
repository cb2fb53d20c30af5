"""Gradient alignment: the student's scores are to change with the graph as the teacher's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import embedding

from recbole_ccd.data.block import reads_graph
from recbole_ccd.loss.gradient_alignment import deviation, response_alignment
from recbole_ccd.model.graph_part import drawn_pairs, graph_of, without, without_pairs
from recbole_ccd.model.growth import inference_rows
from recbole_ccd.model.history import use_history
from recbole_ccd.model.scoring import clear_cache, has_factors, is_autoencoder, required_factors, score_rows
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.ranking.topk import users_at_a_time
from recbole_ccd.utils.seeding import torch_generator

_TINY = torch.finfo(torch.float32).tiny


def reads_interactions(model_class: type[GeneralRecommender]) -> bool:
    """Whether what models of this class say depends on interactions that they are given to read."""
    return reads_graph(model_class) or issubclass(model_class, AutoEncoderMixin)


class GradientAlignment(TrainerPlugin):
    r"""Aligns the answers of student and teacher to lost interactions (``distill_gradient_alignment``).

    A share ``alignment_drop`` of the interactions is left out, drawn anew every ``uninteresting_redraw``
    epochs, which changes the scores of the items on the teacher's lists:

    .. math:: \Delta(u, r) = s(u, \pi_r; A) - s(u, \pi_r; A'), \qquad
              L = w \sum_u \frac{1}{K} \sum_r \bigl(\Delta_S(u, r) - \Delta_T(u, r)\bigr)^2

    :math:`\Delta_T` is the mean over the members that read a graph, or users' rows. Each is divided by the
    deviation of the member's scores over all lists, and multiplied by that of the student's at the time of
    the draw. The term is that of the users of a batch.

    Source: KDIGA and IGDM (:func:`~recbole_ccd.loss.gradient_alignment.response_alignment`). Interactions
    for a continuous input are ours: embeddings of models of different sizes have no gradients in common.

    .. code-block:: yaml

        distill_layer: final
        distill_gradient_alignment: 0.1   # w
        alignment_drop: 0.1
    """

    name = "gradient_alignment"

    def __init__(self, lists: Tensor, members: Sequence[GeneralRecommender]) -> None:
        """Says whose answers are to be learned.

        Args:
            lists: the teacher's lists, (n_users, K) item ids, 0-padded.
            members: the teacher's members; those that read no interactions are left out.
        """
        self._lists = lists
        self._members = [member for member in members if reads_interactions(type(member))]

    def bind(self, context: PluginContext) -> None:
        """Takes the student's graph.

        Args:
            context: a stage of a student that propagates over one.
        """
        super().bind(context)
        self._lists = self._lists.to(self.model.device)
        self._graph, self._rows = graph_of(self.model), inference_rows(self.block, self.config)

    def before_epoch(self, epoch: int) -> None:
        """Draws what is left out every ``uninteresting_redraw`` epochs."""
        if epoch % self.config["uninteresting_redraw"] == 0:
            self._draw(epoch, None)

    def _draw(self, epoch: int, scale: float | None) -> None:
        """What is left out from an epoch on, and the teacher's answer to it.

        Args:
            epoch: when it is drawn.
            scale: the deviation of the student's scores then; None for now.
        """
        generator = torch_generator(self.seed, "left out", epoch)
        dropped = drawn_pairs(self._graph, self.config["alignment_drop"], generator)
        self._epoch, self._part = epoch, without(self.model, dropped)
        self._scale = self._student_scale() if scale is None else scale
        self._teacher = torch.zeros(self._lists.shape, device=self._lists.device)
        for member in self._members:
            self._teacher += self._answer(member, dropped) / len(self._members)

    def _student_scale(self) -> float:
        # not even dropout may depend on whether a validation has just taken place
        self.model.eval()
        clear_cache(self.model)
        return deviation(list_scores(self.model, self._lists), self._lists > 0).item()

    def _answer(self, member: GeneralRecommender, dropped: csr_matrix) -> Tensor:
        """(n_users, K) how the scores of a member change, in units of their deviation."""
        member.eval()
        if is_autoencoder(member):
            changed = copy(member)
            use_history(changed, without_pairs(self._rows, dropped))
        else:
            changed = without(member, dropped)
        whole, left = (list_scores(model, self._lists) for model in (member, changed))
        return (whole - left) / deviation(whole, self._lists > 0).clamp(min=_TINY)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The term of the batch's distinct users."""
        users = torch.unique(interaction[self.model.USER_ID])
        items = self._lists[users]
        whole, left = (_scores(required_factors(model), users, items) for model in (self.model, self._part))
        losses = response_alignment(whole - left, self._scale * self._teacher[users], items > 0)
        return (self.config["distill_gradient_alignment"] * losses.sum() / len(interaction),)

    def state_dict(self) -> dict[str, Any]:
        """When it was drawn last, and the student's deviation then."""
        return {"epoch": self._epoch, "scale": self._scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the same draw once more."""
        self._draw(state["epoch"], state["scale"])


@torch.no_grad()
def list_scores(model: GeneralRecommender, lists: Tensor) -> Tensor:
    """A model's scores of the items of lists, one list for each user.

    Args:
        model: any model.
        lists: (n_users, K) item ids.

    Returns:
        (n_users, K) scores.
    """
    users = torch.arange(len(lists), device=lists.device)
    parts = zip(*(ids.split(users_at_a_time(model.n_items)) for ids in (users, lists)), strict=True)
    if has_factors(type(model)):
        vectors = required_factors(model)
        return torch.cat([_scores(vectors, *part) for part in parts])
    clear_cache(model)
    return torch.cat([score_rows(model, ids).gather(1, items) for ids, items in parts])


def _scores(vectors: tuple[Tensor, Tensor], users: Tensor, items: Tensor) -> Tensor:
    return torch.bmm(embedding(items, vectors[1]), vectors[0][users].unsqueeze(2)).squeeze(2)
