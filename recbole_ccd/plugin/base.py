"""The life of a trainer plugin: what a stage of training can be given beside its model's own loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from recbole_ccd.data.block import Block
from recbole_ccd.model.scoring import clear_cache

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


@dataclass(frozen=True)
class PluginContext:
    """The stage that a plugin is added to.

    Attributes:
        config: the stage's configuration, of the model trained.
        block: the block to learn, or the piece of it that has arrived.
        model: the model in training, at the size of the block.
        previous: the frozen model before the block, of an earlier prefix; None where the stage has none.
        seed: seed of everything drawn in the stage; derive one for each purpose.
        fine_tuned: trains a copy of the model, as it is now, on the block with its own loss and nothing else,
            with the settings of the stage; what the stage draws itself stays as it was.
        n_batches: how many batches the epoch has that has begun.
    """

    config: CCDConfig
    block: Block
    model: GeneralRecommender
    previous: GeneralRecommender | None
    seed: int
    fine_tuned: Callable[[], GeneralRecommender] | None = None
    n_batches: Callable[[], int] = lambda: 1

    def frozen_previous(self, asker: str) -> GeneralRecommender:
        """The model before the block, ready to be scored with.

        Args:
            asker: the plugin that needs it, for the message.

        Raises:
            ValueError: If the stage has none.
        """
        if self.previous is None:
            raise ValueError(f"{asker} needs the model before the block, and there is none")
        clear_cache(self.previous)
        return self.previous.eval()


class Batches(Protocol):
    """Batches of a pass, of which it is known how many there are."""

    def __iter__(self) -> Any:
        """The batches, one after the other."""

    def __len__(self) -> int:
        """How many batches there are."""


@dataclass(frozen=True)
class TrainingPass:
    """Optimizer steps of their own after an epoch.

    Attributes:
        name: what the progress bar calls it.
        batches: one per step.
        loss: the weighted loss of a batch, a scalar.
    """

    name: str
    batches: Batches
    loss: Callable[[Any], Tensor]


class TrainerPlugin:
    """An idea that a stage of training is given; see :meth:`~recbole_ccd.trainer.StageTrainer.add`.

    The trainer calls :meth:`bind` once, then epoch by epoch :meth:`before_epoch`, :meth:`before_batch` and
    :meth:`batch_losses` of every batch, and :meth:`after_epoch`. Plugins are called in the order in which
    they were added, and know nothing of each other. A method that is not overridden adds nothing.
    """

    name: ClassVar[str]
    """What the plugin's state is called in a checkpoint; a stage has one plugin of a name."""
    propagates: bool = False
    """Whether the terms of a batch read propagated embeddings, of a model with a graph; it is said before
    training begins."""

    config: CCDConfig
    block: Block
    model: GeneralRecommender
    seed: int

    def bind(self, context: PluginContext) -> None:
        """Prepares for a stage; whoever overrides this calls it first.

        Args:
            context: the stage.
        """
        self.config, self.block, self.model = context.config, context.block, context.model
        self.seed = context.seed

    def before_epoch(self, epoch: int) -> None:
        """Draws anew what is due.

        Args:
            epoch: its index, from 0.
        """

    def before_batch(self, interaction: Interaction) -> None:
        """Called before the model's own loss of a batch is computed.

        Args:
            interaction: the batch.
        """

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """Weighted terms that are added to the model's own loss of a batch, as many in every batch.

        Args:
            interaction: the batch, with users and, unless the model learns from whole rows, items.
        """
        return ()

    def after_epoch(self, epoch: int) -> Iterable[TrainingPass]:
        """Passes of their own after the epoch's batches and before validation.

        Args:
            epoch: its index, from 0.
        """
        return ()

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the plugin itself, which the stage's optimizer trains with the model's."""
        return []

    def training_rows(self, rows: csr_matrix) -> csr_matrix:
        """What an auto-encoder reads and reconstructs in the coming epoch.

        Args:
            rows: users × items without this plugin.
        """
        return rows

    def visited_users(self) -> Tensor | None:
        """Users that a model learning from whole rows visits; None for those of the block."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What changes in training, :meth:`parameters` included: plain values and tensors.

        A resumed stage is the uninterrupted one bit for bit only if this is all of it.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where a plugin of the same stage was that gave :meth:`state_dict`."""

    def history(self) -> dict[str, Any]:
        """What result.json has of it beside the stage's losses and scores: plain values."""
        return {}
