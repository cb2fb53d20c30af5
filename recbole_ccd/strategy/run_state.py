"""What a strategy, its loop and its stages share of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recbole_ccd.checkpoint import CheckpointManager, RunDirectory
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.evaluation.result import StreamResult
    from recbole_ccd.utils.parallel import Workers
    from recbole_ccd.utils.signals import InterruptHandler


@dataclass
class RunState:
    """Where a run is at, and what it has at hand.

    Attributes:
        config: the run's configuration.
        workers: who does what can be done at the same time.
        run_directory: where results go, made before the stream is run; None keeps them in memory.
        checkpoints: where is kept what is finished; made from the run directory unless set.
        stop: who may want the run to end early; None for nobody.
        doing: what the run is at, in words.
        result: what has been measured and recorded so far; there is none before the stream is run.
    """

    config: CCDConfig
    workers: Workers
    run_directory: RunDirectory | None = None
    checkpoints: CheckpointManager | None = None
    stop: InterruptHandler | None = None
    doing: str = "at the start"
    result: StreamResult = field(init=False)

    @property
    def directory(self) -> RunDirectory:
        """The :attr:`run_directory` of a run that has one.

        Raises:
            ValueError: its results are kept in memory.
        """
        if self.run_directory is None:
            raise ValueError("the strategy was made without a run directory")
        return self.run_directory

    def stop_if_asked(self) -> None:
        """Ends the run where somebody wants it to end."""
        if self.stop is not None:
            self.stop.now()
