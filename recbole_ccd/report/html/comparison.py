"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from recbole_ccd.evaluation.comparison import METHOD
from recbole_ccd.evaluation.sampling import with_error
from recbole_ccd.evaluation.seeds import Gain
from recbole_ccd.evaluation.stored import StoredComparison
from recbole_ccd.report.comparison import (
    comparison_csv,
    comparison_tables,
    comparison_title,
    cost_table,
    cost_tables,
    headlines,
    legend_lines,
)
from recbole_ccd.report.html import style
from recbole_ccd.report.html.downloads import data_address, json_address
from recbole_ccd.report.html.figures import HeatMap, Series, heat_map, lines, lying_bars, span_of
from recbole_ccd.report.html.page import Figure, Figures, Table, Version, render
from recbole_ccd.report.html.sessions import session_terms
from recbole_ccd.report.html.settings import all_settings, changed_settings, differences
from recbole_ccd.report.html.verdict import comparison_verdict, probability
from recbole_ccd.report.html.words import (
    QUANTITIES,
    compared,
    drawn,
    duration,
    number,
    ordered_metrics,
    sentence,
    spread_out,
)

# the best, the second best, and neither; what is formatted into Markup is escaped
_MARKS = (Markup("<strong>{}</strong>"), Markup("<em>{}</em>"), "{}")
_PARTS = {"base": "base block", "updates": "all later blocks"}
# of the heat maps of a role; more would be a page of megabytes
_MOST_CELLS = 8000


def comparison_report(document: Any, sessions: Sequence[Any] = ()) -> str:
    """The report of a comparison.

    Args:
        document: what its comparison.json holds; one that an earlier version wrote has no heat maps and no
            settings.
        sessions: who has worked on the comparison, as its manifest has it.

    Returns:
        An HTML page that needs no other file and no network.

    Raises:
        RunError: If the document is not of format 1, or lacks something.
    """
    comparison = StoredComparison(document)
    figures = Figures(ordered_metrics(comparison.metric_names, comparison.primary_metric))
    return render(
        "comparison.html.j2",
        figures,
        title=comparison_title(comparison),
        source="comparison.json",
        verdict=comparison_verdict(comparison),
        downloads={
            "comparison.json": json_address(document),
            "comparison.csv": data_address(comparison_csv(comparison), "text/csv"),
        },
        sessions_known=session_terms(sessions),
        **_Compared(comparison, figures).values(),
    )


class _Compared:
    """What a comparison shows, the same labels by the same looks everywhere."""

    def __init__(self, comparison: StoredComparison, figures: Figures) -> None:
        self.comparison, self.figures = comparison, figures
        ours = [label for label in comparison.labels if comparison.strategies[label] == METHOD]
        others = [label for label in comparison.labels if label not in ours]
        looks = {label: style.of_method(n) for n, label in enumerate(ours)}
        looks |= {label: style.of_other(n) for n, label in enumerate(others)}
        self.looks = {label: looks[label] for label in comparison.labels}
        # what is looked at first
        self.first = ours[0] if ours else comparison.labels[0]
        self.last = comparison.n_blocks - 1

    def values(self) -> dict[str, Any]:
        """What the template shows."""
        comparison = self.comparison
        meanings = (line.partition(": ") for line in legend_lines(comparison))
        shared, single = differences(comparison.own_config)
        with_matrices = [role for role in comparison.roles if self._has_matrices(role)]
        return {
            "lead": self._lead(),
            "facts": self._facts(),
            "seeds": len(comparison.seeds),
            "roles": [self._of_role(role) for role in comparison.roles],
            "pickers": [self._picker(role) for role in with_matrices],
            "matrices": [self._matrices(role) for role in with_matrices],
            "matrices_shortened": any(
                self._matrix_metrics(role) < len(self.figures.metrics) for role in with_matrices
            ),
            "parts": {name: style.PARTS[part] for part, name in _PARTS.items()},
            "times": [self._times()],
            "costs": cost_table(comparison, Table),
            "cost_tables": list(cost_tables(comparison, Table)),
            "config": comparison.config,
            "changed": changed_settings(comparison.config) if comparison.config else None,
            "all_settings": all_settings(comparison.config),
            "shared": shared,
            "single": single,
            "words": [(word, meaning) for word, _, meaning in meanings],
            "formulas": {"first": int(not comparison.include_base), "current": comparison.include_current},
        }

    def _lead(self) -> str:
        comparison = self.comparison
        n, seeds = len(comparison.labels), len(comparison.seeds)
        runs = f"{n} strategies, {seeds} seeds each" if seeds > 1 else f"{n} strategies, one seed"
        return (
            f"{runs}, {comparison.n_blocks} blocks. Measured on the {comparison.eval_part} part of each "
            f"block; early stopping looked at {comparison.primary_metric}.{drawn(comparison.eval_users)}"
        )

    def _facts(self) -> list[tuple[str, str]]:
        comparison, metric = self.comparison, self.comparison.primary_metric
        facts = []
        for line in headlines(comparison):
            label, _, share = line.partition(": ")
            facts.append((f"{label} beside retraining", share))
        for role in comparison.roles:
            best, _ = comparison.ranking(role, metric, "H")[-1]
            if best:
                found = comparison.spreads(role, metric, best[0], "H")[-1]
                shown = number(found.mean) if found.error is None else with_error(found.mean, found.error)
                facts.append((f"Best H-mean of {metric}, {role}", f"{', '.join(best)} {shown}"))
            for label, gains in comparison.gains(role, metric).items():
                if gain := gains[-1]:
                    facts.append(
                        (f"{label} over {gain.competitor}, the best competitor, {role}", _gain(gain))
                    )
        seconds = [comparison.seconds(label) for label in comparison.labels]
        whole = sum(sum(one.values()) for one in seconds) * len(comparison.seeds)
        # base models that several labels share are trained once, and counted for each
        facts.append(("Training, all runs, shared base models counted for each", duration(whole)))
        return facts

    def _of_role(self, role: str) -> dict[str, Any]:
        def tables(metric: str) -> list[tuple[str, Table]]:
            found = comparison_tables(self.comparison, role, metric, _MARKS, Table)
            return [(sentence(heading), table) for heading, table in found]

        return {
            "role": role,
            "looks": {label: self.looks[label] for label in self.comparison.labels_of(role)},
            "averages": [
                self.figures.add_by_metric(title, partial(self._average, role, quantity))
                for quantity, title in QUANTITIES.items()
            ],
            "tables": self.figures.by_metric(tables),
        }

    def _average(self, role: str, quantity: str, metric: str) -> Version:
        comparison, series, ends = self.comparison, [], {}
        labels = comparison.labels_of(role)
        for label in labels:
            spreads = comparison.spreads(role, metric, label, quantity)
            means, stds = [one.mean for one in spreads], [one.std for one in spreads]
            series.append(Series(label, range(len(means)), means, self.looks[label], spread=stds))
            ends[label] = means[-1]
        # ours is drawn last, above the others
        series.sort(key=lambda one: one.style.width)
        # all quantities on one scale
        span = span_of(
            one.mean + sign * (one.std or 0.0)
            for label in labels
            for shown in QUANTITIES
            for one in comparison.spreads(role, metric, label, shown)
            if one.mean is not None
            for sign in (-1, 1)
        )
        told = spread_out([f"after block {self.last}: {compared(ends)}"])
        return Version(lines(series, "block", metric, span), told)

    def _has_matrices(self, role: str) -> bool:
        metric, labels = self.figures.metrics[0], self.comparison.labels_of(role)
        return all(self.comparison.matrix(role, metric, label) is not None for label in labels)

    def _picker(self, role: str) -> tuple[str, str, list[str], int]:
        labels = self.comparison.labels_of(role)
        return (
            f"label-{role}",
            sentence(role),
            labels,
            labels.index(self.first) if self.first in labels else 0,
        )

    def _matrix_metrics(self, role: str) -> int:
        """Of how many metrics there are matrices."""
        blocks, labels = self.comparison.n_blocks, self.comparison.labels_of(role)
        cells = len(labels) * blocks * (blocks + 1) // 2
        return len(self.figures.metrics) if cells * len(self.figures.metrics) <= _MOST_CELLS else 1

    def _matrices(self, role: str) -> Figure:
        name, _, labels, chosen = self._picker(role)
        # the first one is what is seen where no script runs
        order = sorted(range(len(labels)), key=lambda n: n != chosen)
        shown = list(enumerate(self.figures.metrics))[: self._matrix_metrics(role)]
        of_all = len(shown) == len(self.figures.metrics)
        versions = {
            f"{m}-{n}" if of_all else str(n): Version(
                self._heat_map(role, labels[n], metric), self._kept(role, labels[n], metric)
            )
            for n in order
            for m, metric in shown
        }
        title = f"R of the {role}, mean over seeds"
        return self.figures.add(title, versions, ["metric", name] if of_all else [name])

    def _heat_map(self, role: str, label: str, metric: str) -> HeatMap:
        comparison = self.comparison
        matrices = [comparison.matrix(role, metric, one) for one in comparison.labels_of(role)]
        span = span_of(value for matrix in matrices for row in matrix or () for value in row)
        return heat_map(comparison.matrix(role, metric, label) or [], metric, span, comparison.eval_part)

    def _kept(self, role: str, label: str, metric: str) -> str:
        comparison = self.comparison
        (change,), (lost,) = (comparison.spreads(role, metric, label, q) for q in ("BWT", "forgetting"))
        if change.mean is None or lost.mean is None:
            return f"{label}."
        return f"{label}: backward transfer {change.mean:+.4f}, forgetting {lost.mean:.4f}."

    def _times(self) -> Figure:
        labels = self.comparison.labels
        seconds = {label: self.comparison.seconds(label) for label in labels}
        series = [
            Series(name, labels, [one[part] for one in seconds.values()], style.PARTS[part])
            for part, name in _PARTS.items()
        ]
        plot = lying_bars(series, "seconds of training, mean over seeds")
        updates = sorted(seconds.items(), key=lambda entry: entry[1]["updates"])
        (quick, least), (slow, most) = updates[0], updates[-1]
        told = f"updates take {duration(most['updates'])} with {slow}"
        if quick != slow:
            told += f", {duration(least['updates'])} with {quick}"
        return self.figures.add_one("Time", plot, spread_out([told]))


def _gain(gain: Gain) -> str:
    share = f" ({gain.relative:+.1%})" if gain.relative is not None else ""
    if gain.p is None:
        return f"{gain.gain:+.4f}{share}"
    return f"{gain.gain:+.4f}{share}, {probability(gain.p)}"
