"""Strategies side by side: means and deviations over seeds, who is best, and what CCD gains.

Format 1 of comparison.json that other programs read is described at :meth:`Comparison.to_dict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from recbole_ccd.config.schema import Scope, keys_of
from recbole_ccd.evaluation.result import ROLES, UNSERVED, StreamResult
from recbole_ccd.evaluation.seeds import Gain, Spread, gain_over, spread_of, two_best
from recbole_ccd.evaluation.settings import shared_settings
from recbole_ccd.utils.errors import RunError, one_line

FORMAT = 1
METHOD = "ccd"
COMPETITORS = frozenset(
    ("fine_tune", "lwc_kd", "piw", "graphsail", "ewc", "pisa", "sml", "replay", "distill_each_block")
)
"""Strategies that CCD's gain is measured over: those that learn every block as it arrives.

``static`` and ``distill`` learn nothing after the base block, ``full_batch`` and ``retrain_distill`` train on
the whole past again: they are references that show the room there is, not ways of continual learning."""
RETRAINING = ("retrain_distill", "full_batch")
"""Strategies that quality and time of the others are held against, the first of them that is compared."""

PER_BLOCK = ("H", "LA", "RA", "next")
AT_END = ("BWT", "forgetting", "next_mean", "FWT")
_LOWEST_IS_BEST = ("forgetting",)
_REMEDY = "compare runs over the same blocks"


class Comparison:
    """Runs over the same blocks, by label and seed.

    Args:
        results: finished results, the same seeds for every label. A label is a strategy and what is special
            about its runs; its results differ in the seed alone.

    Attributes:
        labels: the labels, in order.
        seeds: the seeds, in the order in which they occur.
        head: ``dataset`` and ``model``.
        strategies: the strategy by label.
        roles: the roles that some label has, the student first.
        metric_names: the metrics, such as ``recall@20``, the primary one first.
        primary_metric: the metric of early stopping.
        n_blocks: K + 1, the blocks of the stream, base block included.
        eval_part: the part of each block that R was measured on, ``test`` or ``valid``.
        eval_users: how many users of each block it was measured on; None for all.

    Raises:
        RunError: If there is nothing to compare, a label lacks a seed, or the runs do not fit together: not
            the same data, model, blocks, metrics, ``graph``, ``mask_history``, ``valid_blocks`` or
            ``eval_part`` or ``eval_users``. Settings of learning may differ between labels.
    """

    def __init__(self, results: Mapping[str, Iterable[StreamResult]]) -> None:
        self._results = _by_seed({label: list(runs) for label, runs in results.items()})
        self.labels = list(self._results)
        first = self._results[self.labels[0]]
        self.seeds = list(first)
        _check_fit(self._results)
        result = first[self.seeds[0]]
        self.head = {key: result.head[key] for key in ("dataset", "model")}
        self.n_blocks, self.primary_metric = result.n_blocks, result.primary_metric
        self.metric_names = sorted(result.metric_names, key=lambda name: name != self.primary_metric)
        self.include_base, self.include_current = result.include_base, result.include_current
        self.eval_part, self.eval_users = result.eval_part, result.eval_users
        self.strategies = {label: self._result(label).head["strategy"] for label in self.labels}
        self.roles = [role for role in ROLES if self.labels_of(role)]

    def labels_of(self, role: str) -> list[str]:
        """The labels whose runs have the role; strategies without a teacher lack that."""
        return [label for label in self.labels if role in self._result(label).roles]

    def values(self, role: str, metric: str, label: str, quantity: str) -> list[list[float | None]]:
        """A quantity of a label's runs.

        Args:
            role: ``student`` or ``teacher``.
            metric: name of the metric.
            label: the label.
            quantity: ``H``, ``LA``, ``RA`` or ``next``; or ``BWT``, ``forgetting``, ``next_mean`` or ``FWT``,
                each of which is one number for the whole stream.

        Returns:
            One list per block, of ``next`` from block 1 on, or a single one for what is one number; each has
            an entry per seed, in their order.
        """
        runs = self._results[label].values()
        found = [run.summary(role, metric) | run.next_summary(role, metric) for run in runs]
        return _by_block(quantity, found)

    def errors(self, role: str, metric: str, label: str, quantity: str) -> list[list[float | None]]:
        """The standard errors of :meth:`values`; None everywhere where all users were measured."""
        runs = self._results[label].values()
        found = [run.summary_error(role, metric) | run.next_error(role, metric) for run in runs]
        return _by_block(quantity, found)

    def spreads(self, role: str, metric: str, label: str, quantity: str) -> list[Spread]:
        """Mean and deviation of :meth:`values` over seeds, one entry per block or a single one."""
        pair = (values(role, metric, label, quantity) for values in (self.values, self.errors))
        return [spread_of(*of_block) for of_block in zip(*pair, strict=True)]

    def ranking(self, role: str, metric: str, quantity: str) -> list[tuple[list[str], list[str]]]:
        """The best and the second best labels by mean, among all that have the role.

        Args:
            role: ``student`` or ``teacher``.
            metric: name of the metric.
            quantity: as in :meth:`values`; of ``forgetting`` the lowest is best, of the others the highest.

        Returns:
            One pair per entry of :meth:`spreads`: labels of the highest mean and of the next one, more than
            one where they are equal, none where nothing can be told apart.
        """
        lowest = quantity in _LOWEST_IS_BEST
        spreads = {label: self.spreads(role, metric, label, quantity) for label in self.labels_of(role)}
        entries = zip(*spreads.values(), strict=True)
        return [
            two_best({label: one.mean for label, one in zip(spreads, entry, strict=True)}, lowest)
            for entry in entries
        ]

    def gains(self, role: str, metric: str) -> dict[str, list[Gain | None]]:
        """What each label of CCD gains in H over the best competitor, block by block.

        Args:
            role: ``student`` or ``teacher``; competitors without it do not count.
            metric: name of the metric.

        Returns:
            By label of CCD, one entry per block; None where there is no H (block 0) or no competitor.
        """
        H = {label: self.values(role, metric, label, "H") for label in self.labels_of(role)}
        rivals = [label for label in H if self.strategies[label] in COMPETITORS]
        return {
            label: [
                gain_over({rival: H[rival][k] for rival in rivals}, of_block)
                for k, of_block in enumerate(H[label])
            ]
            for label in H
            if self.strategies[label] == METHOD
        }

    def sizes(self, label: str) -> dict[str, dict[str, int]]:
        """Parameters and bytes by role after the last block, mean over seeds (ids known may differ)."""
        runs = list(self._results[label].values())
        return {
            role: {key: round(fmean(run.sizes[role][key] for run in runs)) for key in ("parameters", "bytes")}
            for role in ROLES
            if all(role in run.sizes for run in runs)
        }

    def seconds(self, label: str) -> dict[str, float]:
        """Wall-clock seconds of training, mean over seeds: of the ``base`` block and of all ``updates``.

        Base models that several labels share count for each of them.
        """
        stages = [stage for run in self._results[label].values() for stage in run.stages]
        base = sum(stage["seconds"] for stage in stages if stage["block"] == 0)
        updates = sum(stage["seconds"] for stage in stages if stage["block"] > 0)
        n = len(self.seeds)
        return {"base": round(base / n, 3), "updates": round(updates / n, 3)}

    def costs(self, label: str) -> dict[str, list[float | None]]:
        """What each block cost in training, mean over seeds.

        Returns:
            Wall-clock ``seconds`` of all its stages, and ``rss_mb``, the largest resident memory of the
            process while one of them ran, in MB; None where it is not known. Base models that several labels
            share count for each of them.
        """
        runs = list(self._results[label].values())
        seconds: list[float | None] = []
        memory: list[float | None] = []
        for k in range(self.n_blocks):
            stages = [[stage for stage in run.stages if stage["block"] == k] for run in runs]
            seconds.append(round(fmean(sum(stage["seconds"] for stage in found) for found in stages), 3))
            peaks = [_largest([stage.get("rss_mb") for stage in found]) for found in stages]
            known = [peak for peak in peaks if peak is not None]
            memory.append(round(fmean(known), 1) if len(known) == len(peaks) else None)
        return {"seconds": seconds, "rss_mb": memory}

    @property
    def unserved(self) -> list[dict[str, float] | None]:
        """Shares of what block k + 1 brings that could not be served, k < K, mean over seeds."""
        runs = [run.unserved for run in self._results[self.labels[0]].values()]
        return [
            None
            if None in of_block
            else {kind: fmean(shares[kind] for shares in of_block if shares) for kind in UNSERVED}
            for of_block in zip(*runs, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The document of comparison.json, format 1, in plain values.

        ::

            {"format": 1, "dataset": ..., "model": ..., "seeds": [...], "n_blocks": K+1,
             "primary_metric": "recall@20", "labels": [in order], "eval_part": "test",
             "la_include_base": true, "ra_include_current": false, "config": {what all runs have set alike},
             "unserved": [{"users": x, "items": x, "interactions": x}, per block from block 1 on],
             "runs": {label: {"strategy": ..., "seconds": {"base": s, "updates": s},
                              "costs": {"seconds": [per block], "rss_mb": [per block]},
                              "sizes": {"student": {"parameters": n, "bytes": n}, "teacher": {...}},
                              "config": {what not all labels have set alike}}},
             "metrics": {"recall@20": {"student": {
                 "labels": {label: {"H": {"mean": [per block], "std": [per block]}, "LA": ..., "RA": ...,
                                    "next": {"mean": [per block from block 1 on], "std": ...},
                                    "BWT": {"mean": x, "std": x}, "forgetting": ..., "next_mean": ...,
                                    "FWT": ...,
                                    "R": {"mean": [[R00], [R10, R11], ...]}}},
                 "best": {"H": [[labels], per block], "LA": ..., "RA": ..., "next": ...,
                          "BWT": [labels], "forgetting": ..., "next_mean": ..., "FWT": ...},
                 "second": {...as best...},
                 "gains": {label of CCD: [{"competitor": label, "gain": x, "relative": x, "p": x},
                                          per block]}},
               "teacher": {...the labels that have one...}}, "ndcg@20": ...}}

        The last entry of a list per block is the value after the last block. What does not exist is null: H
        and RA of block 0, ``std`` and ``p`` with one seed. Where users were drawn, ``eval_users`` says how
        many, and ``error`` stands beside each ``mean`` and ``std``. See :class:`Spread` and :class:`Gain`.
        """
        common, own = shared_settings(
            {label: [run.settings for run in runs.values()] for label, runs in self._results.items()}
        )
        return {
            "format": FORMAT,
            **self.head,
            "seeds": list(self.seeds),
            "n_blocks": self.n_blocks,
            "primary_metric": self.primary_metric,
            "labels": list(self.labels),
            "eval_part": self.eval_part,
            **({} if self.eval_users is None else {"eval_users": self.eval_users}),
            "la_include_base": self.include_base,
            "ra_include_current": self.include_current,
            "unserved": self.unserved,
            "config": common,
            "runs": {
                label: {
                    "strategy": self.strategies[label],
                    "seconds": self.seconds(label),
                    "costs": self.costs(label),
                    "sizes": self.sizes(label),
                    "config": own[label],
                }
                for label in self.labels
            },
            "metrics": {
                metric: {role: self._document(role, metric) for role in self.roles}
                for metric in self.metric_names
            },
        }

    def _document(self, role: str, metric: str) -> dict[str, Any]:
        labels = {}
        for label in self.labels_of(role):
            spreads = {q: self.spreads(role, metric, label, q) for q in (*PER_BLOCK, *AT_END)}
            labels[label] = {
                quantity: {
                    name: _unwrapped(quantity, [getattr(spread, name) for spread in found])
                    for name in ("mean", "std", *(() if self.eval_users is None else ("error",)))
                }
                for quantity, found in spreads.items()
            }
            labels[label]["R"] = {"mean": self._mean_matrix(role, metric, label)}
        rankings = {q: self.ranking(role, metric, q) for q in (*PER_BLOCK, *AT_END)}
        best, second = (
            {q: _unwrapped(q, [pair[place] for pair in ranking]) for q, ranking in rankings.items()}
            for place in (0, 1)
        )
        gains = {
            label: [gain and asdict(gain) for gain in found]
            for label, found in self.gains(role, metric).items()
        }
        return {"labels": labels, "best": best, "second": second, "gains": gains}

    def _mean_matrix(self, role: str, metric: str, label: str) -> list[list[float]]:
        matrices = [run.summary(role, metric)["R"] for run in self._results[label].values()]
        return [[fmean(cell) for cell in zip(*row, strict=True)] for row in zip(*matrices, strict=True)]

    def _result(self, label: str) -> StreamResult:
        return self._results[label][self.seeds[0]]


def _by_block(quantity: str, summaries: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:
    series = [one[quantity] if quantity in PER_BLOCK else [one[quantity]] for one in summaries]
    return [list(of_block) for of_block in zip(*series, strict=True)]


def _unwrapped(quantity: str, entries: list[Any]) -> Any:
    return entries if quantity in PER_BLOCK else entries[0]


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _by_seed(results: Mapping[str, Sequence[StreamResult]]) -> dict[str, dict[int, StreamResult]]:
    """The results of each label by seed, all in the order in which seeds first occur."""
    seeds = dict.fromkeys(run.head["seed"] for runs in results.values() for run in runs)
    if not seeds:
        raise RunError("there is no run to compare; give at least one")
    ordered: dict[str, dict[int, StreamResult]] = {}
    for label, runs in results.items():
        by_seed = {run.head["seed"]: run for run in runs}
        if len(by_seed) < len(runs):
            raise RunError(f"{label} has two runs with the same seed; leave one of them out")
        for seed in seeds:
            if seed not in by_seed:
                raise RunError(f"{label} has no run with seed {seed}; run it too or leave that seed out")
        ordered[label] = {seed: by_seed[seed] for seed in seeds}
    return ordered


def _check_fit(results: Mapping[str, Mapping[int, StreamResult]]) -> None:
    """Refuses unfinished runs, and runs that were not made over the same blocks."""
    first = next(iter(results.values()))
    wanted = _facts(next(iter(first.values())))
    for label, runs in results.items():
        of_label = next(iter(runs.values()))
        for seed, run in runs.items():
            name = f"{label}, seed {seed}"
            if not run.roles or any(run.n_rows(role) < run.n_blocks for role in run.roles):
                raise RunError(f"{name}: the run is not finished; run it again or leave it out")
            _check_facts(name, _facts(run), wanted)
            if run.known != first[seed].known:
                start = f"{name}: what is known after each block is not as in the first run"
                raise RunError(f"{start}; {_REMEDY}")
            if (run.head["strategy"], run.roles) != (of_label.head["strategy"], of_label.roles):
                raise RunError(f"{name}: not the strategy of the other seeds; give it a label of its own")


def _check_facts(name: str, facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses a run that differs from the first one; what a result does not tell is not held against it."""
    for key, value in wanted.items():
        if facts.get(key, value) != value:
            shown = f"{one_line(repr(facts[key]))} and not {one_line(repr(value))}"
            raise RunError(f"{name}: {key} is not as in the first run, {shown}; {_REMEDY}")


def _facts(run: StreamResult) -> dict[str, Any]:
    """What all runs that are compared have in common, by the name that messages give it."""
    return {
        "dataset": run.head["dataset"],
        "model": run.head["model"],
        "the number of blocks": run.n_blocks,
        "valid_metric": run.primary_metric,
        "metrics": sorted(run.metric_names),
        "la_include_base": run.include_base,
        "ra_include_current": run.include_current,
        "eval_part": run.eval_part,
        "eval_users": run.eval_users,
        **{key: run.settings[key] for key in keys_of(Scope.STREAM) if key in run.settings},
    }
