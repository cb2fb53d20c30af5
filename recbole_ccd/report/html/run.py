"""The page of one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recbole_ccd.errors import RunError
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.evaluation.summary import definitions
from recbole_ccd.report.html import style
from recbole_ccd.report.html.elements import (
    Figure,
    Figures,
    definition_list,
    folded,
    legend,
    paragraph,
    picker,
    section,
    table,
    variants,
)
from recbole_ccd.report.html.figures import Series, Values, heat_map, lines, span_of
from recbole_ccd.report.html.page import page
from recbole_ccd.report.html.settings import settings_tables
from recbole_ccd.report.html.training import cost_section, replay_section, training_section
from recbole_ccd.report.html.words import (
    QUANTITIES,
    compared,
    course,
    duration,
    number,
    ordered_metrics,
    sentence,
    spread_out,
)

_KINDS = ("users", "items")


def run_report(document: Any) -> str:
    """The report of a run, finished or under way.

    Args:
        document: what its result.json holds; one that an earlier version wrote has no loss curves.

    Returns:
        An HTML page that needs no other file and no network.

    Raises:
        RunError: If the document is not of format 1, its shapes do not fit, or it has no rows yet.
    """
    result = StreamResult.from_dict(document)
    if not result.roles:
        raise RunError("the result has no rows yet; make the report when a block is finished")
    return _RunPage(result).render()


class _RunPage:
    """A run's sections, which show the same metrics under the same numbers."""

    def __init__(self, result: StreamResult) -> None:
        self.result, self.figures = result, Figures()
        self.metrics = ordered_metrics(result.metric_names, result.primary_metric)
        self.n_done = max(result.n_rows(role) for role in result.roles)
        lines = definitions(result.include_base, result.include_current, result.eval_part)
        self._definitions = lines

    def render(self) -> str:
        head = self.result.head
        title = f"{head['strategy']} with {head['model']} on {head['dataset']}, seed {head['seed']}"
        sections = (
            self._facts(),
            self._averages(),
            self._matrices(),
            self._new_entities(),
            training_section(self.result, self.figures),
            replay_section(self.result, self.figures),
            cost_section(self.result, self.figures),
            section("Settings", settings_tables(self.result.settings)),
        )
        body = "\n".join(part for part in sections if part)
        controls = picker("metric", "Metric", self.metrics)
        return page(title, self._lead(), controls, body, self.figures, "result.json")

    def _lead(self) -> str:
        result = self.result
        progress = f"{result.n_blocks} blocks"
        if self.n_done < result.n_blocks:
            progress = f"After block {self.n_done - 1} of 0..{result.n_blocks - 1}; the run is not finished"
        known = result.known[self.n_done - 1]
        return (
            f"{progress}, {known['users']:,} users and {known['items']:,} items known. Measured on the "
            f"{result.eval_part} part of each block; early stopping looked at {result.primary_metric}."
        )

    def _facts(self) -> str:
        result, metric = self.result, self.result.primary_metric
        quantity = "H" if self.n_done > 1 else "LA"
        facts = []
        for role in result.roles:
            value = result.summary(role, metric)[quantity][-1]
            facts.append((f"{QUANTITIES[quantity]} of {metric}, {role}", number(value)))
        sizes = result.sizes
        facts += [(f"Parameters, {role}", f"{sizes[role]['parameters']:,}") for role in sizes]
        if {"student", "teacher"} <= sizes.keys() and sizes["student"]["parameters"]:
            ratio = sizes["teacher"]["parameters"] / sizes["student"]["parameters"]
            facts.append(("Teacher : student", f"{ratio:.1f} : 1"))
        facts.append(("Training", duration(sum(stage["seconds"] for stage in result.stages))))
        peaks = [stage["peak_rss_mb"] for stage in result.stages if stage["peak_rss_mb"] is not None]
        if peaks:
            facts.append(("Peak memory", f"{max(peaks):,.0f} MB"))
        return definition_list(facts, "facts")

    # what depends on the metric

    def _by_metric(self, make: Callable[[str], Any]) -> dict[str, Any]:
        return {str(n): make(metric) for n, metric in enumerate(self.metrics)}

    def _lines(self, metric: str, values: dict[str, Values], span: tuple[float, float] | None = None) -> Any:
        series = [Series(role, range(len(y)), y, style.ROLES[role]) for role, y in values.items()]
        return lines(series, "block", metric, span)

    def _averages(self) -> str:
        result = self.result
        panels = []
        for quantity, name in QUANTITIES.items():

            def values(metric: str, quantity: str = quantity) -> dict[str, Values]:
                return {role: result.summary(role, metric)[quantity] for role in result.roles}

            def plot(metric: str, values: Callable[[str], dict[str, Values]] = values) -> Any:
                return self._lines(metric, values(metric), self._average_span(metric))

            def caption(metric: str, values: Callable[[str], dict[str, Values]] = values) -> str:
                found = values(metric)
                # a student may be a block ahead of its teacher
                last = {role: y[-1] for role, y in found.items() if len(y) == self.n_done}
                ends = f"after block {self.n_done - 1}: {compared(last)}"
                return spread_out([ends, *(f"{role}: {course(y)}" for role, y in found.items())])

            panels.append(Figure(name, self._by_metric(plot), self._by_metric(caption), ["metric"]))
        numbers = variants(self._by_metric(self._block_table), ["metric"])
        meanings = definition_list(
            [(name, self._definitions[name]) for name in ("LA", "RA", "H")], "meanings"
        )
        return section(
            "Along the blocks",
            legend({role: style.ROLES[role] for role in result.roles}),
            self.figures.row(panels, "three"),
            meanings,
            self._end_tables(),
            folded("The numbers", numbers),
        )

    def _average_span(self, metric: str) -> tuple[float, float]:
        summaries = [self.result.summary(role, metric) for role in self.result.roles]
        return span_of(
            value for summary in summaries for quantity in QUANTITIES for value in summary[quantity]
        )

    def _block_table(self, metric: str) -> str:
        roles = self.result.roles
        columns = [
            values
            for role in roles
            for summary in [self.result.summary(role, metric)]
            for values in ([row[-1] for row in summary["R"]], summary["LA"], summary["RA"], summary["H"])
        ]
        rows = [
            [k, *(column[k] if k < len(column) else None for column in columns)] for k in range(self.n_done)
        ]
        header = [f"{name} {role}" for role in roles for name in ("R[k][k]", "LA", "RA", "H")]
        return table(rows, ["block k", *header], f"{metric} after each block")

    def _end_tables(self) -> str:
        """Every metric after the last block, since a page in print shows one metric only."""
        tables = []
        for role in self.result.roles:
            rows = []
            for metric in self.metrics:
                summary = self.result.summary(role, metric)
                averages = [summary[quantity][-1] for quantity in QUANTITIES]
                rows.append([metric, *averages, summary["BWT"], summary["forgetting"]])
            caption = f"{sentence(role)}: all metrics after block {self.result.n_rows(role) - 1}"
            tables.append(table(rows, ["metric", *QUANTITIES, "BWT", "forgetting"], caption))
        meanings = [(name, self._definitions[name]) for name in ("BWT", "forgetting")]
        return f'<div class="row wide">{"".join(tables)}</div>' + definition_list(meanings, "meanings")

    def _matrices(self) -> str:
        result = self.result

        def matrix_of(role: str) -> Callable[[str], Any]:
            return lambda metric: result.summary(role, metric)["R"]

        def span(metric: str) -> tuple[float, float]:
            return span_of(v for role in result.roles for row in matrix_of(role)(metric) for v in row)

        panels = []
        for role in result.roles:
            matrix = matrix_of(role)

            def plot(metric: str, matrix: Callable[[str], Any] = matrix) -> Any:
                return heat_map(matrix(metric), metric, span(metric), result.eval_part)

            def caption(metric: str, role: str = role) -> str:
                summary = result.summary(role, metric)
                if summary["BWT"] is None:
                    return spread_out([f"block 0: {number(summary['R'][0][0])}"])
                change = f"backward transfer {summary['BWT']:+.4f}, forgetting {summary['forgetting']:.4f}"
                arrival = [row[-1] for row in summary["R"]]
                return spread_out([change, f"on arrival {course(arrival)}"])

            panels.append(Figure(sentence(role), self._by_metric(plot), self._by_metric(caption), ["metric"]))
        meanings = definition_list([("R", self._definitions["R"])], "meanings")
        return section("What is kept: R, block by block", self.figures.row(panels, "wide"), meanings)

    def _new_entities(self) -> str:
        result = self.result
        panels = []
        for kind in _KINDS:

            def values(metric: str, kind: str = kind) -> dict[str, Values]:
                return {role: result.new_entities(kind, role, metric) for role in result.roles}

            def plot(metric: str, values: Callable[[str], dict[str, Values]] = values) -> Any:
                return self._lines(metric, values(metric))

            def caption(metric: str, values: Callable[[str], dict[str, Values]] = values) -> str:
                means = {role: _mean(y) for role, y in values(metric).items()}
                return spread_out([f"mean over the blocks: {compared(means)}"])

            if any(value is not None for y in values(self.metrics[0]).values() for value in y):
                title = f"New {kind}"
                panels.append(Figure(title, self._by_metric(plot), self._by_metric(caption), ["metric"]))
        meanings = [(f"new {kind}", self._definitions[f"new {kind}"]) for kind in _KINDS]
        return section(
            "New users and new items",
            legend({role: style.ROLES[role] for role in result.roles}) if panels else "",
            self.figures.row(panels, "wide") if panels else paragraph("None were measured."),
            definition_list(meanings, "meanings"),
            folded("Who is known after each block", self._known_table()),
        )

    def _known_table(self) -> str:
        known = self.result.known
        rows = []
        for k, now in enumerate(known):
            before = known[k - 1] if k else {"users": 0, "items": 0}
            counts = [count for kind in _KINDS for count in (now[kind], now[kind] - before[kind])]
            rows.append([k, *(f"{count:,}" for count in counts)])
        return table(rows, ["block", "users", "new", "items", "new"])


def _mean(values: Values) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
