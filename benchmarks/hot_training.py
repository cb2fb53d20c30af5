"""The epochs: student generation with list-wise distillation, teacher update with LWC-KD and PIW."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from common import Measured, measure
from comparison import Comparison, same_value
from machine import Limits, Work
from package_side import Scene, Stage, similarity_graph
from recbole.data.interaction import Interaction
from references import DenseRegularizer, gathered_ranking_loss
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam, Optimizer

TIMED_BATCHES = 3


def distillation(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """An epoch of student generation on block 0: BPR and RRD per batch, then IR-RRD over all items.

    The reference gets its uninteresting ids for nothing (drawn beforehand), and the package's LightGCN for
    its base loss, so that only the distillation differs.
    """
    stage = scene.distillation()
    reference = _GatheredDistillation(scene, stage)
    batches, all_items = stage.batches(), torch.randperm(scene.block(0).n_items - 1) + 1
    item_batches = list(all_items.split(stage.trainer.config["train_batch_size"]))
    checked = reference.check(batches[0], item_batches[0])
    stage.epoch()
    ours = measure(stage.epoch, 1 if quick else 3)
    n = 1 if quick else TIMED_BATCHES
    user_part = _timed(reference.prepare_users(batches[: n + 1]), reference.user_step, len(batches))
    item_part = _timed(reference.prepare_items(item_batches[: n + 1]), reference.item_step, len(item_batches))
    work = _distillation_work(Work(limits), stage, batches, len(all_items))
    yield Comparison("student generation epoch, d = 8", ours, _both(user_part, item_part), checked, work)


class _GatheredDistillation:
    """Student generation with gathered embeddings, on a student and an optimizer of its own."""

    def __init__(self, scene: Scene, stage: Stage) -> None:
        self.scene, self.stage, self.config = scene, stage, stage.trainer.config
        self.model = scene.student(0)
        self.model.train()
        self.optimizer = _optimizer(self.model.parameters(), self.config)
        self.lists = {False: scene.rankings.top_items, True: scene.rankings.top_users}

    def list_wise(self, rows: Tensor, ids: Tensor, swapped: bool) -> Tensor:
        """The weighted loss of some users, or with ``swapped`` of some items."""
        tables = self.model.user_embedding.weight, self.model.item_embedding.weight
        row_table, column_table = reversed(tables) if swapped else tables
        interesting, score_max = self.lists[swapped][rows], self.config["distill_score_max"]
        loss = gathered_ranking_loss(row_table, column_table, rows, interesting, ids, score_max)
        return self.config[f"distill_{'item' if swapped else 'user'}_weight"] * loss

    def check(self, batch: Interaction, items: Tensor) -> str:
        """Compares losses and gradients of a batch of users and one of items."""
        worst = []
        for rows, swapped in ((torch.unique(batch["user_id"]), False), (items, True)):
            ids = self.scene.uninteresting(rows, swapped)
            ours = self.scene.list_wise(rows, swapped)
            reference = self.list_wise(rows, ids, swapped)
            worst.append(same_value("the list-wise loss", ours, reference))
            pairs = zip(
                _gradients(ours, self.stage.trainer.model), _gradients(reference, self.model), strict=True
            )
            worst += [same_value("its gradient", a, b, 1e-4) for a, b in pairs]
        return f"losses and gradients equal to {max(worst):.0e}"

    def prepare_users(self, batches: list[Interaction]) -> list[tuple[Interaction, Tensor, Tensor]]:
        """Batches with their distinct users and the ids drawn for them."""
        users = [torch.unique(batch["user_id"]) for batch in batches]
        return [
            (batch, rows, self.scene.uninteresting(rows, False))
            for batch, rows in zip(batches, users, strict=True)
        ]

    def prepare_items(self, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Batches of items with the ids drawn for them."""
        return [(rows, self.scene.uninteresting(rows, True)) for rows in batches]

    def user_step(self, batch: Interaction, users: Tensor, ids: Tensor) -> None:
        """One step of the base loss and the user side."""
        loss = self.model.calculate_loss(batch) + self.list_wise(users, ids, False) / len(batch)
        _step(self.optimizer, loss)

    def item_step(self, items: Tensor, ids: Tensor) -> None:
        """One step of the item side."""
        _step(self.optimizer, self.list_wise(items, ids, True) / self.config["train_batch_size"])


def _distillation_work(work: Work, stage: Stage, batches: list[Interaction], n_items: int) -> Work:
    """Per score a product, its two gradients and an exponential; per step the graph and the optimizer."""
    model, config = stage.trainer.model, stage.trainer.config
    size, dim = config["train_batch_size"], model.latent_dim
    sides = [(len(torch.unique(batch["user_id"])), config["n_uninteresting_items"], 1) for batch in batches]
    sides.append((size, config["n_uninteresting_users"], n_items / size))
    for rows, columns, times in sides:
        work.product(rows, dim, columns, times).product(rows, columns, dim, times)
        work.product(columns, rows, dim, times).exp(rows * columns * times)
    steps = len(batches) + n_items / size
    return work.moved(_base_bytes(model, len(batches)) + _adam_bytes(model, steps))


def teacher_update(scene: Scene, limits: Limits, quick: bool) -> Iterator[Comparison]:
    """An epoch of the teacher's update on block 1: base loss, LWC-KD and PIW per batch, then replay.

    The reference trains RecBole's own LightGCN, in its replay pass too; lines of their own tell what LWC-KD
    and PIW cost alone. It averages over all of a batch's users and items, as the package does without
    ``lwc_kd_anchors``; the default is a sample of 64 of each, an estimate of the same means.
    """
    n = 1 if quick else TIMED_BATCHES
    dense = None
    for n_anchors, name in ((None, "all anchors"), (64, "64 anchors (default)")):
        stage = scene.teacher_update(n_anchors)
        stage.epoch()
        batches = stage.batches()
        some = [(batch,) for batch in batches[: n + 1]]
        if dense is None:
            dense = _DenseUpdate(scene, stage)
            checked = dense.check(batches[0])
            passed = dense.replay_batches()
            replay = _timed(passed[: n + 1], dense.replay_step, len(passed))
            steps, terms = (_timed(some, step, len(batches)) for step in (dense.step, dense.step_of_terms))
            whole = _both(steps, replay)
        else:
            checked = "an estimate of the same mean from a sample"
        ours = measure(stage.epoch, 1 if quick else 3)
        work = _regularizer_work(Work(limits), dense, batches, n_anchors)
        _graph_work(work, dense, len(batches))
        yield Comparison(f"teacher update epoch, d = 128, {name}", ours, whole, checked, work)
        exclusive = _timed(some, lambda batch, stage=stage: sum(stage.terms(batch)).backward(), len(batches))
        work = _regularizer_work(Work(limits), dense, batches, n_anchors)
        note = f"the reference's replay pass took {replay.seconds:.2g} s"
        yield Comparison(f"  of that LWC-KD and PIW, {name}", exclusive, terms, note, work)


class _DenseUpdate:
    """RecBole's LightGCN with LWC-KD and PIW on dense graphs, on the weights of a stage of ours."""

    def __init__(self, scene: Scene, stage: Stage) -> None:
        self.scene, self.stage, self.model = scene, stage, scene.recboles(stage)
        self.config, self.frozen = stage.trainer.config, scene.frozen
        earlier, degree = scene.block(0).train_matrix, self.config["similarity_degree"]
        graphs = {
            "ui": earlier,
            "uu": similarity_graph(earlier, degree),
            "ii": similarity_graph(earlier.T.tocsr(), degree),
        }
        with torch.no_grad():
            layers = [(users.clone(), items.clone()) for users, items in scene.layers(self.frozen)]
        temperature = self.config["lwc_kd_temperature"]
        self.imitation = scene.imitation(stage)
        items = np.flatnonzero(scene.block(1).train_matrix.getnnz(axis=0))
        parts = (temperature, self.imitation, torch.from_numpy(items))
        self.regularizer = DenseRegularizer(graphs, layers, *parts)
        self.optimizer = _optimizer([*self.model.parameters(), *self.imitation], self.config)

    def anchors(self, batch: Interaction) -> tuple[Tensor, Tensor]:
        """Distinct users and items of a batch who were known before."""
        users, items = torch.unique(batch["user_id"]), torch.unique(batch["item_id"])
        return users[users < self.frozen.n_users], items[items < self.frozen.n_items]

    def losses(self, batch: Interaction) -> tuple[Tensor, Tensor]:
        """The weighted terms of a batch."""
        layers = self.scene.recboles_layers(self.model)
        contrast, clustering = self.regularizer.losses(layers, *self.anchors(batch))
        return self.config["lwc_kd_weight"] * contrast, self.config["piw_weight"] / len(batch) * clustering

    def step(self, batch: Interaction) -> None:
        """One step of the base loss and all terms."""
        _step(self.optimizer, self.model.calculate_loss(batch) + sum(self.losses(batch)))

    def step_of_terms(self, batch: Interaction) -> None:
        """The terms alone, forward and backward."""
        sum(self.losses(batch)).backward()

    def replay_batches(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Users, items and labels of the replay pass."""
        size = self.config["train_batch_size"]
        return list(zip(*(part.split(size) for part in self.stage.replayed()), strict=True))

    def replay_step(self, users: Tensor, items: Tensor, labels: Tensor) -> None:
        """One step of the replay pass."""
        user_vectors, item_vectors = self.model()
        scores = (user_vectors[users] * item_vectors[items]).sum(1)
        _step(self.optimizer, binary_cross_entropy_with_logits(scores, labels, reduction="sum") / len(users))

    def check(self, batch: Interaction) -> str:
        """Compares the terms and their gradients on a batch."""
        ours, reference = self.stage.terms(batch), self.losses(batch)
        worst = [same_value("LWC-KD", ours[0], reference[0])]
        # a divergence of 1e-4 or less that is summed from terms of order 1: float32 leaves it three digits
        same_value("the clusters' divergence", ours[1], reference[1], 1e-3)
        models = (self.stage.trainer.model, self.model)
        pairs = zip(*(map(_gradients, (sum(ours), sum(reference)), models)), strict=True)
        worst += [same_value("the terms' gradient", a, b, 1e-4) for a, b in pairs]
        return f"terms and gradients equal to {max(worst):.0e}"


def _regularizer_work(work: Work, dense: _DenseUpdate, batches: list[Interaction], most: int | None) -> Work:
    """Per term and layer a product, its gradient and an exponential per score."""
    model, frozen = dense.stage.trainer.model, dense.frozen
    for batch in batches:
        for ids in dense.anchors(batch):
            rows = len(ids) if most is None else min(len(ids), most)
            for columns in (frozen.n_users, frozen.n_items):
                work.product(rows, model.latent_dim, columns, model.n_layers)
                work.product(columns, rows, model.latent_dim, model.n_layers)
                work.exp(rows * columns * model.n_layers)
    return work


def _graph_work(work: Work, dense: _DenseUpdate, n_batches: int) -> None:
    """Propagation and optimizer, for the batches and the replay pass."""
    steps = n_batches + len(dense.stage.replayed()[0]) / dense.config["train_batch_size"]
    model = dense.stage.trainer.model
    work.moved(_base_bytes(model, steps) + _adam_bytes(model, steps))


def _base_bytes(model: torch.nn.Module, steps: float) -> float:
    """Rows, indices and values that propagation reads, forward and backward in all layers."""
    edges = len(model.norm_adj_matrix.values())
    return steps * 2 * model.n_layers * edges * (4 * model.latent_dim + 8)


def _adam_bytes(model: torch.nn.Module, steps: float) -> float:
    """Weights, gradients and moments read, weights and moments written."""
    return steps * 7 * 4 * sum(parameter.numel() for parameter in model.parameters())


def _timed(batches: Sequence[tuple], step: Callable[..., None], total: int) -> Measured:
    """Times steps after a first one that warms up, and scales them to all batches of an epoch."""
    step(*batches[0])
    timed = batches[1:]

    def steps() -> None:
        for batch in timed:
            step(*batch)

    return measure(steps).scaled(total / len(timed), f"{len(timed)} of {total} batches")


def _both(first: Measured, second: Measured) -> Measured:
    """One part after the other."""
    note = f"{first.note} + {second.note}"
    return Measured(first.seconds + second.seconds, max(first.peak_mb, second.peak_mb), note)


def _optimizer(parameters: Sequence[Tensor], config: dict) -> Adam:
    return Adam(parameters, lr=config["learning_rate"], weight_decay=config["weight_decay"])


def _step(optimizer: Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _gradients(loss: Tensor, model: torch.nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, (model.user_embedding.weight, model.item_embedding.weight))
