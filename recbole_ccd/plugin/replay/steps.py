"""How replayed pairs are learned: in optimizer steps of their own, or in those of the block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ccd.data.dataloader import REPLAY_LABEL, ReplayDataLoader
from recbole_ccd.data.schedule import AUTO
from recbole_ccd.loss.replay import replay_loss
from recbole_ccd.model.scoring import score_pairs
from recbole_ccd.plugin.base import PluginContext, TrainingPass
from recbole_ccd.utils.seeding import torch_generator

Pairs = tuple[Tensor, Tensor, Tensor]
JOINT = "joint"


class ReplaySteps:
    """The optimizer steps that learn replayed pairs, as ``*_replay_batch_size`` of a role says.

    With ``joint`` the pairs of an epoch are shared out over the steps of the block's own interactions, and
    each step is made for the sum of both losses. Otherwise they have a pass of their own after the epoch, of
    so many pairs a step; ``auto`` makes as many steps as the block's interactions do. Either way the sum
    over the pairs is divided by ``train_batch_size``, as all sums are.

    Adam makes steps of like size for large and small gradients: steps of their own weigh more than their
    weight says, and double the way that is gone in an epoch.

    Attributes:
        propagates: whether a batch's share of the pairs is scored beside its interactions.
    """

    def __init__(self, context: PluginContext, role: str) -> None:
        """Says how.

        Args:
            context: the stage.
            role: ``student`` or ``teacher``, whose settings hold.
        """
        self._context, self._model = context, context.model
        self._size = context.config[f"{role}_replay_batch_size"]
        self.propagates = self._size == JOINT
        self._shares: Iterator[Pairs] = iter(())
        self._scale = 0.0

    def begin(self, pairs: Pairs, weight: float, seed: int) -> None:
        """Shares the pairs of an epoch out over its batches, where that is how they are learned.

        Args:
            pairs: users, items and labels, each of shape ``(P,)``.
            weight: what the loss is multiplied by; 0 learns nothing.
            seed: seed of the order.
        """
        self._shares = iter(())
        if self._size != JOINT or weight == 0 or not len(pairs[0]):
            return
        self._scale = self._scaled(weight)
        generator = torch_generator(seed)
        order = torch.randperm(len(pairs[0]), generator=generator).to(pairs[0].device)
        shares = order.tensor_split(max(self._context.n_batches(), 1))
        users, items, labels = pairs
        self._shares = iter([(users[share], items[share], labels[share]) for share in shares])

    def batch_losses(self) -> tuple[Tensor, ...]:
        """The weighted loss of a batch's share of the pairs; nothing where it has none."""
        share = next(self._shares, None)
        return () if share is None else (self._loss(share, self._scale),)

    def own_pass(self, name: str, pairs: Pairs, weight: float, seed: int) -> Iterator[TrainingPass]:
        """The pass over the pairs after an epoch, where that is how they are learned.

        Args:
            name: what the progress bar calls it.
            pairs: users, items and labels, each of shape ``(P,)``.
            weight: what the loss is multiplied by; 0 makes no pass.
            seed: seed of the order.
        """
        if self._size == JOINT or weight == 0 or not len(pairs[0]):
            return
        config, block, scale = self._context.config, self._context.block, self._scaled(weight)
        size, batch_size = self._size, config["train_batch_size"]
        if size == AUTO:
            size = max(-(-len(pairs[0]) // max(self._context.n_batches(), 1)), batch_size)

        def loss(batch: Interaction) -> Tensor:
            batch = batch.to(self._model.device)
            of_batch = batch[self._model.USER_ID], batch[self._model.ITEM_ID], batch[REPLAY_LABEL]
            return self._loss(of_batch, scale)

        yield TrainingPass(name, ReplayDataLoader(config, block.train, pairs, seed, size or None), loss)

    def _scaled(self, weight: float) -> float:
        return weight / self._context.config["train_batch_size"]

    def _loss(self, pairs: Pairs, scale: float) -> Tensor:
        users, items, labels = pairs
        return scale * replay_loss(score_pairs(self._model, users, items), labels)
