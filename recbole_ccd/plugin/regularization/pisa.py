"""PISA: users who have moved are drawn to where they are going, users who have not to where they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin, GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import one_hot

from recbole_ccd.loss.pisa import info_nce, interest_shift, interests
from recbole_ccd.model.scoring import has_factors, required_factors
from recbole_ccd.plugin.base import PluginContext
from recbole_ccd.plugin.regularization.base import Regularizer, cluster_centers
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

Vectors = tuple[Tensor, Tensor]


@register("pisa")
class PISARegularizer(Regularizer):
    r"""PISA, for models that score by an inner product.

    A *forward* model is fine-tuned on the block first. The live one is then trained with

    .. math:: L = \alpha \Bigl[ \frac{1}{|M|} \sum_{u \in M} s_u \, \ell(e_u; F) +
              \frac{1}{|S|} \sum_{u \in S} (1 - s_u) \, \ell(e_u; O) \Bigr], \qquad
              s_u = \sigma \bigl( \mathrm{JSD}_u - \overline{\mathrm{JSD}} \bigr)

    where M are the batch's users among the ``pisa_share`` whose interests have moved most (plasticity) and S
    those among the as many who have moved least (stability). :math:`\ell(e_u; R)` is InfoNCE of a live user
    with the user's own vector in a reference R, the forward model F or the one before the block O, against
    those of the others in M or S; and, with ``pisa_item_weight``, InfoNCE with the vector in R of an item
    that the user has had in the block (F) or in the one before (O), drawn for each batch.

    Interests are shares among clusters of the items' old vectors, by the softmax of the cosines of the user
    and the clusters' centres; in the forward model a centre is the mean of the same items there. Users who
    are new, or absent from the block, have no place in it.

    Source: Yoo, Kang, Qiu, Xu, Wang, Tong, "Embracing Plasticity: Balancing Stability and Plasticity in
    Continual Recommender Systems", SIGIR 2025.

    .. code-block:: yaml

        strategy: fine_tune
        regularizer: pisa
        pisa_weight: 0.5         # alpha
        pisa_temperature: 0.5    # tau
        pisa_share: 0.2
        pisa_clusters: 10
        pisa_item_weight: 1.0
    """

    propagates = True

    def bind(self, context: PluginContext) -> None:
        """Copies the frozen vectors; what the forward model is, is found when training begins."""
        super().bind(context)
        with torch.no_grad():
            users, items = required_factors(self.frozen)
            self._old: Vectors = (users.clone(), items.clone())
        self._fine_tuned = context.fine_tuned
        self._forward: Vectors | None = None
        self._generator = torch_generator(self.seed, "neighbours")

    @staticmethod
    def is_active(config: CCDConfig) -> bool:
        """Whether the terms have a weight; without one there is no forward model either."""
        return bool(config["pisa_weight"])

    @staticmethod
    def fits(model: type[GeneralRecommender]) -> bool:
        """Whether models of a class score by an inner product."""
        return has_factors(model) and not issubclass(model, AutoEncoderMixin)

    def before_epoch(self, epoch: int) -> None:
        """Trains the forward model before the first epoch."""
        if self._forward is not None:
            return
        if self._fine_tuned is None:
            raise ValueError(f"{self.name} regularizes stages that can train a forward model")
        forward = self._fine_tuned()
        with torch.no_grad():
            users, items = required_factors(forward)
            self._set_forward((users.clone(), items.clone()))

    def _set_forward(self, forward: Vectors) -> None:
        """Takes what the forward model knows, and finds who has moved."""
        self._forward = forward
        active = np.flatnonzero(self.block.train_matrix[: self.frozen.n_users].getnnz(axis=1))
        users = torch.from_numpy(active).to(self.live.device)
        shift = interest_shift(*self._interests(users))
        self._moved = torch.zeros(self.frozen.n_users, dtype=torch.int8, device=users.device)
        order, most = shift.argsort(stable=True), int(self.config["pisa_share"] * len(users))
        self._moved[users[order[:most]]] = -1
        self._moved[users[order[len(users) - most :]]] = 1
        self._shift = torch.zeros(self.frozen.n_users, device=users.device)
        self._shift[users] = torch.sigmoid(shift - shift.mean())

    def _interests(self, users: Tensor) -> Vectors:
        """Interests of some users before the block, and as the forward model has them."""
        old, n_clusters = self._old[1][1:], self.config["pisa_clusters"]
        centers = cluster_centers(old, n_clusters, derive_seed(self.seed, "clusters"))
        members = one_hot(torch.cdist(old, centers).argmin(dim=1), len(centers)).to(old.dtype)
        members /= members.sum(dim=0).clamp(min=1)
        moved = members.T @ self._known_forward[1][1 : len(old) + 1]
        temperature = self.config["pisa_temperature"]
        before = interests(self._old[0][users], centers, temperature)
        return before, interests(self._known_forward[0][users], moved, temperature)

    @property
    def _known_forward(self) -> Vectors:
        assert self._forward is not None, "it is found before the first epoch"
        return self._forward

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The two terms, weighted and added up."""
        users, live = self.earlier_users(interaction), required_factors(self.live)[0]
        places, shift = self._moved[users], self._shift[users]
        terms = [
            self._term(users[places == sign], weights[places == sign], live, reference, matrix)
            for sign, weights, reference, matrix in (
                (1, shift, self._known_forward, self.block.train_matrix),
                (-1, 1 - shift, self._old, self.earlier),
            )
        ]
        return (self.config["pisa_weight"] * (terms[0] + terms[1]),)

    def _term(
        self, users: Tensor, weights: Tensor, live: Tensor, reference: Vectors, matrix: csr_matrix
    ) -> Tensor:
        temperature = self.config["pisa_temperature"]
        places = torch.arange(len(users), device=users.device)
        losses = info_nce(live[users], reference[0][users], places, temperature)
        total = (weights * losses).sum() / max(len(users), 1)
        if self.config["pisa_item_weight"]:
            owners, items = self._neighbours(matrix, users)
            candidates, targets = torch.unique(items, return_inverse=True)
            losses = info_nce(live[users[owners]], reference[1][candidates], targets, temperature)
            by_item = (weights[owners] * losses).sum() / max(len(owners), 1)
            total = total + self.config["pisa_item_weight"] * by_item
        return total

    def _neighbours(self, matrix: csr_matrix, users: Tensor) -> Vectors:
        """One item of each user who has any, at random: the user's place in ``users``, and the item."""
        places, items = self.positives(matrix, users)
        counts = torch.bincount(places, minlength=len(users))
        starts = counts.cumsum(0) - counts
        chances = torch.rand(len(users), generator=self._generator).to(users.device)
        owners = counts.nonzero().squeeze(1)
        nth = (chances * counts).long().minimum(counts - 1)
        return owners, items[(starts + nth)[owners]]

    def state_dict(self) -> dict[str, Any]:
        """What the forward model knows, and where the draw of neighbours is."""
        return {"forward": self._known_forward, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        users, items = (part.to(self.live.device) for part in state["forward"])
        self._set_forward((users, items))
        self._generator.set_state(state["generator"])
