"""Repairs of RecBole 1.2.1, each for one confirmed fault; nothing here patches a global."""

from __future__ import annotations

import os
from types import FunctionType
from typing import Any

from recbole.model.abstract_recommender import GeneralRecommender
from recbole.trainer import Trainer
from torch.utils.tensorboard import SummaryWriter

from recbole_ccd.folder import OwnFolder


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
# trainer and every process there, and makes checkpoint_dir. Two names of its module decide about that.
_construct = _with_other_names(Trainer.__init__, get_tensorboard=_no_curves_yet, ensure_dir=_no_folder)


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
        RunError: what should be a folder of the run leads elsewhere.
    """
    # one that was moved away is not made again
    if run_dir is None or not os.path.isdir(run_dir):
        return SilentWriter()
    return SummaryWriter(str(OwnFolder(run_dir).folder(f"tensorboard/{label.replace(' ', '-')}")))
