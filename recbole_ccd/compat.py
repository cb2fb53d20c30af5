"""Repairs of RecBole 1.2.1, each for one confirmed fault; nothing here patches a global."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recbole.trainer import Trainer
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
