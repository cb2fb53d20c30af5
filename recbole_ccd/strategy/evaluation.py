"""How good a model is after a block: on the parts of all so far, for who is new, and on the next block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor, nn
from torch.nn.functional import normalize

from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.evaluation.sampling import Measurement
from recbole_ccd.model.scoring import factors
from recbole_ccd.model.teacher import ordering_scorer
from recbole_ccd.ranking.tiles import InnerProducts, is_large
from recbole_ccd.ranking.topk import ScoreFn
from recbole_ccd.utils.parallel.workers import Workers, nothing
from recbole_ccd.utils.seeding import numpy_generator, seed_stage

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.block import Block
    from recbole_ccd.data.dataloader import BlockEvalDataLoader
    from recbole_ccd.data.stream import BlockStream

# coordinates of a random direction
_DIRECTIONS = 16


def measure(
    config: CCDConfig,
    model: GeneralRecommender,
    role: str,
    stream: BlockStream,
    now: Block,
    workers: Workers | None = None,
    waiting: Callable[[], None] = nothing,
) -> dict[str, Measurement]:
    """Metrics of a model on the measured part of every block so far, and of new users and new items.

    Args:
        config: the run's configuration.
        model: the model.
        role: what it is, for bars.
        stream: the blocks.
        now: the last block that the model has learned.
        workers: who ranks; None for this process.
        waiting: called now and then while workers are at it.

    Returns:
        Metrics by ``block 0`` …, ``new users`` and ``new items``; the last two only where there are any.
    """
    loaders = {f"block {j}": stream[j].measured_loader(config, known_at=now) for j in range(now.index + 1)}
    whole = loaders[f"block {now.index}"]
    if whole is not None:
        new = partial(now.measured_loader, config, history=whole.history)
        loaders["new users"] = new(users_from=now.n_old_users)
        loaders["new items"] = new(items_from=now.n_old_items)
    parts = {name: loader for name, loader in loaders.items() if loader is not None}
    return FullSortEvaluator(config, ordering_scorer).evaluate_parts(
        model,
        parts,
        f"block {now.index} of {len(stream) - 1}, {role}",
        config["show_progress"],
        train_data=now.train,
        workers=workers,
        waiting=waiting,
    )


def measure_next(
    config: CCDConfig,
    model: GeneralRecommender,
    role: str,
    block: Block,
    loader: BlockEvalDataLoader,
    workers: Workers | None = None,
    waiting: Callable[[], None] = nothing,
) -> Measurement:
    """Metrics of a model on a block that it has not learned.

    Args:
        config: the run's configuration.
        model: a model of the block before.
        role: what it is, for bars.
        block: the block that has arrived.
        loader: its ``next_loader``.
        workers: as of :func:`measure`.
        waiting: as of :func:`measure`.
    """
    before, name = block.before, f"block {block.index}"
    label = f"block {before.index} {role}"
    return FullSortEvaluator(config, ordering_scorer).evaluate_parts(
        model,
        {name: loader},
        label,
        config["show_progress"],
        train_data=before.train,
        workers=workers,
        waiting=waiting,
    )[name]


def measure_random(config: CCDConfig, block: Block, loader: BlockEvalDataLoader) -> Measurement:
    """The same of a random order of all items, which is what a model knows that has learned nothing.

    Args:
        config: the run's configuration, whose seed decides the order.
        block: the block that has arrived.
        loader: its ``next_loader``.
    """
    draw = numpy_generator(config["seed"], "random ranking", block.index)
    score, name = random_order(draw, block.before, config["device"]), f"block {block.index}"
    return FullSortEvaluator(config, lambda _: score).evaluate_parts(
        nn.Identity(), {name: loader}, "a random ranking", train_data=block.before.train
    )[name]


def random_order(draw: np.random.Generator, block: Block, device: torch.device) -> ScoreFn:
    """Scores that put the known items in a random order for each user.

    Of a large catalogue they are inner products of random directions, which are cheaper than a number for
    each pair: for one user they are independent of one another, so that any order is as likely; of any item
    the place is as likely to be high for one user as for another.

    Args:
        draw: where the numbers come from.
        block: the block that tells who is known.
        device: where scores are wanted.
    """
    n_users, n_items = block.n_users, block.n_items
    if is_large(n_items, device):
        vectors = (draw.standard_normal((n, _DIRECTIONS), dtype=np.float32) for n in (n_users, n_items))
        users, items = (normalize(torch.from_numpy(rows)) for rows in vectors)
        return InnerProducts(users, items)

    # one stream of numbers, however many users a batch holds
    def score(users: Tensor) -> Tensor:
        return torch.from_numpy(draw.random((len(users), n_items), dtype=np.float32)).to(users.device)

    return score


def seed_evaluation(config: CCDConfig, block: Block, role: str) -> None:
    """Seeds what a few models draw when they score: what is served must be what was measured."""
    seed_stage(config["seed"], config["reproducibility"], "evaluation", block.index, role)


@torch.no_grad()
def final_vectors(
    config: CCDConfig, student: GeneralRecommender, block: Block
) -> tuple[Tensor, Tensor] | None:
    """Final embeddings of users and items whose inner product is the student's score, if there are such."""
    seed_evaluation(config, block, "student")
    return factors(student)
