"""What a search has found: trials.json, format 1, and the best trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.evaluation.sampling import with_error
from recbole_ccd.evaluation.seeds import Spread, spread_of
from recbole_ccd.experiment.search.space import Values, nested

FORMAT = 1
OBJECTIVE = "H"
QUANTITIES = (OBJECTIVE, "LA", "RA")


@dataclass(frozen=True)
class TrialOutcome:
    """What came of a trial.

    Attributes:
        number: of the trial.
        folder: its folder, from the search's.
        values: of the searched keys.
        measured: by ``H``, ``LA`` and ``RA`` the value of each seed: of the student, in the primary metric,
            after the last block, on the valid parts. Empty where the trial has failed or not been made.
        error: why it failed.
        standard_errors: of ``measured``, where users were drawn; empty where all were measured.
    """

    number: int
    folder: str
    values: Values
    measured: Mapping[str, Sequence[float | None]]
    error: str | None = None
    standard_errors: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    @classmethod
    def of_runs(cls, number: int, folder: str, values: Values, runs: Comparison) -> TrialOutcome:
        """The outcome of a trial whose runs, one per seed, are finished."""
        (label,), metric = runs.labels, runs.primary_metric
        measured = {name: runs.values("student", metric, label, name)[-1] for name in QUANTITIES}
        if runs.eval_users is None:
            return cls(number, folder, values, measured)
        errors = {name: runs.errors("student", metric, label, name)[-1] for name in QUANTITIES}
        return cls(number, folder, values, measured, standard_errors=errors)

    @property
    def status(self) -> str:
        """``finished``, ``failed`` or ``waiting``."""
        if self.measured:
            return "finished"
        return "waiting" if self.error is None else "failed"

    @property
    def problem(self) -> str | None:
        """Why it failed, without the remedy, which is of a single run."""
        return None if self.error is None else self.error.partition(";")[0]

    def spread(self, quantity: str) -> Spread:
        """Mean, deviation and standard error over seeds of ``H``, ``LA`` or ``RA``."""
        if not self.measured:
            return Spread(None, None)
        return spread_of(self.measured[quantity], self.standard_errors.get(quantity, (None,)))

    def to_dict(self) -> dict[str, Any]:
        """Its entry in trials.json."""
        parts = ("mean", "std", *(["error"] if self.standard_errors else []))
        found = {
            name: {part: getattr(self.spread(name), part) for part in parts} | {"seeds": list(values)}
            for name, values in self.measured.items()
        }
        return {
            "trial": self.number,
            "folder": self.folder,
            "values": self.values,
            "status": self.status,
            "error": self.error,
            **{name: found.get(name) for name in QUANTITIES},
        }


@dataclass(frozen=True)
class SearchResult:
    """All trials of a search, and which is best.

    Attributes:
        head: ``dataset``, ``model``, ``strategy``, ``seeds`` and ``primary_metric``, and ``eval_users`` where
            users were drawn.
        algorithm: ``exhaustive`` or ``random``.
        space: name, kind and values of each key that is searched, in the order of the file.
        trials: in order; those that have not been made are waiting.
    """

    head: Mapping[str, Any]
    algorithm: str
    space: Sequence[Mapping[str, Any]]
    trials: Sequence[TrialOutcome]

    @property
    def best(self) -> TrialOutcome | None:
        """The trial with the highest mean H, of equal ones the first; None before one is finished."""
        finished = [trial for trial in self.trials if trial.measured]

        def objective(trial: TrialOutcome) -> float:
            mean = trial.spread(OBJECTIVE).mean
            return -math.inf if mean is None else mean

        return max(finished, key=objective, default=None)

    @property
    def names(self) -> list[str]:
        """The keys that are searched."""
        return [str(dimension["name"]) for dimension in self.space]

    def best_settings(self) -> str:
        """The best trial as a property file that holds the searched keys alone."""
        best = self.best
        if best is None:
            return ""
        H = best.spread(OBJECTIVE)
        shown = with_error(H.mean, H.error, ".6f") if H.error is not None else f"{H.mean:.6f}"
        found = f"H of {self.head['primary_metric']} is {shown} on the valid parts"
        # keys in the order of the file; those of a dictionary have none
        lines = [yaml.safe_dump({key: v}, allow_unicode=True) for key, v in nested(best.values).items()]
        return f"# trial {best.number}, the best of {len(self.trials)}: {found}\n{''.join(lines)}"

    def to_dict(self) -> dict[str, Any]:
        """The document of trials.json, format 1, in plain values.

        ::

            {"format": 1, "dataset": ..., "model": ..., "strategy": ..., "seeds": [...],
             "primary_metric": "recall@20", "eval_part": "valid", "objective": "H",
             "algorithm": "exhaustive", "space": [{"name": ..., "kind": ..., "values": as in the file}],
             "best": number or null,
             "trials": [{"trial": 0, "folder": "trial-000", "values": {key: value},
                         "status": "finished|failed|waiting", "error": null or why it failed,
                         "H": {"mean": x, "std": x or null, "seeds": [of each seed]}, "LA": ..., "RA": ...}]}

        H, LA and RA are of the student after the last block, and null where a trial is not finished. Where
        users were drawn, ``eval_users`` says how many, and ``error`` stands beside each ``mean`` and ``std``.
        """
        best = self.best
        return {
            "format": FORMAT,
            **self.head,
            "eval_part": "valid",
            "objective": OBJECTIVE,
            "algorithm": self.algorithm,
            "space": [dict(dimension) for dimension in self.space],
            "best": None if best is None else best.number,
            "trials": [trial.to_dict() for trial in self.trials],
        }
