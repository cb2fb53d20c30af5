"""Repairs of RecBole 1.2.1, each for one confirmed fault; nothing here patches a global."""

from __future__ import annotations

import os
from types import FunctionType
from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.metrics import GAUC, ShannonEntropy
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.trainer import Trainer
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.owned_folder import OwnedFolder


class SilentLogger:
    """Stands for RecBole's ``WandbLogger`` until a stage is given one of its own."""

    def __init__(self, config: Any) -> None:
        """Begins nothing.

        Args:
            config: the configuration.
        """

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Drops what a trainer logs."""

    def log_eval_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Drops what an evaluation logs."""


class SilentWriter:
    """Stands for a TensorBoard writer where nothing is to be written."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drops a point of a curve."""

    def add_hparams(self, *args: Any, **kwargs: Any) -> None:
        """Drops the hyper-parameters."""

    def close(self) -> None:
        """Does nothing."""


def _no_curves_yet(logger: Any) -> SilentWriter:
    return SilentWriter()


def _no_folder(path: str) -> None:
    """Best weights are held in memory, so that there is nothing to keep there."""


def _with_other_names(function: FunctionType, **names: Any) -> FunctionType:
    """A function of the same code for which some global names stand for something else."""
    same = (function.__name__, function.__defaults__, function.__closure__)
    return FunctionType(function.__code__, {**function.__globals__, **names}, *same)


# RecBole's own constructor opens log_tensorboard/<log name> in the working folder, the same one for every
# trainer and every process there, and makes checkpoint_dir; with log_wandb it begins a run of Weights &
# Biases. Three names of its module decide about that.
_construct = _with_other_names(
    Trainer.__init__, get_tensorboard=_no_curves_yet, ensure_dir=_no_folder, WandbLogger=SilentLogger
)


class ContainedTrainer(Trainer):
    """A RecBole trainer whose construction leaves the working folder alone."""

    def __init__(self, config: Any, model: GeneralRecommender) -> None:
        """A trainer that writes no curves until it is given a writer.

        Args:
            config: the configuration.
            model: the model to train.
        """
        _construct(self, config, model)


def curves_in(run_dir: str | os.PathLike[str] | None, label: str) -> SummaryWriter | SilentWriter:
    """A TensorBoard writer for one stage of a run; curves of several stages do not overlay each other.

    Args:
        run_dir: the run directory; where there is none, nothing is written.
        label: the stage's name.

    Raises:
        RunError: If what should be a folder of the run leads elsewhere.
    """
    # one that was moved away is not made again
    if run_dir is None or not os.path.isdir(run_dir):
        return SilentWriter()
    return SummaryWriter(str(OwnedFolder(run_dir).folder(f"tensorboard/{label.replace(' ', '-')}")))


class CandidateCollector(Collector):
    """RecBole's collector, for lists of candidates alone.

    Where fewer candidates are left than a list is long, ``Collector`` fills it with masked items: one of them
    that is wanted is a hit there, ranks among the candidates in GAUC, and counts as recommended.
    """

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Collects a batch; masked positives are wanted and never hit, masked places of lists hold [PAD].

        Args:
            scores_tensor: scores of users × items, -inf where masked.
            interaction: the users.
            positive_u: rows of the positives.
            positive_i: their items.
        """
        open_to = scores_tensor[positive_u, positive_i] > -torch.inf
        super().eval_batch_collect(scores_tensor, interaction, positive_u[open_to], positive_i[open_to])
        batch, struct = slice(-len(scores_tensor), None), self.data_struct
        if "rec.topk" in struct:
            missed = torch.bincount(positive_u[~open_to], minlength=len(scores_tensor))
            struct["rec.topk"][batch, -1] += missed.to(struct["rec.topk"])
        if "rec.items" in struct:
            items = struct["rec.items"][batch]
            items[scores_tensor.gather(1, items) == -torch.inf] = 0


class _RoundedGAUC(GAUC):
    """``GAUC`` computes in float32, whose two decimals are 0.5199999809; of nobody it makes NaN."""

    def metric_info(
        self, pos_rank_sum: np.ndarray, user_len_list: np.ndarray, pos_len_list: np.ndarray
    ) -> float:
        parts = [part.astype(np.float64) for part in (pos_rank_sum, user_len_list, pos_len_list)]
        _, candidates, positives = parts
        if not np.any((positives > 0) & (candidates > positives)):
            raise RunError(
                "GAUC is of users with candidates both wanted and not, and there is none; leave it out of "
                "metrics"
            )
        return float(super().metric_info(*parts))


class _WholeEntropy(ShannonEntropy):
    """``ShannonEntropy`` divides the entropy by the number of distinct items."""

    def get_entropy(self, item_matrix: np.ndarray) -> float:
        counts = np.unique(item_matrix[item_matrix > 0], return_counts=True)[1]
        shares = counts / max(counts.sum(), 1)
        return float(-np.sum(shares * np.log(shares)))


_REPAIRED = {"gauc": _RoundedGAUC, "shannonentropy": _WholeEntropy}


def repaired_evaluator(config: Any) -> Evaluator:
    """RecBole's evaluator, with metrics of its own definitions in the place of those that miss them.

    Args:
        config: a RecBole Config.
    """
    evaluator = Evaluator(config)
    for name in evaluator.metric_class.keys() & _REPAIRED.keys():
        evaluator.metric_class[name] = _REPAIRED[name](config)
    return evaluator
