"""Weights & Biases (``log_wandb``): one run there for each run here, with one running step for all of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_ccd.utils.errors import RunError, one_line

if TYPE_CHECKING:
    from recbole_ccd.checkpoint import RunDirectory
    from recbole_ccd.config import CCDConfig

_ID = "wandb-id.txt"
# RecBole's counters of epochs and validations, which begin anew in every stage
_STEP = "_step"


@contextmanager
def wandb_run(config: CCDConfig, directory: RunDirectory) -> Iterator[None]:
    """A run of Weights & Biases around one of ours; nothing without ``log_wandb``.

    The one that is under way in this process, where there is one, is taken, and not finished. Ours has the
    name of the run directory; a run that is gone on with goes on there too.

    Args:
        config: the run's configuration.
        directory: its run directory, which is there; Weights & Biases keeps its files in it.

    Raises:
        RunError: If it cannot be begun, as without an account.
    """
    if not config["log_wandb"]:
        yield
        return
    wandb: Any = import_module("wandb")
    if wandb.run is not None:
        yield
        return
    known, fresh = _id_of(directory), uuid.uuid4().hex
    try:
        wandb.init(
            project=config["wandb_project"],
            config=config.to_dict(),
            dir=str(directory.path),
            name=directory.path.name,
            id=known or fresh,
            resume="allow",
        )
    except Exception as error:  # whatever the network, an account or the package itself raise
        reason = one_line(f"{type(error).__name__}: {error}")
        raise RunError(
            f"log_wandb: Weights & Biases cannot begin a run ({reason}); run 'wandb login', set "
            "WANDB_MODE=offline, or set log_wandb to False"
        ) from error
    try:
        if known is None:
            directory.write_text(_ID, f"{fresh}\n")
        yield
    except BaseException:
        wandb.finish(exit_code=1)
        raise
    wandb.finish()


def _id_of(directory: RunDirectory) -> str | None:
    """The run's id there, kept in its directory; None of a run that begins."""
    path = directory.path / _ID
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def log_to_wandb(config: CCDConfig, values: Mapping[str, float]) -> None:
    """Logs values at the next step of the run that is under way; nothing without ``log_wandb``.

    The step is the run's own, which counts on from stage to stage and from block to block.

    Args:
        config: the run's configuration.
        values: numbers by name.
    """
    if config["log_wandb"]:
        run = import_module("wandb").run
        if run is not None:
            run.log(dict(values))


class StageCurves:
    """Takes the place of RecBole's ``WandbLogger`` in the trainer of a stage.

    RecBole's counts epochs, which begin anew in every stage: curves would overlay each other.
    """

    def __init__(self, config: CCDConfig, label: str = "training", block: int = 0) -> None:
        """Curves of one stage.

        Args:
            config: the stage's configuration.
            label: the stage's name, as logs have it.
            block: the block learned.
        """
        self._config, self._block = config, block
        name = label.removeprefix(f"block {block} ")
        self._name = re.sub(r"\W+", "_", name).strip("_")

    def log_metrics(self, metrics: Mapping[str, Any], head: str = "train", commit: bool = True) -> None:
        """Logs what RecBole's trainer hands over after an epoch or a validation.

        Args:
            metrics: numbers by name; a loss in several parts is their sum.
            head: ``train`` or ``valid``.
            commit: has no effect, as each call is a step.
        """
        named = {
            f"{self._name}/{head}/{key}": float(sum(value) if isinstance(value, tuple) else value)
            for key, value in metrics.items()
            if not key.endswith(_STEP)
        }
        log_to_wandb(self._config, {"block": self._block, **named})

    def log_eval_metrics(self, metrics: Mapping[str, Any], head: str = "eval") -> None:
        """Does nothing: what a stage is evaluated on is its validation, which is logged by then."""
