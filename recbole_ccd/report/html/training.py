"""How a run was trained: loss curves, what was replayed, time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ccd.evaluation.result import StreamResult
from recbole_ccd.report.html import style
from recbole_ccd.report.html.elements import Figure, Figures, folded, legend, paragraph, section, table
from recbole_ccd.report.html.figures import Series, bars, stacked_lines
from recbole_ccd.report.html.words import STAGES, duration, number, sentence, spread_out

_SOURCES = tuple(style.SOURCES)
# a share that is smaller leaves no room for its number
_LEAST_SHOWN = 0.06


@dataclass
class _Curve:
    """One stage's training.

    Attributes:
        stage: what result.json has of it.
        name: block, and part of the block where it arrived in several.
    """

    stage: Mapping[str, Any]
    name: str

    @property
    def losses(self) -> Sequence[float]:
        return self.stage["loss"]

    @property
    def scores(self) -> Sequence[Sequence[float]]:
        return self.stage["valid_score"]


def training_section(result: StreamResult, figures: Figures) -> str:
    """Loss and validation curves, a panel for each kind of stage and model; empty for an old result."""
    panels = _panels(result)
    if not panels:
        return ""
    names = list(dict.fromkeys(curve.name for curves in panels.values() for curve in curves))
    looks = {name: style.ordered(n, len(names)) for n, name in enumerate(names)}
    metric = result.primary_metric
    found = [
        Figure(
            title,
            {"": _curves(curves, looks, metric)},
            {"": _told(curves, metric)},
        )
        for title, curves in panels.items()
    ]
    note = (
        "Above: the mean loss over an epoch's batches, in which terms of distillation and retention count "
        f"and passes of their own, as that of replay, do not. Below: {metric} on the validation parts, where "
        "an epoch was validated."
    )
    return section("Training", paragraph(note, "note"), legend(looks), figures.row(found, "small"))


def _panels(result: StreamResult) -> dict[str, list[_Curve]]:
    panels: dict[str, list[_Curve]] = {}
    seen: Counter[tuple[str, int | None, int]] = Counter()
    for stage in result.stages:
        which = (stage["stage"], stage["member"], stage["block"])
        seen[which] += 1
        part = f", part {seen[which]}" if seen[which] > 1 else ""
        # models without gradient steps have no loss
        if any(stage.get("loss", ())):
            curve = _Curve(stage, f"block {stage['block']}{part}")
            panels.setdefault(_title(result, stage), []).append(curve)
    return panels


def _title(result: StreamResult, stage: Mapping[str, Any]) -> str:
    name, member = STAGES.get(stage["stage"], stage["stage"]), stage["member"]
    name = sentence(name)
    if member is None:
        return f"{name}, student" if stage["stage"] == "base" else name
    models = result.settings.get("teacher_models") or []
    model = f" ({models[member]})" if member < len(models) else ""
    return f"{name}, member {member}{model}"


def _curves(curves: Sequence[_Curve], looks: Mapping[str, style.Style], metric: str) -> Any:
    losses = [Series(one.name, range(1, len(one.losses) + 1), one.losses, looks[one.name]) for one in curves]
    scores = [
        Series(one.name, [e for e, _ in one.scores], [score for _, score in one.scores], looks[one.name])
        for one in curves
        if one.scores
    ]
    return stacked_lines(losses, scores, "epoch", ("loss", metric))


def _told(curves: Sequence[_Curve], metric: str) -> str:
    last = curves[-1]
    epochs = len(last.losses)
    fell = f"{last.name}: loss {last.losses[0]:.4g}"
    if epochs > 1:
        fell += f", {last.losses[-1]:.4g} after {epochs} epochs"
    best = ""
    if last.scores:
        epoch, score = max(last.scores, key=lambda pair: pair[1])
        best = f"best {metric} {number(score)} after epoch {epoch}"
    return spread_out([fell, best])


def replay_section(result: StreamResult, figures: Figures) -> str:
    """Shares of the sources in what was replayed; empty where nothing was."""
    panels, used = [], set()
    for name in ("student_update", "teacher_update"):
        counts: dict[int, Counter[str]] = {}
        for stage in result.stages:
            if stage["stage"] == name and any(stage.get("replayed", {}).values()):
                counts.setdefault(stage["block"], Counter()).update(stage["replayed"])
        if counts:
            panels.append(_replay_figure(name, counts))
            used |= {source for of_block in counts.values() for source in of_block}
    if not panels:
        return ""
    note = (
        "Pairs of a user and an item by the frozen model that they were drawn from, counted in each epoch "
        "that replays them; a pair that several sources have drawn counts for each. Members of the teacher "
        "together."
    )
    looks = {source: style.SOURCES[source] for source in _SOURCES if source in used}
    return section("Replay", paragraph(note, "note"), legend(looks, bars=True), figures.row(panels, "wide"))


def _replay_figure(name: str, counts: Mapping[int, Counter[str]]) -> Figure:
    blocks = sorted(counts)
    series = []
    for source in (one for one in _SOURCES if any(one in of_block for of_block in counts.values())):
        shares = [counts[k][source] / counts[k].total() for k in blocks]
        texts = [f"{share:.0%}" if share >= _LEAST_SHOWN else "" for share in shares]
        heights = [100 * share for share in shares]
        series.append(Series(source, blocks, heights, style.SOURCES[source], texts=texts))
    whole: Counter[str] = sum(counts.values(), Counter())
    ranked = sorted(whole.items(), key=lambda entry: (-entry[1], entry[0]))
    shares = [f"{source} {count / whole.total():.1%}" for source, count in ranked]
    told = spread_out([f"{whole.total():,} pairs in all: {', '.join(shares)}"])
    return Figure(sentence(STAGES[name]), {"": bars(series, "block", "% of pairs")}, {"": told})


def cost_section(result: StreamResult, figures: Figures) -> str:
    """Seconds and peak memory of each stage."""
    stages = result.stages
    if not stages:
        return ""
    kinds = [name for name in style.STAGES if any(stage["stage"] == name for stage in stages)]
    looks = {STAGES[name]: style.STAGES[name] for name in kinds}
    panels = [_time_figure(stages, kinds)]
    if any(stage["peak_rss_mb"] is not None for stage in stages):
        panels.append(_memory_figure(stages, kinds))
    note = "Memory is the peak of the process so far: it never falls, and counts what ran before in it."
    return section(
        "Time and memory",
        paragraph(note, "note"),
        legend(looks, bars=True),
        figures.row(panels, "wide"),
        folded("Every stage", _stage_table(result)),
    )


def _time_figure(stages: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> Figure:
    blocks = sorted({stage["block"] for stage in stages})
    series, totals = [], {}
    for name in kinds:
        seconds = dict.fromkeys(blocks, 0.0)
        for stage in stages:
            if stage["stage"] == name:
                seconds[stage["block"]] += stage["seconds"]
        totals[STAGES[name]] = sum(seconds.values())
        series.append(Series(STAGES[name], blocks, list(seconds.values()), style.STAGES[name]))
    whole = sum(totals.values())
    shares = [f"{name} {value / whole:.0%}" for name, value in totals.items()] if whole else []
    told = spread_out([f"{duration(whole)} of training: {', '.join(shares)}" if shares else "no time"])
    return Figure("Time", {"": bars(series, "block learned", "seconds")}, {"": told})


def _memory_figure(stages: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> Figure:
    blocks = sorted({stage["block"] for stage in stages})
    known = [stage for stage in stages if stage["peak_rss_mb"] is not None]
    series = []
    for name in kinds:
        peaks = {stage["block"]: stage["peak_rss_mb"] for stage in known if stage["stage"] == name}
        series.append(Series(STAGES[name], blocks, [peaks.get(k) for k in blocks], style.STAGES[name]))
    top = max(known, key=lambda stage: stage["peak_rss_mb"])
    where = f"block {top['block']}, {STAGES.get(top['stage'], top['stage'])}"
    told = spread_out([f"peak {top['peak_rss_mb']:,.0f} MB, first reached in {where}"])
    return Figure("Peak memory", {"": bars(series, "block learned", "MB", mode="group")}, {"": told})


def _stage_table(result: StreamResult) -> str:
    rows = []
    for stage in result.stages:
        losses, scores = stage.get("loss", ()), stage.get("valid_score", ())
        ends = [f"{losses[0]:.4g}", f"{losses[-1]:.4g}"] if losses else [None, None]
        best = max((score for _, score in scores), default=None)
        replayed = sum(stage.get("replayed", {}).values())
        peak = stage["peak_rss_mb"]
        rows.append(
            [
                f"block {stage['block']}, {_title(result, stage)}",
                stage["epochs"],
                *ends,
                best,
                f"{replayed:,}" if replayed else None,
                f"{stage['seconds']:,.1f}",
                None if peak is None else f"{peak:,.0f}",
            ]
        )
    metric = f"best {result.primary_metric}"
    header = ["stage", "epochs", "first loss", "last loss", metric, "replayed", "seconds", "peak MB"]
    return table(rows, header)
