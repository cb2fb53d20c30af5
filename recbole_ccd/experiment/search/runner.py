"""A search, trial by trial: checked, followed, and written down."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_ccd.checkpoint import CheckpointManager, Manifest, RunDirectory
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.manifest import FINISHED
from recbole_ccd.config import CCDConfig, GridRun
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.experiment.comparison import MakeStream, begin_comparison, run_variant, write_comparison
from recbole_ccd.experiment.run import finished_result, strategy_in, strategy_of
from recbole_ccd.experiment.search.outcome import OBJECTIVE, SearchResult, TrialOutcome
from recbole_ccd.experiment.search.plan import Trial, bases_are_shared, measures_h
from recbole_ccd.experiment.search.tables import search_csv, search_markdown, search_table, shown_mean
from recbole_ccd.report.log import RunLog
from recbole_ccd.strategy import BaseModels
from recbole_ccd.utils.errors import CCDError, DataError, RunError, TrainingError
from recbole_ccd.utils.resource_errors import translate_resource_errors
from recbole_ccd.utils.signals import resumable

if TYPE_CHECKING:
    from recbole_ccd.utils.signals import InterruptHandler

BEST, TRIALS = "best.yaml", "trials.json"
_LOG = "tune.log"


@dataclass
class Search:
    """A search in its folder, which is this process's while it is followed.

    Attributes:
        top: the folder.
        manifest: its manifest.
        trials: all trials, in order.
        make_stream: loads the data of a configuration and cuts them.
        stop: who may want the search to end early; None for nobody.
        outcomes: of the trials that have been made, by number.
    """

    top: Path
    manifest: Manifest
    trials: Sequence[Trial]
    make_stream: MakeStream
    stop: InterruptHandler | None = None
    outcomes: dict[int, TrialOutcome] = field(default_factory=dict)
    _stream: BlockStream | None = None

    def __post_init__(self) -> None:
        """Holds on to the folder as it is now."""
        self._store = FileStore(self.top)

    @property
    def waiting(self) -> list[Trial]:
        """The trials that have not been made."""
        return [trial for trial in self.trials if trial.number not in self.outcomes]

    @property
    def result(self) -> SearchResult:
        """What has been found so far."""
        runs = self.trials[0].runs
        config, settings = runs[0].config, self.manifest.settings
        head = {key: config[key] for key in ("dataset", "model", "strategy")}
        head |= {"seeds": [run.config["seed"] for run in runs], "primary_metric": config.primary_metric}
        if config["eval_users"] is not None:
            head["eval_users"] = config["eval_users"]
        outcomes = [
            self.outcomes.get(trial.number) or TrialOutcome(trial.number, trial.folder, trial.values, {})
            for trial in self.trials
        ]
        return SearchResult(head, settings["algorithm"], settings["space"], outcomes)

    def check(self) -> dict[str, Any]:
        """Checks the trials that wait: all with the first seed, and one of them with each of the others.

        Returns:
            By seed, what tells the data apart.

        Raises:
            CCDError: one of them cannot work; the message names the trial and its values.
        """
        data, waiting = {}, self.waiting
        # the first seed last, whose stream is wanted first
        for place, run in reversed(list(enumerate(waiting[0].runs))):
            stream = self._stream_of(run.config)
            data[str(run.config["seed"])] = stream.fingerprint
            if not measures_h(run.config, len(stream)):
                raise DataError(
                    f"{run.config['dataset']}: H-mean, which a search looks at, needs more blocks than "
                    f"{len(stream)}; cut the stream into more (block_ratios, block_boundaries)"
                )
            for trial in waiting[:1] if place else waiting:
                try:
                    strategy_of(trial.runs[place].config).check(stream)
                except CCDError as error:
                    raise type(error)(f"{trial}: {error}") from error
        return data

    def read_outcomes(self) -> None:
        """Finds the trials that earlier processes have made."""
        for trial, entry in zip(self.trials, self.manifest.runs, strict=True):
            if entry["failed"] is not None:
                self._failed(trial, str(entry["failed"]))
                continue
            results = (finished_result(self.top / trial.folder_of(run), run.config) for run in trial.runs)
            found = [result for result in results if result is not None]
            if len(found) == len(trial.runs):
                self._finished(trial, found)

    def run_trials(self) -> SearchResult:
        """Makes the trials that wait, one after the other, and writes down what has been found after each.

        Raises:
            RunError: the machine has no room left, or no trial could be finished.
            Stopped: somebody wanted it to end; the folder to go on with is told.
        """
        with resumable(self.top), translate_resource_errors(self.top, lambda: "the search"):
            waiting = self.waiting
            for trial in waiting:
                self._store.check()
                self._note(f"trial {trial.number} of 0..{len(self.trials) - 1}: {trial.words}")
                self._make(trial)
                # models hold each other in circles, which are not freed when the last name goes
                gc.collect()
                self._leave()
            if not waiting:
                self._leave()
            for folder in self.top.glob("base-*"):
                shutil.rmtree(folder, ignore_errors=True)
            self.manifest.status = FINISHED
            self._store.write(self.manifest)
            self._tell_end()
        return self.result

    def _make(self, trial: Trial) -> None:
        folder, several = self.top / trial.folder, len(trial.runs) > 1
        manifest = None
        if several:
            # a trial of several seeds can be looked at, and resumed, as the comparison that it is
            manifest = begin_comparison(trial.runs, folder, self.manifest.data)
        try:
            results = [self._run(trial, run) for run in trial.runs]
        except TrainingError as error:
            self._note(f"{trial} failed: {error}")
            self._failed(trial, str(error))
            self.manifest.runs[trial.number]["failed"] = str(error)
            self._store.write(self.manifest)
            return
        comparison = self._finished(trial, results)
        if manifest is not None:
            write_comparison(comparison, folder, trial.runs[0].config["write_report"], manifest.sessions)
            manifest.status = FINISHED
            FileStore(folder).write(manifest)

    def _run(self, trial: Trial, run: GridRun) -> StreamResult:
        """A trial with one seed: read, resumed, or begun."""
        folder = self.top / trial.folder_of(run)
        found = finished_result(folder, run.config)
        if found is not None:
            return found
        stream = self._stream_of(run.config)
        strategy = strategy_in(folder, run.config, self._bases_of(run.config, stream))
        strategy.check(stream)
        return run_variant(strategy, stream, self.stop)

    def _bases_of(self, config: CCDConfig, stream: BlockStream) -> BaseModels | None:
        """Models of the base block, where they are the same for all trials with the seed."""
        if not bases_are_shared(self.result.names):
            return None
        return BaseModels(
            checkpoints=CheckpointManager.of_base_models(self.top / f"base-{config['seed']}", stream)
        )

    def _stream_of(self, config: CCDConfig) -> BlockStream:
        """The stream of a seed: no key that can be searched has a say in it. One is held at a time."""
        if self._stream is None or self._stream.config["seed"] != config["seed"]:
            self._stream = None
            self._stream = self.make_stream(config)
        return self._stream

    def _finished(self, trial: Trial, results: Sequence[StreamResult]) -> Comparison:
        comparison = Comparison({trial.runs[0].label: results})
        outcome = TrialOutcome.of_runs(trial.number, trial.folder, trial.values, comparison)
        self.outcomes[trial.number] = outcome
        return comparison

    def _failed(self, trial: Trial, message: str) -> None:
        self.outcomes[trial.number] = TrialOutcome(trial.number, trial.folder, trial.values, {}, message)

    def _leave(self) -> None:
        """Shows and writes down what has been found so far."""
        self._store.check()
        result, directory = self.result, RunDirectory(self.top)
        self._note(f"\n{search_table(result)}")
        directory.write_json(TRIALS, result.to_dict())
        directory.write_text("trials.csv", search_csv(result))
        directory.write_text("trials.md", search_markdown(result))
        if result.best is not None:
            directory.write_text(BEST, result.best_settings())

    def _tell_end(self) -> None:
        result = self.result
        if result.best is None:
            raise RunError(
                f"none of {len(self.trials)} trials could be finished (the first one: "
                f"{self.outcomes[0].problem}; all of them in {self.top / TRIALS}); search elsewhere"
            )
        best = self.trials[result.best.number]
        H = result.best.spread(OBJECTIVE)
        self._note(f"the best is {best}, with H {shown_mean(H)}")
        self._note(f"its settings: --config_files={self.top / BEST}")
        self._note(f"search: {self.top / TRIALS}, trials.csv, trials.md and {BEST}")

    def _note(self, message: str) -> None:
        """Logs a line about the whole, to the console and to ``tune.log``."""
        config = self.trials[0].runs[0].config
        with RunLog(self.top / _LOG, config["state"], config["show_epochs"]):
            getLogger("recbole_ccd").info(message)
