"""What is left to a block's size: batches, epochs, validations, rates and weight decay."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from recbole_ccd.data.block import Block, learns_from_rows, reads_graph

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

AUTO = "auto"
BY_BATCH = "by_batch"
BY_SIZE = "by_size"
_AUTOMATIC = ("train_batch_size", "eval_step", "epochs", "learning_rate", "weight_decay")
# What decides how much is learned is the number of optimizer steps, whatever the size of a block.
STEPS_PER_EPOCH = 20
STEPS_PER_VALIDATION = 100
VALIDATIONS = 20
# for a stage whose rate is ``auto`` and that has no validation part to choose it on
FALLBACK_RATE = 0.005
# the rate that ``by_batch`` scales, and the size of batch that it was found with
REFERENCE_RATE, REFERENCE_BATCH = 0.005, 2048
# of models in which every row has a gradient in every step; in others idle rows would fade, as Adam's steps
# for a decay alone are of full size
GRAPH_WEIGHT_DECAY = 1e-6
# the decay of ``by_size`` times the terms of the loss
DECAY_OF_ALL = 0.3
SMALLEST_BATCH, LARGEST_BATCH = 32, 8192


def batch_size_for(n_rows: int) -> int:
    """The power of two with which an epoch has about :data:`STEPS_PER_EPOCH` steps.

    Args:
        n_rows: what an epoch visits: interactions, or the users of a model that learns from whole rows.

    Returns:
        From :data:`SMALLEST_BATCH` to :data:`LARGEST_BATCH`: more rows than that make more steps.
    """
    wanted = max(n_rows, 1) / STEPS_PER_EPOCH
    return min(max(2 ** round(math.log2(max(wanted, 1))), SMALLEST_BATCH), LARGEST_BATCH)


def rate_for(batch_size: int) -> float:
    """The learning rate of ``by_batch``: Adam's grows with the square root of the batch.

    Malladi et al., *On the SDEs and Scaling Rules for Adaptive Gradient Algorithms*, NeurIPS 2022: of an
    adaptive optimizer two batch sizes take the same way if its rate is scaled by the root of their ratio.

    Args:
        batch_size: interactions or users per step.
    """
    return REFERENCE_RATE * math.sqrt(batch_size / REFERENCE_BATCH)


def weight_decay_for(n_terms: int) -> float:
    """The weight decay of ``by_size``: 0.3, divided by what the loss is a mean over.

    A Gaussian prior adds a decay to the *sum* of the terms that does not depend on how many there are
    (Salakhutdinov & Mnih, *Probabilistic Matrix Factorization*, NeurIPS 2007), so that beside their mean it
    falls with their number. What 0.3 was found on is in results/weight-decay.md.

    Args:
        n_terms: train interactions of all blocks so far, or users of these for models that learn from whole
            rows.
    """
    return DECAY_OF_ALL / max(n_terms, 1)


def steps_of(n_rows: int, batch_size: int) -> int:
    """Optimizer steps of an epoch over so many rows."""
    return max(math.ceil(n_rows / batch_size), 1)


def rows_to_visit(config: CCDConfig, block: Block, everybody: bool = False) -> int:
    """What an epoch visits: the train interactions, or the users of a model that learns from whole rows.

    Args:
        config: the model's configuration.
        block: the block to learn.
        everybody: whether such a model visits all known users, and not those of the block alone.
    """
    if learns_from_rows(config):
        return block.n_users - 1 if everybody else _n_users(block.train_matrix)
    return len(block.train)


def _terms_so_far(config: CCDConfig, block: Block) -> int:
    """As :func:`rows_to_visit`, of all blocks up to this one."""
    if learns_from_rows(config):
        return _n_users(block.train_so_far)
    return block.n_train_so_far


def _n_users(interactions: csr_matrix) -> int:
    return int(np.count_nonzero(interactions.getnnz(axis=1)))


def scheduled(config: CCDConfig, block: Block, everybody: bool = False) -> CCDConfig:
    """A stage's settings with numbers in the place of ``auto``, ``by_batch`` and ``by_size``.

    ``train_batch_size`` makes about 20 steps an epoch, ``eval_step`` about 100 between two validations, and
    ``epochs`` is at most 20 validations. So a block of a thousand interactions and one of a million are
    learned by as many steps; where batches cannot grow further, validations come after each epoch.
    ``learning_rate: by_batch`` is :func:`rate_for` the size of batch.
    ``weight_decay: by_size`` is :func:`weight_decay_for` what there is so far, and ``auto``
    :data:`GRAPH_WEIGHT_DECAY` for models that propagate over all interactions so far, and 0 for others.

    Args:
        config: the stage's settings.
        block: the block to learn.
        everybody: as of :func:`rows_to_visit`.

    Returns:
        A copy, or ``config`` itself where nothing is left to the block's size.
    """
    if not {AUTO, BY_BATCH, BY_SIZE} & {config[key] for key in _AUTOMATIC}:
        return config
    rows, own = rows_to_visit(config, block, everybody), copy.deepcopy(config)
    values = own.final_config_dict
    if values["train_batch_size"] == AUTO:
        values["train_batch_size"] = batch_size_for(rows)
    steps = steps_of(rows, values["train_batch_size"])
    if values["eval_step"] == AUTO:
        values["eval_step"] = max(round(STEPS_PER_VALIDATION / steps), 1)
    if values["epochs"] == AUTO:
        values["epochs"] = VALIDATIONS * values["eval_step"]
    if values["learning_rate"] == BY_BATCH:
        values["learning_rate"] = rate_for(values["train_batch_size"])
    elif values["learning_rate"] == AUTO:
        values["learning_rate"] = FALLBACK_RATE
    if values["weight_decay"] == BY_SIZE:
        values["weight_decay"] = weight_decay_for(_terms_so_far(config, block))
    elif values["weight_decay"] == AUTO:
        fades = config["graph"] == "block" or not reads_graph(config.model_class)
        values["weight_decay"] = 0.0 if fades else GRAPH_WEIGHT_DECAY
    return own
