"""Sequential meta-learning: what is served is made of the models before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import set_color
from torch import Tensor, nn
from torch.func import functional_call

from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.data.schedule import scheduled
from recbole_ccd.model.growth import grow, rebuild
from recbole_ccd.model.initialization import embedding_tables
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.model.transfer import Transfer
from recbole_ccd.registry import register
from recbole_ccd.strategy.continual import ContinualStrategy
from recbole_ccd.trainer import LossError
from recbole_ccd.utils.seeding import derive_seed, deterministic, seed_stage, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

_STAGE = "student_update"


@register("sml")
class SML(ContinualStrategy):
    """SML (Zhang et al., SIGIR 2020): a transfer network learns how much of the past a new model should have.

    When block k arrives,

    1. the transfer is learned: from the embeddings with which fine-tuning on block k-1 began and those with
       which it ended it is to make embeddings that have a low loss on the train rows of block k. It goes on
       from what it has learned before, and in block 1, where there is no such pair yet, it changes nothing;
    2. the student is fine-tuned on block k, as ``fine_tune`` does;
    3. what the transfer makes of the embeddings before and after is served, and is what block k+1 begins
       with. Users and items that are new in the block have no past, and stay as fine-tuning has left them.

    So the transfer is learned on the block after the one that it was made for, which is what it will be
    measured on, and nothing of a later block is looked at; nor is a validation part. In the paper fine-tuning
    itself goes through the transfer, and both are repeated by turns; here it is the model's own loss, once.
    """

    def prepare(self) -> None:
        """There is no transfer yet."""
        super().prepare()
        self._transfer: Transfer | None = None
        # of the last block learned: tables that fine-tuning began with, and weights that it ended with
        self._start: dict[str, Tensor] = {}
        self._fine_tuned: dict[str, Tensor] = {}

    def models(self) -> Mapping[str, Any]:
        """The student and, from block 1 on, the transfer and what it is going to be learned from."""
        if self._transfer is None:
            return super().models()
        tensors = {"fine-tuned": _Tensors(self._fine_tuned), "transfer-start": _Tensors(self._start)}
        return {**super().models(), "transfer": self._transfer, **tensors}

    def restore(self, block: Block, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """These; see :class:`Strategy`."""
        super().restore(block, states)
        if "transfer" in states:
            device = self.config["device"]
            self._fine_tuned = {name: value.to(device) for name, value in states["fine-tuned"].items()}
            self._start = {name: value.to(device) for name, value in states["transfer-start"].items()}
            self._transfer = self._new_transfer()
            self._transfer.load_state_dict(states["transfer"])

    def train_block(self, block: Block) -> None:
        """The base student on block 0; the three steps on every other block."""
        if not block.index or not self.config["sml_epochs"]:
            super().train_block(block)
            return
        clock = perf_counter()
        if self._transfer is not None:
            self._learn_transfer(block)
        self._start = self._tables(self._grown(block), block)
        seconds = perf_counter() - clock
        self.run_state.stop_if_asked()
        super().train_block(block)
        clock = perf_counter()
        self._fine_tuned = {name: value.clone() for name, value in self._student.state_dict().items()}
        self._transfer = self._transfer or self._new_transfer()
        self._serve(block)
        record = self.result.stages[-1]
        seconds += record["seconds"] + perf_counter() - clock
        self.result.stages[-1] = {**record, "seconds": seconds}

    @property
    def _student(self) -> GeneralRecommender:
        if self.student is None:
            raise ValueError(f"strategy {self.name} has no student at this point")
        return self.student

    def _tables(self, model: GeneralRecommender, block: Block) -> dict[str, Tensor]:
        """A copy of the embedding tables of a model of a block, by the names of their parameters."""
        pairs = embedding_tables(model, block.n_users, block.n_items)
        wanted = {id(table.weight) for pair in pairs for table in pair}
        named = model.named_parameters()
        return {name: value.detach().clone() for name, value in named if id(value) in wanted}

    def _new_transfer(self) -> Transfer:
        widths = {name: table.shape[1] for name, table in self._start.items()}
        generator = torch_generator(self.config["seed"], "transfer")
        shape = (self.config["sml_filters"], self.config["sml_hidden"])
        return Transfer(widths, *shape, generator).to(self.config["device"])

    def _grown(self, block: Block) -> GeneralRecommender:
        """The student that fine-tuning is going to begin with, which draws what is drawn there."""
        extended, known = self.extended(block, self.config)
        task = self.stages.task(_STAGE, extended, self.config)
        seed_stage(self.config["seed"], self.config["reproducibility"], *task.name.purpose)
        return grow(self._student, scheduled(self.config.for_stage(_STAGE), extended), known)

    @torch.no_grad()
    def _serve(self, block: Block) -> None:
        """Gives the student the embeddings that the transfer makes."""
        served = self._made(self._tables(self._student, block), block)
        parameters = dict(self._student.named_parameters())
        for name, table in served.items():
            parameters[name].copy_(table)
        clear_cache(self._student)

    @property
    def _made_by(self) -> Transfer:
        if self._transfer is None:
            raise ValueError(f"strategy {self.name} has no transfer before block 1")
        return self._transfer

    def _made(self, now: Mapping[str, Tensor], block: Block) -> dict[str, Tensor]:
        """The tables that the transfer makes of those that fine-tuning on a block began and ended with."""
        known = {name: block.n_old_users if "user" in name else block.n_old_items for name in now}
        return self._made_by(self._start, now, known)

    def _learn_transfer(self, block: Block) -> None:
        """Step 1, on the block's train rows of users and items that were known before it."""
        seen = block.among_known()
        if seen is None:
            return
        self.run_state.doing = f"block {block.index}, transfer"
        purpose, clock = ("transfer", block.index), perf_counter()
        seed_stage(self.config["seed"], self.config["reproducibility"], *purpose)
        config = scheduled(self.config.for_stage(_STAGE), seen)
        # what was served was scored by the graph of its time; a model of whole rows reads those of today
        known = seen if learns_from_rows(config) else block.before
        model = rebuild(config, known, self._fine_tuned).requires_grad_(False).train()
        loader = seen.train_loader(config, derive_seed(config["seed"], *purpose))
        if config["train_neg_sample_args"].get("dynamic"):
            now = self._tables(model, block.before)
            loader.get_model(_Candidates(model, lambda: self._made(now, block.before)))
        with deterministic(config["reproducibility"]):
            self._fit(model, loader, config, block.before)
        label = set_color(f"block {block.index} transfer", "cyan")
        self.logger.info(f"{label}: {config['sml_epochs']} epochs, {perf_counter() - clock:.1f}s")

    def _fit(
        self, model: GeneralRecommender, loader: AbstractDataLoader, config: CCDConfig, before: Block
    ) -> None:
        """Learns the transfer by the own loss of the model that it makes.

        Args:
            model: the model that fine-tuning on the block before has ended with.
            loader: batches of what has happened since.
            config: the stage's settings.
            before: the block before.

        Raises:
            LossError: If the loss became NaN or infinite.
        """
        optimizer = torch.optim.Adam(self._made_by.parameters(), lr=config["sml_learning_rate"])
        own, now = _WithTables(model, _own_loss), self._tables(model, before)
        for _ in range(config["sml_epochs"]):
            for batch in loader:
                loss = own.by(self._made(now, before), batch.to(config["device"]))
                if not torch.isfinite(loss):
                    reason = "the loss of the transfer is not finite; lower sml_learning_rate"
                    raise LossError(f"block {before.index + 1} {_STAGE}: {reason}")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


class _WithTables(nn.Module):
    """A model that answers with other tables in the place of its own."""

    def __init__(
        self, model: GeneralRecommender, answer: Callable[[GeneralRecommender, Interaction], Tensor]
    ) -> None:
        super().__init__()
        self.model, self._answer = model, answer

    def forward(self, interaction: Interaction) -> Tensor:
        return self._answer(self.model, interaction)

    def by(self, tables: Mapping[str, Tensor], interaction: Interaction) -> Tensor:
        """The answer by tables, which have the names of the model's parameters."""
        named = {f"model.{name}": table for name, table in tables.items()}
        return functional_call(self, named, (interaction,))


def _own_loss(model: GeneralRecommender, interaction: Interaction) -> Tensor:
    loss = model.calculate_loss(interaction)
    return torch.stack(loss).sum() if isinstance(loss, tuple) else loss.sum()


def _own_scores(model: GeneralRecommender, interaction: Interaction) -> Tensor:
    return model.predict(interaction)


class _Candidates(nn.Module):
    """What ranks the candidates of dynamic negatives: the model that the transfer makes by now.

    By the fine-tuned model, which does not move, the same items would be pushed down in every epoch.
    """

    def __init__(self, model: GeneralRecommender, made: Callable[[], Mapping[str, Tensor]]) -> None:
        super().__init__()
        self._scores, self._made, self.device = _WithTables(model, _own_scores), made, model.device

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores of pairs."""
        return self._scores.by(self._made(), interaction)


@dataclass(frozen=True)
class _Tensors:
    """Named tensors that are saved as a model's weights are."""

    tensors: dict[str, Tensor]

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors
