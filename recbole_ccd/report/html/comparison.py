"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from recbole_ccd.evaluation.comparison import METHOD
from recbole_ccd.evaluation.stored import StoredComparison
from recbole_ccd.report.comparison import (
    CONSOLE,
    comparison_tables,
    comparison_title,
    cost_table,
    legend_lines,
)
from recbole_ccd.report.html import style
from recbole_ccd.report.html.elements import (
    Figure,
    Figures,
    definition_list,
    legend,
    paragraph,
    picker,
    section,
    subheading,
    table,
    variants,
)
from recbole_ccd.report.html.figures import Series, bars, heat_map, lines, span_of
from recbole_ccd.report.html.page import page
from recbole_ccd.report.html.settings import differences, settings_tables
from recbole_ccd.report.html.words import (
    QUANTITIES,
    compared,
    duration,
    number,
    ordered_metrics,
    sentence,
    spread_out,
)

_marked_table = partial(table, marked=True)


def comparison_report(document: Any) -> str:
    """The report of a comparison.

    Args:
        document: what its comparison.json holds; one that an earlier version wrote has no heat maps and no
            settings.

    Returns:
        An HTML page that needs no other file and no network.

    Raises:
        RunError: If the document is not of format 1, or lacks something.
    """
    return _ComparisonPage(StoredComparison(document)).render()


class _ComparisonPage:
    """A comparison's sections, which show the same labels by the same looks."""

    def __init__(self, comparison: StoredComparison) -> None:
        self.comparison, self.figures = comparison, Figures()
        self.metrics = ordered_metrics(comparison.metric_names, comparison.primary_metric)
        ours = [label for label in comparison.labels if comparison.strategies[label] == METHOD]
        others = [label for label in comparison.labels if label not in ours]
        looks = {label: style.of_method(n) for n, label in enumerate(ours)}
        looks |= {label: style.of_other(n) for n, label in enumerate(others)}
        self.looks = {label: looks[label] for label in comparison.labels}
        # what is looked at first
        self.first = ours[0] if ours else comparison.labels[0]
        self.last = comparison.n_blocks - 1

    def render(self) -> str:
        comparison = self.comparison
        sections = (
            self._facts(),
            *(part for role in comparison.roles for part in (self._averages(role), self._tables(role))),
            self._matrices(),
            self._times(),
            self._settings(),
            section("What it all means", definition_list(self._meanings(), "meanings")),
        )
        body = "\n".join(part for part in sections if part)
        controls = picker("metric", "Metric", self.metrics)
        title = comparison_title(comparison)
        return page(title, self._lead(), controls, body, self.figures, "comparison.json")

    def _lead(self) -> str:
        comparison = self.comparison
        n, seeds = len(comparison.labels), len(comparison.seeds)
        runs = f"{n} strategies, {seeds} seeds each" if seeds > 1 else f"{n} strategies, one seed"
        return (
            f"{runs}, {comparison.n_blocks} blocks. Measured on the {comparison.eval_part} part of each "
            f"block; early stopping looked at {comparison.primary_metric}."
        )

    def _facts(self) -> str:
        comparison, metric = self.comparison, self.comparison.primary_metric
        facts = []
        for role in comparison.roles:
            best, _ = comparison.ranking(role, metric, "H")[-1]
            if best:
                value = comparison.spreads(role, metric, best[0], "H")[-1].mean
                facts.append((f"Best H-mean of {metric}, {role}", f"{', '.join(best)} {number(value)}"))
            for label, gains in comparison.gains(role, metric).items():
                if gains[-1] is not None:
                    what = f"{label} over {gains[-1].competitor}, the best competitor, {role}"
                    facts.append((what, _gain(gains[-1])))
        seconds = [comparison.seconds(label) for label in comparison.labels]
        whole = sum(sum(one.values()) for one in seconds) * len(comparison.seeds)
        # base models that several labels share are trained once, and counted for each
        facts.append(("Training, all runs, shared base models counted for each", duration(whole)))
        return definition_list(facts, "facts")

    # what depends on the metric

    def _by_metric(self, make: Callable[[str], Any]) -> dict[str, Any]:
        return {str(n): make(metric) for n, metric in enumerate(self.metrics)}

    def _averages(self, role: str) -> str:
        labels = self.comparison.labels_of(role)
        panels = []
        for quantity, name in QUANTITIES.items():
            plots = self._by_metric(partial(self._average_plot, role, quantity))
            captions = self._by_metric(partial(self._average_caption, role, quantity))
            panels.append(Figure(name, plots, captions, ["metric"]))
        seeds = len(self.comparison.seeds)
        note = f"Means over {seeds} seeds; bars are ± one standard deviation." if seeds > 1 else ""
        return section(
            f"Along the blocks: {role}",
            paragraph(note, "note") if note else "",
            legend({label: self.looks[label] for label in labels}),
            self.figures.row(panels, "three"),
        )

    def _average_plot(self, role: str, quantity: str, metric: str) -> Any:
        comparison, series = self.comparison, []
        # ours is drawn last, above the others
        for label in sorted(comparison.labels_of(role), key=lambda label: self.looks[label].width):
            spreads = comparison.spreads(role, metric, label, quantity)
            means, stds = [one.mean for one in spreads], [one.std for one in spreads]
            series.append(Series(label, range(len(means)), means, self.looks[label], spread=stds))
        span = span_of(
            one.mean + sign * (one.std or 0.0)
            for label in comparison.labels_of(role)
            for shown in QUANTITIES
            for one in comparison.spreads(role, metric, label, shown)
            if one.mean is not None
            for sign in (-1, 1)
        )
        return lines(series, "block", metric, span)

    def _average_caption(self, role: str, quantity: str, metric: str) -> str:
        comparison = self.comparison
        ends = {
            label: comparison.spreads(role, metric, label, quantity)[-1].mean
            for label in comparison.labels_of(role)
        }
        return spread_out([f"after block {self.last}: {compared(ends)}"])

    def _tables(self, role: str) -> str:
        def tables(metric: str) -> str:
            found = comparison_tables(self.comparison, role, metric, CONSOLE, _marked_table)
            return "\n".join(subheading(sentence(heading)) + content for heading, content in found)

        note = "Bold: the best mean of its column; italics: the second best."
        return section(
            f"In numbers: {role}", paragraph(note, "note"), variants(self._by_metric(tables), ["metric"])
        )

    def _matrices(self) -> str:
        comparison = self.comparison
        pickers, panels = [], []
        for role in comparison.roles:
            labels = comparison.labels_of(role)
            if any(comparison.matrix(role, self.metrics[0], label) is None for label in labels):
                continue
            name = f"label-{role}"
            chosen = labels.index(self.first) if self.first in labels else 0
            pickers.append(picker(name, sentence(role), labels, chosen))
            plots, captions = {}, {}
            # the first one is what is seen where no script runs
            for n in sorted(range(len(labels)), key=lambda n: n != chosen):
                for m, metric in enumerate(self.metrics):
                    key = f"{m}-{n}" if len(labels) > 1 else f"{m}-0"
                    plots[key] = self._heat_map(role, labels[n], metric)
                    captions[key] = self._heat_caption(role, labels[n], metric)
            title = f"R of the {role}, mean over seeds"
            panels.append(Figure(title, plots, captions, ["metric", name]))
        if not panels:
            return ""
        controls = "".join(pickers)
        return section(
            "What is kept: R, block by block",
            f"<div>{controls}</div>" if controls else "",
            self.figures.row(panels, "wide"),
        )

    def _heat_map(self, role: str, label: str, metric: str) -> Any:
        comparison = self.comparison
        matrices = [comparison.matrix(role, metric, one) for one in comparison.labels_of(role)]
        span = span_of(value for matrix in matrices for row in matrix or () for value in row)
        return heat_map(comparison.matrix(role, metric, label) or [], metric, span, comparison.eval_part)

    def _heat_caption(self, role: str, label: str, metric: str) -> str:
        comparison = self.comparison
        (change,), (lost,) = (comparison.spreads(role, metric, label, q) for q in ("BWT", "forgetting"))
        if change.mean is None or lost.mean is None:
            return f"{label}."
        return f"{label}: backward transfer {change.mean:+.4f}, forgetting {lost.mean:.4f}."

    def _times(self) -> str:
        comparison, parts = self.comparison, {"base": "base block", "updates": "all later blocks"}
        seconds = {label: comparison.seconds(label) for label in comparison.labels}
        series = [
            Series(name, comparison.labels, [one[part] for one in seconds.values()], style.PARTS[part])
            for part, name in parts.items()
        ]
        height = 110 + 36 * len(comparison.labels)
        plot = bars(series, "", "seconds of training, mean over seeds", height=height, across=True)
        updates = sorted(seconds.items(), key=lambda entry: entry[1]["updates"])
        (quick, least), (slow, most) = updates[0], updates[-1]
        told = f"updates take {duration(most['updates'])} with {slow}"
        if quick != slow:
            told += f", {duration(least['updates'])} with {quick}"
        return section(
            "Size and time",
            legend({name: style.PARTS[part] for part, name in parts.items()}, bars=True),
            self.figures.row([Figure("Time", {"": plot}, {"": spread_out([told])})], "one"),
            cost_table(comparison, _marked_table),
        )

    def _settings(self) -> str:
        comparison = self.comparison
        if not comparison.config:
            return ""
        return section(
            "Settings",
            settings_tables(comparison.config),
            differences(comparison.own_config),
        )

    def _meanings(self) -> list[tuple[str, str]]:
        found = (line.partition(": ") for line in legend_lines(self.comparison))
        return [(word, meaning) for word, _, meaning in found]


def _gain(gain: Any) -> str:
    share = f" ({gain.relative:+.1%})" if gain.relative is not None else ""
    if gain.p is None:
        return f"{gain.gain:+.4f}{share}"
    return f"{gain.gain:+.4f}{share}, p {'< 0.0001' if gain.p < 1e-4 else f'= {gain.p:.4f}'}"
