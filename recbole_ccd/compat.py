"""Repairs of RecBole 1.2.1, each for one confirmed fault; nothing here patches a global."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.evaluator import Collector, Evaluator
from recbole.evaluator.metrics import GAUC, ShannonEntropy
from recbole.trainer import Trainer
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from recbole_ccd.errors import RunError

# an event file that holds nothing but its header is smaller than this
_HEADER_BYTES = 200


class SilentWriter:
    """Stands for a TensorBoard writer where nothing is to be written."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drops a point of a curve."""

    def add_hparams(self, *args: Any, **kwargs: Any) -> None:
        """Drops the hyper-parameters."""

    def close(self) -> None:
        """Does nothing."""


def relocate_tensorboard(trainer: Trainer, directory: str | os.PathLike | None) -> None:
    """Gives a trainer a TensorBoard writer of its own.

    ``Trainer.__init__`` opens ``log_tensorboard/<log name>`` in the working folder, the same one for
    every trainer of a process, so that the curves of several stages overlay each other.

    Args:
        trainer: a trainer just constructed.
        directory: where its events go; None for nowhere.
    """
    stray = Path(trainer.tensorboard.log_dir)
    trainer.tensorboard.close()
    for file in stray.glob(f"events.out.tfevents.*.{os.getpid()}.*"):
        if file.stat().st_size < _HEADER_BYTES:
            file.unlink()
    for folder in (stray, stray.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    trainer.tensorboard = SilentWriter() if directory is None else SummaryWriter(str(directory))


def check_working_folder() -> None:
    """Refuses a working folder where ``Trainer.__init__`` could not open its ``log_tensorboard``.

    Raises:
        RunError: the folder, or what has that name in it, cannot be written to.
    """
    stray = Path("log_tensorboard")
    wanted = stray if os.path.lexists(stray) else Path()
    if not (wanted.is_dir() and os.access(wanted, os.W_OK | os.X_OK)):
        raise RunError(
            f"{wanted.absolute()} is no folder that can be written to, and RecBole's trainers open {stray} "
            "in the working folder; move it away or start elsewhere"
        )


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
