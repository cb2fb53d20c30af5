"""RecBole's context-aware models as baselines: on ids and features of users and items, trained anew.

FM (Rendle, ICDM 2010), DeepFM (Guo et al., IJCAI 2017), DCNV2 (Wang et al., WWW 2021) and KD_DAGFM (Tian et
al., WSDM 2023). The networks are RecBole's. What differs is what they read
(:class:`~recbole_ccd.data.context_fields.ContextFields`) and that they are asked for logits, not for their
sigmoid, in which large scores cannot be told apart.
"""

from __future__ import annotations

import copy
from collections import UserDict
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.context_aware_recommender.dcnv2 import DCNV2 as RecBoleDCNV2
from recbole.model.context_aware_recommender.deepfm import DeepFM as RecBoleDeepFM
from recbole.model.context_aware_recommender.fm import FM as RecBoleFM
from recbole.model.context_aware_recommender.kd_dagfm import DAGFM
from recbole.model.context_aware_recommender.kd_dagfm import KD_DAGFM as RecBoleKDDAGFM
from recbole.utils import ModelType
from torch import Tensor, nn

from recbole_ccd.compat import TodaysContextRecommender
from recbole_ccd.data.context_fields import ContextFields
from recbole_ccd.registry import register

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.dataset import IncrementalDataset

# pairs that go through a deep network in one go
_PAIRS = 1 << 14


class ContextInputs(TodaysContextRecommender):
    """The end of a model's line of base classes: RecBole's constructor, shown known ids and features alone.

    Attributes:
        n_users: known users, [PAD] included.
        n_items: known items, [PAD] included.
        USER_ID: name of the user id.
        ITEM_ID: name of the item id.
    """

    def __init__(self, config: Any, dataset: IncrementalDataset) -> None:
        """Makes the tables of all fields.

        Args:
            config: the model's configuration.
            dataset: the block's view of the stream.
        """
        fields = ContextFields(dataset)
        super().__init__(config, fields)
        self.USER_ID, self.ITEM_ID = fields.uid_field, fields.iid_field
        self.n_users, self.n_items = fields.num(self.USER_ID), fields.num(self.ITEM_ID)
        self._features = {
            own: {name: values.to(self.device) for name, values in found.items()}
            for own, found in ((self.USER_ID, fields.users), (self.ITEM_ID, fields.items))
        }

    def with_features(self, interaction: Interaction) -> Interaction:
        """User and item of each row, and what is known of them.

        Args:
            interaction: rows with both ids.
        """
        ids = {field: interaction[field].to(self.device) for field in self._features}
        found = {name: values[ids[own]] for own, of in self._features.items() for name, values in of.items()}
        return Interaction({**ids, **found})


class ContextBaseline(ContextRecommender):
    """The front of the line: a model that scores pairs of user and item by its logit."""

    # it ranks items for users; RecBole's defaults of the other type are those of rows with ratings
    type = ModelType.GENERAL

    def forward(self, interaction: Interaction) -> Tensor:
        """RecBole's ``forward`` on ids and features, whatever else the rows hold."""
        return super().forward(self.with_features(interaction))

    def predict(self, interaction: Interaction) -> Tensor:
        """Logits of pairs.

        Args:
            interaction: P rows with both ids.

        Returns:
            Shape ``(P,)``.
        """
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        pairs = zip(users.split(_PAIRS), items.split(_PAIRS), strict=True)
        parts = [self.logits(Interaction({self.USER_ID: u, self.ITEM_ID: i})) for u, i in pairs]
        return torch.cat(parts)

    def logits(self, interaction: Interaction) -> Tensor:
        """What :meth:`predict` gives, at once."""
        return self.forward(interaction)


@register("FM")
class FM(ContextBaseline, RecBoleFM, ContextInputs):
    """Factorization machine."""


@register("DeepFM")
class DeepFM(ContextBaseline, RecBoleDeepFM, ContextInputs):
    """A factorization machine and a deep network on the same embeddings."""


@register("DCNV2")
class DCNV2(ContextBaseline, RecBoleDCNV2, ContextInputs):
    """Cross network and deep network; its loss is computed from logits, which is the same and exact."""

    def __init__(self, config: CCDConfig, dataset: IncrementalDataset) -> None:
        """Takes the sigmoid out of the model and into its loss.

        Args:
            config: the model's configuration.
            dataset: the block's view of the stream.
        """
        super().__init__(config, dataset)
        self.sigmoid, self.loss = nn.Identity(), nn.BCEWithLogitsLoss()


class OpenSettings(UserDict):
    """Settings that a model may add some of its own to; a key that is not there reads as None.

    RecBole's KD_DAGFM writes into the configuration it is given.
    """

    def __missing__(self, key: str) -> None:
        """As RecBole's Config has it."""

    @property
    def final_config_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, which is where RecBole looks for their names."""
        return self.data


@register("KD_DAGFM")
class KD_DAGFM(ContextBaseline, RecBoleKDDAGFM, ContextInputs):
    """A graph network of the fields, distilled from a cross network; trained in :data:`PHASES`.

    All three trainings are of one object, so that weights go from one to the next in memory.

    Attributes:
        phase: the phase that is trained; of a model that is not, the last one.
    """

    def __init__(self, config: CCDConfig, dataset: IncrementalDataset) -> None:
        """Makes both networks.

        Args:
            config: the model's configuration; left as it is.
            dataset: the block's view of the stream.
        """
        super().__init__(OpenSettings(copy.copy(config.final_config_dict)), dataset)
        self.phase = PHASES[-1]
        follow_device(self.student_network, self.device)

    def logits(self, interaction: Interaction) -> Tensor:
        """Those of the network that the phase trains, shape ``(P,)``."""
        self.forward(interaction)
        network = self.teacher_network if self.phase == PHASES[0] else self.student_network
        return network.logits.flatten()


PHASES = ("teacher_training", "distillation", "finetuning")
"""What KD_DAGFM is trained for in turn: BCE of the teacher; alpha BCE + beta (z_T - z_S)^2 of the student, on
the teacher's frozen embeddings; BCE of the student and the embeddings (Tian et al., WSDM 2023)."""


def follow_device(network: DAGFM, device: torch.device) -> None:
    """Makes the mask of RecBole's DAGFM, which goes to any GPU that there is, one of the module's buffers.

    Args:
        network: the network, changed in place.
        device: where it belongs.
    """
    mask = network.adj_matrix.to(device)
    del network.adj_matrix
    # no weight, and made by the constructor
    network.register_buffer("adj_matrix", mask, persistent=False)
    network.device = device
