"""Semi-online distillation: a bridge between a frozen member and the student learns with the student."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from recbole_ccd.loss.soft_targets import soft_target_kl
from recbole_ccd.model.scoring import clear_cache, required_factors
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.plugin.distillation.base import products, scores_of_lists
from recbole_ccd.utils.seeding import torch_generator

_FIRST_WEIGHTS = 0.1


class BridgeDistillation(TrainerPlugin):
    r"""A frozen member with a residual of low rank, between what it knows and what the student learns.

    .. math:: a_{ui} = z_{ui} + \Delta_u \cdot \Delta_i, \qquad
              L = \bigl[ L_{\mathrm{rec}}(a) + \mathrm{KL}(z \,\Vert\, a) + \mathrm{KL}(s \,\Vert\, a) \bigr]
              + \mathrm{KL}(a \,\Vert\, s)

    beside the student's own loss, with scores z of the member and s of the student. The divergences are those
    of tempered softmaxes over the teacher's list of a user, what stands first in each being constant, times
    :math:`T^2`; they are means over the users of a batch. The bridge learns the batch's pairs by the loss of
    its kind: pairwise, or pointwise beside a student that learns labels. It begins as the member, since all
    :math:`\Delta_i` are 0 then, has as many dimensions as the student and is dropped at the end of the stage.

    Source: Liu et al., "Semi-Online Knowledge Distillation", BMVC 2021 (arXiv 2111.11747), whose bridge is a
    copy of the teacher's last layers; the residual is ours.

    .. code-block:: yaml

        mutual_bridge: True
        mutual_bridge_temperature: 4.0   # T
    """

    name = "bridge"

    def __init__(self, member: GeneralRecommender, lists: Tensor) -> None:
        """Says what is between.

        Args:
            member: a frozen member of the teacher, of the block's size, that scores by an inner product.
            lists: the teacher's lists of items, row = user id, 0-padded.
        """
        self._member, self._lists = member, lists

    def bind(self, context: PluginContext) -> None:
        """Takes the member's vectors, and begins the residual."""
        super().bind(context)
        device = self.model.device
        clear_cache(self._member)
        self._member.eval()
        with torch.no_grad():
            user_vectors, item_vectors = required_factors(self._member)
        self._frozen = user_vectors.detach().clone(), item_vectors.detach().clone()
        clear_cache(self._member)
        self._lists = self._lists.to(device)
        width: int = self.config["embedding_size"] or self._frozen[0].shape[1]
        generator = torch_generator(self.seed, "bridge")
        first = _FIRST_WEIGHTS * torch.randn(self.block.n_users, width, generator=generator)
        self._users = nn.Parameter(first.to(device))
        self._items = nn.Parameter(torch.zeros(self.block.n_items, width, device=device))

    def parameters(self) -> list[nn.Parameter]:
        """The residual's vectors."""
        return [self._users, self._items]

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The bridge's scores of given items.

        Args:
            users: ids, shape ``(B,)``.
            items: ids for each user, shape ``(B, C)``.
        """
        return products(*self._frozen, users, items) + products(self._users, self._items, users, items)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """What the bridge learns, and what the student learns of it."""
        users = torch.unique(interaction[self.model.USER_ID])
        items = self._lists[users].long()
        bridge = self.scores(users, items)
        student = scores_of_lists(self.model, users, items, self.config["distill_layer"])
        of_bridge = self._mean_kl(bridge, products(*self._frozen, users, items), items)
        of_bridge = of_bridge + self._mean_kl(bridge, student, items)
        return self._recommendation(interaction) + of_bridge, self._mean_kl(student, bridge, items)

    def _mean_kl(self, learner: Tensor, target: Tensor, items: Tensor) -> Tensor:
        return soft_target_kl(learner, target, items > 0, self.config["mutual_bridge_temperature"]).mean()

    def _recommendation(self, interaction: Interaction) -> Tensor:
        """The bridge's own loss on the pairs of a batch."""
        model, users = self.model, interaction[self.model.USER_ID]
        liked = self.scores(users, interaction[model.ITEM_ID][:, None])[:, 0]
        if model.NEG_ITEM_ID in interaction:
            others = self.scores(users, interaction[model.NEG_ITEM_ID][:, None])[:, 0]
            return -logsigmoid(liked - others).mean()
        return binary_cross_entropy_with_logits(liked, interaction[self.config["LABEL_FIELD"]].float())

    def state_dict(self) -> dict[str, Any]:
        """The residual's vectors."""
        return {"users": self._users.detach(), "items": self._items.detach()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with these, which the optimizer knows."""
        with torch.no_grad():
            self._users.copy_(state["users"])
            self._items.copy_(state["items"])
