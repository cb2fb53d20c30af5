"""The page of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from recbole_ccd.config import UPDATES
from recbole_ccd.config.catalogue import shown_strategy
from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.evaluation.sampling import with_error
from recbole_ccd.evaluation.summary import definitions
from recbole_ccd.report.html import style
from recbole_ccd.report.html.downloads import data_address, json_address, result_csv
from recbole_ccd.report.html.figures import (
    Plot,
    Series,
    Values,
    bars,
    heat_map,
    lines,
    span_of,
    stacked_lines,
)
from recbole_ccd.report.html.page import Figure, Figures, Table, Version, render
from recbole_ccd.report.html.sessions import session_terms
from recbole_ccd.report.html.settings import all_settings, changed_settings
from recbole_ccd.report.html.verdict import run_verdict
from recbole_ccd.report.html.words import (
    QUANTITIES,
    STAGES,
    compared,
    course,
    drawn,
    duration,
    number,
    ordered_metrics,
    sentence,
    spread_out,
)
from recbole_ccd.report.tables import next_header, next_rows
from recbole_ccd.utils.errors import RunError

_KINDS = ("users", "items")
# a share that is smaller leaves no room for its number
_LEAST_SHOWN = 0.06


def run_report(document: Any, sessions: Sequence[Any] = ()) -> str:
    """The report of a run, finished or under way.

    Args:
        document: what its result.json holds; one that an earlier version wrote has no loss curves.
        sessions: who has worked on the run, as its manifest has it.

    Returns:
        An HTML page that needs no other file and no network.

    Raises:
        RunError: If the document is not of format 1, its shapes do not fit, or it has no rows yet.
    """
    result = StreamResult.from_dict(document)
    if not result.roles:
        raise RunError("the result has no rows yet; make the report when a block is finished")
    head = result.head
    strategy = shown_strategy(head["strategy"], head["model"])
    figures = Figures(ordered_metrics(result.metric_names, result.primary_metric))
    return render(
        "run.html.j2",
        figures,
        title=f"{strategy} with {head['model']} on {head['dataset']}, seed {head['seed']}",
        source="result.json",
        verdict=run_verdict(result),
        downloads={
            "result.json": json_address(document),
            "result.csv": data_address(result_csv(result), "text/csv"),
        },
        sessions_known=session_terms(sessions),
        **_Measured(result, figures).values(),
        **_Trained(result, figures).values(),
        changed=changed_settings(result.settings),
        all_settings=all_settings(result.settings),
    )


class _Measured:
    """What was measured after each block."""

    def __init__(self, result: StreamResult, figures: Figures) -> None:
        self.result, self.figures = result, figures
        self.n_done = max(result.n_rows(role) for role in result.roles)

    def values(self) -> dict[str, Any]:
        """What the template shows of it."""
        return {
            "lead": self._lead(),
            "facts": self._facts(),
            "roles": {role: style.ROLES[role] for role in self.result.roles},
            "averages": [
                self.figures.add_by_metric(title, partial(self._average, quantity))
                for quantity, title in QUANTITIES.items()
            ],
            "at_end": [self._at_end(role) for role in self.result.roles],
            "by_block": self.figures.by_metric(self._by_block),
            "matrices": [
                self.figures.add_by_metric(sentence(role), partial(self._matrix, role))
                for role in self.result.roles
            ],
            "new_entities": [
                self.figures.add_by_metric(f"New {kind}", partial(self._new_entities, kind))
                for kind in _KINDS
                if any(_mean(y) is not None for y in self._new_values(kind, self.figures.metrics[0]).values())
            ],
            "next": self.figures.by_metric(self._next) if any(self.result.unserved) else {},
            "known": self._known(),
            "why_zero": self._why_zero(),
            "words": self._meanings(),
            "formulas": {"first": int(not self.result.include_base), "current": self.result.include_current},
        }

    def _lead(self) -> str:
        result = self.result
        progress = f"{result.n_blocks} blocks"
        if self.n_done < result.n_blocks:
            progress = f"After block {self.n_done - 1} of 0..{result.n_blocks - 1}; the run is not finished"
        known = result.known[self.n_done - 1]
        return (
            f"{progress}, {known['users']:,} users and {known['items']:,} items known. Measured on the "
            f"{result.eval_part} part of each block; early stopping looked at {result.primary_metric}."
            + drawn(result.eval_users)
        )

    def _facts(self) -> list[tuple[str, str]]:
        result, metric = self.result, self.result.primary_metric
        quantity = "H" if self.n_done > 1 else "LA"
        facts = []
        for role in result.roles:
            value = result.summary(role, metric)[quantity][-1]
            error = result.summary_error(role, metric)[quantity][-1]
            shown = number(value) if error is None else with_error(value, error)
            facts.append((f"{QUANTITIES[quantity]} of {metric}, {role}", shown))
        sizes = result.sizes
        facts += [(f"Parameters, {role}", f"{sizes[role]['parameters']:,}") for role in sizes]
        if {"student", "teacher"} <= sizes.keys() and sizes["student"]["parameters"]:
            ratio = sizes["teacher"]["parameters"] / sizes["student"]["parameters"]
            facts.append(("Teacher : student", f"{ratio:.1f} : 1"))
        facts.append(("Training", duration(sum(stage["seconds"] for stage in result.stages))))
        peaks = [stage["peak_rss_mb"] for stage in result.stages if stage["peak_rss_mb"] is not None]
        if peaks:
            facts.append(("Peak memory", f"{max(peaks):,.0f} MB"))
        return facts

    def _meanings(self) -> dict[str, list[tuple[str, str]]]:
        """What the quantities of each part of the page are."""
        result = self.result
        words = definitions(result.include_base, result.include_current, result.eval_part)
        parts = {
            "averages": ["LA", "RA", "H"],
            "at_end": ["BWT", "forgetting"],
            "matrices": ["R"],
            "new_entities": [f"new {kind}" for kind in _KINDS],
            "next": ["next", "FWT", "not served"],
        }
        return {part: [(name, words[name]) for name in names] for part, names in parts.items()}

    def _why_zero(self) -> list[str]:
        """Why nothing that is new may have been found."""
        known, last = self.result.known, self.n_done - 1
        n_before = known[last - 1]["items"] if last else 0
        n_new = known[last]["items"] - n_before
        sentences = [
            "0 is measured and no error: none of the test interactions with what is new stands high enough "
            "in a list to count.",
            "An item that is new in a block has few training interactions there, and none where all of its "
            "own fell into the test part: then nothing has been learned about it, and it stands where it was "
            "put at first. New users likewise. A dash says that there is nothing new to measure.",
        ]
        if last and n_new:
            sentences.append(
                f"Block {last} brings {n_new:,} new items, which have to be ranked above most of the "
                f"{n_before:,} known before; with so few, values jump from block to block."
            )
        return sentences

    def _average(self, quantity: str, metric: str) -> Version:
        summaries = {role: self.result.summary(role, metric) for role in self.result.roles}
        values = {role: summary[quantity] for role, summary in summaries.items()}
        # all quantities on one scale
        span = span_of(
            value for summary in summaries.values() for one in QUANTITIES for value in summary[one]
        )
        # a student may be a block ahead of its teacher
        last = {role: y[-1] for role, y in values.items() if len(y) == self.n_done}
        ends = f"after block {self.n_done - 1}: {compared(last)}"
        told = spread_out([ends, *(f"{role}: {course(y)}" for role, y in values.items())])
        return Version(_role_lines(values, metric, span), told)

    def _by_block(self, metric: str) -> Table:
        roles = self.result.roles
        columns = [
            values
            for role in roles
            for pair in [(self.result.summary(role, metric), self.result.summary_error(role, metric))]
            for values in (
                list(map(with_error, *([row[-1] for row in one["R"]] for one in pair))),
                *(list(map(with_error, *(one[name] for one in pair))) for name in ("LA", "RA", "H")),
            )
        ]
        rows = [
            [k, *(column[k] if k < len(column) else None for column in columns)] for k in range(self.n_done)
        ]
        header = [f"{name} {role}" for role in roles for name in ("R[k][k]", "LA", "RA", "H")]
        return Table(rows, ["block k", *header], f"{metric} after each block")

    def _at_end(self, role: str) -> Table:
        """Every metric after the last block, since a page in print shows one metric only."""
        rows = []
        for metric in self.figures.metrics:
            summary = self.result.summary(role, metric)
            error = self.result.summary_error(role, metric)
            averages = [with_error(summary[name][-1], error[name][-1]) for name in QUANTITIES]
            ends = [with_error(summary[name], error[name]) for name in ("BWT", "forgetting")]
            rows.append([metric, *averages, *ends])
        caption = f"{sentence(role)}: all metrics after block {self.result.n_rows(role) - 1}"
        return Table(rows, ["metric", *QUANTITIES, "BWT", "forgetting"], caption)

    def _matrix(self, role: str, metric: str) -> Version:
        result, summary = self.result, self.result.summary(role, metric)
        span = span_of(v for one in result.roles for row in result.summary(one, metric)["R"] for v in row)
        if summary["BWT"] is None:
            told = [f"block 0: {number(summary['R'][0][0])}"]
        else:
            change = f"backward transfer {summary['BWT']:+.4f}, forgetting {summary['forgetting']:.4f}"
            told = [change, f"on arrival {course([row[-1] for row in summary['R']])}"]
        return Version(heat_map(summary["R"], metric, span, result.eval_part), spread_out(told))

    def _new_values(self, kind: str, metric: str) -> dict[str, Values]:
        return {role: self.result.new_entities(kind, role, metric) for role in self.result.roles}

    def _new_entities(self, kind: str, metric: str) -> Version:
        values = self._new_values(kind, metric)
        means = {role: _mean(y) for role, y in values.items()}
        told = spread_out([f"mean over the blocks: {compared(means)}"])
        return Version(_role_lines(values, metric), told)

    def _next(self, metric: str) -> Table:
        return Table(next_rows(self.result, metric), next_header(self.result), metric)

    def _known(self) -> Table:
        known = self.result.known
        rows = []
        for k, now in enumerate(known):
            before = known[k - 1] if k else {"users": 0, "items": 0}
            counts = [count for kind in _KINDS for count in (now[kind], now[kind] - before[kind])]
            rows.append([k, *(f"{count:,}" for count in counts)])
        return Table(rows, ["block", "users", "new", "items", "new"])


class _Curve(NamedTuple):
    """One stage's training; its name tells the block, and the part of one that arrived in several."""

    stage: Mapping[str, Any]
    name: str


class _Trained:
    """How the run was trained: loss curves, what was replayed, time and memory.

    An old result has no loss curves, and one of which nothing is known has no costs.
    """

    def __init__(self, result: StreamResult, figures: Figures) -> None:
        self.result, self.figures = result, figures

    def values(self) -> dict[str, Any]:
        """What the template shows of it."""
        curves = self._curves()
        names = list(dict.fromkeys(curve.name for of_title in curves.values() for curve in of_title))
        looks = {name: style.ordered(n, len(names)) for n, name in enumerate(names)}
        replayed = {name: self._replayed(name) for name in UPDATES}
        used = {source for blocks in replayed.values() for counts in blocks.values() for source in counts}
        kinds = [name for name in style.STAGES if any(s["stage"] == name for s in self.result.stages)]
        return {
            "curves": looks,
            "training": [self._training(title, found, looks) for title, found in curves.items()],
            "sources": {source: look for source, look in style.SOURCES.items() if source in used},
            "replay": [self._replay(name, counts) for name, counts in replayed.items() if counts],
            "kinds": {STAGES[name]: style.STAGES[name] for name in kinds},
            "costs": self._costs(kinds),
            "stages": self._stages(),
        }

    def _curves(self) -> dict[str, list[_Curve]]:
        """Those of each kind of stage and model."""
        curves: dict[str, list[_Curve]] = {}
        seen: Counter[tuple[str, int | None, int]] = Counter()
        for stage in self.result.stages:
            which = (stage["stage"], stage["member"], stage["block"])
            seen[which] += 1
            part = f", part {seen[which]}" if seen[which] > 1 else ""
            # models without gradient steps have no loss
            if any(stage.get("loss", ())):
                curve = _Curve(stage, f"block {stage['block']}{part}")
                curves.setdefault(self._title(stage), []).append(curve)
        return curves

    def _title(self, stage: Mapping[str, Any]) -> str:
        name, member = sentence(STAGES.get(stage["stage"], stage["stage"])), stage["member"]
        if member is None:
            return f"{name}, student" if stage["stage"] == "base" else name
        models = self.result.settings.get("teacher_models") or []
        model = f" ({models[member]})" if member < len(models) else ""
        return f"{name}, member {member}{model}"

    def _training(self, title: str, curves: Sequence[_Curve], looks: Mapping[str, style.Style]) -> Figure:
        losses, scores = [], []
        for stage, name in curves:
            loss, score = stage["loss"], stage["valid_score"]
            losses.append(Series(name, range(1, len(loss) + 1), loss, looks[name]))
            if score:
                epochs, values = zip(*score, strict=True)
                scores.append(Series(name, epochs, values, looks[name]))
        plot = stacked_lines(losses, scores, "epoch", ("loss", self.result.primary_metric))
        return self.figures.add_one(title, plot, self._training_told(curves[-1]))

    def _training_told(self, last: _Curve) -> str:
        losses, scores = last.stage["loss"], last.stage["valid_score"]
        fell = f"{last.name}: loss {losses[0]:.4g}"
        if len(losses) > 1:
            fell += f", {losses[-1]:.4g} after {len(losses)} epochs"
        best = ""
        if scores:
            epoch, score = max(scores, key=lambda pair: pair[1])
            best = f"best {self.result.primary_metric} {number(score)} after epoch {epoch}"
        return spread_out([fell, best])

    def _replayed(self, name: str) -> dict[int, Counter[str]]:
        """How many pairs of each source a stage has replayed, by block."""
        counts: dict[int, Counter[str]] = {}
        for stage in self.result.stages:
            if stage["stage"] == name and any(stage.get("replayed", {}).values()):
                counts.setdefault(stage["block"], Counter()).update(stage["replayed"])
        return counts

    def _replay(self, name: str, counts: Mapping[int, Counter[str]]) -> Figure:
        blocks = sorted(counts)
        whole: Counter[str] = sum(counts.values(), Counter())
        series = []
        for source in (one for one in style.SOURCES if any(one in of_block for of_block in counts.values())):
            shares = [counts[k][source] / counts[k].total() for k in blocks]
            texts = [f"{share:.0%}" if share >= _LEAST_SHOWN else "" for share in shares]
            heights = [100 * share for share in shares]
            series.append(Series(source, blocks, heights, style.SOURCES[source], texts=texts))
        ranked = sorted(whole.items(), key=lambda entry: (-entry[1], entry[0]))
        told = ", ".join(f"{source} {count / whole.total():.1%}" for source, count in ranked)
        told = spread_out([f"{whole.total():,} pairs in all: {told}"])
        return self.figures.add_one(sentence(STAGES[name]), bars(series, "block", "% of pairs"), told)

    def _costs(self, kinds: Sequence[str]) -> list[Figure]:
        stages = self.result.stages
        if not stages:
            return []
        blocks = sorted({stage["block"] for stage in stages})
        known = [stage for stage in stages if stage["peak_rss_mb"] is not None]
        return [self._time(blocks, kinds), *([self._memory(blocks, kinds, known)] if known else [])]

    def _time(self, blocks: Sequence[int], kinds: Sequence[str]) -> Figure:
        series, totals = [], {}
        for name in kinds:
            seconds = dict.fromkeys(blocks, 0.0)
            for stage in self.result.stages:
                if stage["stage"] == name:
                    seconds[stage["block"]] += stage["seconds"]
            totals[STAGES[name]] = sum(seconds.values())
            series.append(Series(STAGES[name], blocks, list(seconds.values()), style.STAGES[name]))
        whole = sum(totals.values())
        shares = ", ".join(f"{name} {value / whole:.0%}" for name, value in totals.items()) if whole else ""
        told = spread_out([f"{duration(whole)} of training: {shares}" if shares else "no time"])
        return self.figures.add_one("Time", bars(series, "block learned", "seconds"), told)

    def _memory(
        self, blocks: Sequence[int], kinds: Sequence[str], known: Sequence[Mapping[str, Any]]
    ) -> Figure:
        series = []
        for name in kinds:
            peaks = {stage["block"]: stage["peak_rss_mb"] for stage in known if stage["stage"] == name}
            series.append(Series(STAGES[name], blocks, [peaks.get(k) for k in blocks], style.STAGES[name]))
        top = max(known, key=lambda stage: stage["peak_rss_mb"])
        where = f"block {top['block']}, {STAGES.get(top['stage'], top['stage'])}"
        told = spread_out([f"peak {top['peak_rss_mb']:,.0f} MB, first reached in {where}"])
        plot = bars(series, "block learned", "MB", mode="group")
        return self.figures.add_one("Peak memory", plot, told)

    def _stages(self) -> Table:
        rows = []
        for stage in self.result.stages:
            losses, scores = stage.get("loss", ()), stage.get("valid_score", ())
            ends = [f"{losses[0]:.4g}", f"{losses[-1]:.4g}"] if losses else [None, None]
            best = max((score for _, score in scores), default=None)
            replayed = sum(stage.get("replayed", {}).values())
            peak = stage["peak_rss_mb"]
            rows.append(
                [
                    f"block {stage['block']}, {self._title(stage)}",
                    stage["epochs"],
                    *ends,
                    best,
                    f"{replayed:,}" if replayed else None,
                    f"{stage['seconds']:,.1f}",
                    None if peak is None else f"{peak:,.0f}",
                ]
            )
        metric = f"best {self.result.primary_metric}"
        header = ["stage", "epochs", "first loss", "last loss", metric, "replayed", "seconds", "peak MB"]
        return Table(rows, header)


def _role_lines(values: Mapping[str, Values], metric: str, span: tuple[float, float] | None = None) -> Plot:
    series = [Series(role, range(len(y)), y, style.ROLES[role]) for role, y in values.items()]
    return lines(series, "block", metric, span)


def _mean(values: Values) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
