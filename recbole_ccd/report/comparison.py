"""A comparison as tables: for the console, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tabulate import tabulate

from recbole_ccd.config.catalogue import shown_strategy
from recbole_ccd.evaluation.comparison import COMPETITORS, METHOD, RETRAINING
from recbole_ccd.evaluation.result import UNSERVED
from recbole_ccd.evaluation.sampling import sampled_line
from recbole_ccd.evaluation.seeds import Gain, Spread
from recbole_ccd.evaluation.stored import AnyComparison
from recbole_ccd.evaluation.summary import definitions
from recbole_ccd.report.width import filled, fitted, terminal_width

_AT_END = ("LA", "RA", "BWT", "forgetting")
_CSV_QUANTITIES = ("H", "LA", "RA", "BWT", "forgetting", "next", "next_mean", "FWT")
NEXT = "next,"
_SHORT = {"student": "S", "teacher": "T"}
_MEGABYTE = 1e6
_RIGHT = ("± std", "gain", "relative", "p", "MB", "base s", "updates s", "s B", "% ", "B")
_LEFT = ("BWT",)
_ABSENT = Spread(None, None)

# how a number is shown that is the best (0), the second best (1) or neither (2)
Marks = Sequence[str]
CONSOLE: Marks = ("{}**", "{}*", "{}")
MARKDOWN: Marks = ("**{}**", "*{}*", "{}")
T = TypeVar("T")
Table = Callable[[list[list[str]], list[str]], T]


def comparison_table(comparison: AnyComparison, width: int | None = None) -> str:
    """The comparison in the primary metric, printed after the last run.

    Args:
        comparison: the runs compared.
        width: columns that there are; default those of the terminal.

    Returns:
        Per role H after each block and the other averages after the last one, best and second best marked;
        what CCD gains over the best competitor; sizes and times; and what all that means. A table that is
        too wide is divided.
    """
    metric, columns = comparison.primary_metric, width or terminal_width()

    def simple(rows: list[list[str]], header: list[str]) -> str:
        return fitted(rows, header, columns, _simple)

    head = [comparison_title(comparison), *headlines(comparison)]
    parts = ["\n".join(filled(line, columns) for line in head)]
    for role in comparison.roles:
        tables = comparison_tables(comparison, role, metric, CONSOLE, simple)
        parts += [f"{filled(heading, columns)}\n{table}" for heading, table in tables]
    parts.append(f"Size and time\n{cost_table(comparison, simple)}")
    parts += [f"{filled(heading, columns)}\n{table}" for heading, table in cost_tables(comparison, simple)]
    marks = "**: the best mean of its column, *: the second best, among all in the table"
    legend = [filled(line, columns) for line in (marks, *legend_lines(comparison))]
    return "\n\n".join([*parts, "\n".join(legend)])


def comparison_markdown(comparison: AnyComparison) -> str:
    """The tables of every metric as a Markdown page; the best in bold, the second best in italics.

    Args:
        comparison: the runs compared.
    """
    parts = [f"# {comparison_title(comparison)}", *(f"**{line}**" for line in headlines(comparison))]
    for metric in comparison.metric_names:
        parts.append(f"## {metric}")
        for role in comparison.roles:
            for heading, table in comparison_tables(comparison, role, metric, MARKDOWN, pipe_table):
                parts += [f"### {heading}", table]
    parts += ["## Size and time", cost_table(comparison, pipe_table)]
    for heading, table in cost_tables(comparison, pipe_table):
        parts += [f"### {heading}", table]
    parts.append("## What the columns are")
    marks = "bold: the best mean of its column, italics: the second best, among all in the table"
    parts.append("\n".join(f"- {line}" for line in [marks, *legend_lines(comparison)]))
    return "\n\n".join(parts) + "\n"


def comparison_csv(comparison: AnyComparison) -> str:
    """All numbers as CSV, one line per metric, role, label and block.

    Args:
        comparison: the runs compared.

    Returns:
        Text with a header line; ``next`` stands in the line of the block that it was measured on, what is one
        number in those of the last block, gains in those of CCD; a cell is empty where there is no value.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    spreads = [f"{quantity} {part}" for quantity in _CSV_QUANTITIES for part in ("mean", "std")]
    errors = [] if comparison.eval_users is None else [f"{quantity} error" for quantity in _CSV_QUANTITIES]
    gains = ["best competitor", "gain", "relative gain", "p"]
    writer.writerow(["metric", "role", "label", "strategy", "seeds", "block", *spreads, *gains, *errors])
    writer.writerows(_csv_rows(comparison))
    return file.getvalue()


def _csv_rows(comparison: AnyComparison) -> Iterator[list[Any]]:
    n_blocks, n_seeds = comparison.n_blocks, len(comparison.seeds)
    for metric in comparison.metric_names:
        for role in comparison.roles:
            gains = comparison.gains(role, metric)
            for label in comparison.labels_of(role):
                found = [comparison.spreads(role, metric, label, q) for q in _CSV_QUANTITIES]
                # what has one entry is known after the last block only, and next from block 1 on
                columns = [[_ABSENT] * (n_blocks - len(spreads)) + spreads for spreads in found]
                for k, of_block in enumerate(zip(*columns, strict=True)):
                    numbers = [number for spread in of_block for number in (spread.mean, spread.std)]
                    gain = gains[label][k] if label in gains else None
                    own = [gain.competitor, gain.gain, gain.relative, gain.p] if gain else [None] * 4
                    start = [metric, role, label, comparison.strategies[label], n_seeds, k]
                    errors = [] if comparison.eval_users is None else [spread.error for spread in of_block]
                    yield [*start, *numbers, *own, *errors]


def comparison_title(comparison: AnyComparison) -> str:
    """Model, data set and seeds."""
    head, seeds = comparison.head, ", ".join(map(str, comparison.seeds))
    what = "means over seeds" if len(comparison.seeds) > 1 else "seed"
    part = "" if comparison.eval_part == "test" else f", on the {comparison.eval_part} parts"
    return f"{head['model']} on {head['dataset']}, {what} {seeds}{part}"


def _shown(comparison: AnyComparison, label: str) -> str:
    """A label as tables name its rows."""
    return shown_strategy(label, comparison.head["model"])


def comparison_tables(
    comparison: AnyComparison, role: str, metric: str, marks: Marks, table: Table[T]
) -> Iterator[tuple[str, T]]:
    """Heading and table of everything there is about a role in a metric.

    Args:
        comparison: the runs compared.
        role: ``student`` or ``teacher``.
        metric: name of the metric.
        marks: how a number is shown that is the best, the second best, or neither.
        table: makes a table, a text or whatever else, of rows and a header.

    Yields:
        H after each block, the other averages after the last one, the metric on each block before it is
        learned, and what each label of CCD gains.
    """
    yield f"{role}: H of {metric} after each block", _block_table(comparison, role, metric, marks, table)
    yield f"{role}: {metric} after the last block", _end_table(comparison, role, metric, marks, table)
    means = [comparison.spreads(role, metric, label, "next_mean") for label in comparison.labels_of(role)]
    # runs of an earlier version have measured none
    if any(one.mean is not None for (one,) in means):
        heading = f"{role}: {NEXT} {metric} on each block before it is learned"
        yield heading, _next_table(comparison, role, metric, marks, table)
    for label, gains in comparison.gains(role, metric).items():
        if any(gains):
            heading = f"{role}: what {label} gains in H of {metric} over the best competitor"
            yield heading, _gain_table(gains, table)


def _block_table(comparison: AnyComparison, role: str, metric: str, marks: Marks, table: Table[T]) -> T:
    ranking = comparison.ranking(role, metric, "H")
    rows = []
    for label in comparison.labels_of(role):
        spreads = comparison.spreads(role, metric, label, "H")
        cells = [_marked(label, *entry, marks) for entry in zip(spreads, ranking, strict=True)]
        # block 0 has no block before it, and so no RA and no H
        rows.append([_shown(comparison, label), *cells[1:], _number(spreads[-1].std)])
    return table(rows, ["", *(f"block {k}" for k in range(1, comparison.n_blocks)), "± std"])


def _end_table(comparison: AnyComparison, role: str, metric: str, marks: Marks, table: Table[T]) -> T:
    rankings = {quantity: comparison.ranking(role, metric, quantity)[-1] for quantity in _AT_END}
    rows = []
    for label in comparison.labels_of(role):
        cells = [_shown(comparison, label)]
        for quantity, ranking in rankings.items():
            spread = comparison.spreads(role, metric, label, quantity)[-1]
            # with its sign BWT is as wide as any other
            shown = _marked(label, spread, ranking, marks, "+.4f" if quantity == "BWT" else ".4f")
            cells += [shown, _number(spread.std)]
        rows.append(cells)
    return table(rows, ["", *(name for quantity in _AT_END for name in (quantity, "± std"))])


def _next_table(comparison: AnyComparison, role: str, metric: str, marks: Marks, table: Table[T]) -> T:
    quantities = ("next", "next_mean", "FWT")
    rankings = [entry for q in quantities for entry in comparison.ranking(role, metric, q)]
    rows = []
    for label in comparison.labels_of(role):
        spreads = [one for q in quantities for one in comparison.spreads(role, metric, label, q)]
        cells = [_marked(label, *entry, marks) for entry in zip(spreads, rankings, strict=True)]
        rows.append([_shown(comparison, label), *cells[:-1], _number(spreads[-2].std), cells[-1]])
    blocks = [f"block {k}" for k in range(1, comparison.n_blocks)]
    return table(rows, ["", *blocks, "mean", "± std", "FWT"])


def _gain_table(gains: Sequence[Gain | None], table: Table[T]) -> T:
    rows = [
        [
            str(block),
            gain.competitor,
            f"{gain.gain:+.4f}",
            "-" if gain.relative is None else f"{gain.relative:+.1%}",
            "< 0.0001" if gain.p is not None and gain.p < 1e-4 else _number(gain.p),
        ]
        for block, gain in enumerate(gains)
        if gain
    ]
    return table(rows, ["block", "best competitor", "gain", "relative", "p"])


def cost_table(comparison: AnyComparison, table: Table[T]) -> T:
    """Sizes by role and seconds of training, one row per label; ``table`` as of :func:`comparison_tables`."""
    header = ["", *(f"{unit} {_SHORT[role]}" for role in comparison.roles for unit in ("parameters", "MB"))]
    rows = []
    for label in comparison.labels:
        sizes, seconds = comparison.sizes(label), comparison.seconds(label)
        cells = [_shown(comparison, label)]
        for role in comparison.roles:
            size = sizes.get(role)
            cells += [f"{size['parameters']:,}", f"{size['bytes'] / _MEGABYTE:,.2f}"] if size else ["-", "-"]
        rows.append([*cells, f"{seconds['base']:,.1f}", f"{seconds['updates']:,.1f}"])
    return table(rows, [*header, "base s", "updates s"])


def cost_tables(comparison: AnyComparison, table: Table[T]) -> Iterator[tuple[str, T]]:
    """Heading and table of what training cost, beside what came of it.

    Args:
        comparison: the runs compared.
        table: as of :func:`comparison_tables`.

    Yields:
        Quality beside cost, with its share of what retraining comes to where that is compared; seconds and
        memory of each block; and what of each block nobody could be served.
    """
    yield f"Quality beside cost ({comparison.primary_metric})", _quality_table(comparison, table)
    for quantity, unit, heading in (
        ("seconds", "s", "Seconds of training in each block"),
        ("rss_mb", "MB", "Resident memory at most while a block is trained, MB"),
    ):
        costs = {label: comparison.costs(label)[quantity] for label in comparison.labels}
        rows = [
            [_shown(comparison, label), *(_number(value, ",.1f") for value in values)]
            for label, values in costs.items()
        ]
        if any(value is not None for values in costs.values() for value in values):
            yield heading, table(rows, ["", *(f"{unit} B{k}" for k in range(comparison.n_blocks))])
    if any(comparison.unserved):
        heads = [f"B{k + 1}" for k, shares in enumerate(comparison.unserved) if shares]
        rows = [
            [kind, *(f"{shares[kind]:.1%}" for shares in comparison.unserved if shares)] for kind in UNSERVED
        ]
        yield "Shares of each block that are not served before it is learned", table(rows, ["", *heads])


def _quality_table(comparison: AnyComparison, table: Table[T]) -> T:
    metric, reference, rows = comparison.primary_metric, retraining(comparison), []
    for label in comparison.labels:
        ends = [
            _with_error(comparison.spreads(role, metric, label, quantity)[-1])
            if label in comparison.labels_of(role)
            else "-"
            for role in comparison.roles
            for quantity in ("H", "next_mean")
        ]
        memory = [value for value in comparison.costs(label)["rss_mb"] if value is not None]
        cells = [_shown(comparison, label), *ends, f"{comparison.seconds(label)['updates']:,.1f}"]
        cells.append(f"{max(memory):,.1f}" if memory else "-")
        if reference is not None:
            shares = share_of_retraining(comparison, label, reference)
            cells += ["-" if share is None else f"{share:.1%}" for share in shares]
        rows.append(cells)
    header = ["", *(f"{name} {_SHORT[role]}" for role in comparison.roles for name in ("H", "next"))]
    header += ["updates s", "MB at most", *(["% of H S", "% of s"] if reference else [])]
    return table(rows, header)


def retraining(comparison: AnyComparison) -> str | None:
    """The label that quality and time of the others are held against; None where nobody trains anew."""
    found = {comparison.strategies[label]: label for label in reversed(comparison.labels)}
    return next((found[strategy] for strategy in RETRAINING if strategy in found), None)


def share_of_retraining(
    comparison: AnyComparison, label: str, reference: str
) -> tuple[float | None, float | None]:
    """What a label has of retraining's quality, and for what part of its time.

    Args:
        comparison: the runs compared.
        label: the label.
        reference: that of retraining.

    Returns:
        The student's H in the primary metric after the last block, mean over seeds, as a share of the
        other's; and the seconds of training after the base block. None where there is no such share.
    """
    quality = [
        comparison.spreads("student", comparison.primary_metric, one, "H")[-1].mean
        if one in comparison.labels_of("student")
        else None
        for one in (label, reference)
    ]
    seconds = [comparison.seconds(one)["updates"] for one in (label, reference)]
    return _ratio(*quality), _ratio(*seconds)


def headlines(comparison: AnyComparison) -> list[str]:
    """What each label of CCD has of retraining's quality, and for what part of its time.

    Args:
        comparison: the runs compared.

    Returns:
        A line for each label of CCD, or, where there is none, for each that does not train anew; none where
        nothing to be held against is compared.
    """
    reference = retraining(comparison)
    if reference is None:
        return []
    of = comparison.strategies
    ours = [label for label in comparison.labels if of[label] == METHOD]
    lines = []
    for label in ours or [label for label in comparison.labels if of[label] not in RETRAINING]:
        quality, time = share_of_retraining(comparison, label, reference)
        if quality is not None and time is not None:
            lines.append(f"{label}: {quality:.1%} of {reference}'s quality at {time:.1%} of its time")
    return lines


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def legend_lines(comparison: AnyComparison) -> list[str]:
    """What the columns of all these tables are, each line beginning with their names and a colon."""
    lines = definitions(comparison.include_base, comparison.include_current, comparison.eval_part)
    shown = [f"{name}: {lines[name]}" for name in ("H", *_AT_END, "next", "FWT", "not served")]
    std = "± std: sample standard deviation over seeds, in the table of H that of the last block"
    roles = ", ".join(f"{_SHORT[role]}: {role}" for role in comparison.roles)
    size = f"{roles}; parameters: frozen ones too, or fitted values; MB: 10^6 bytes"
    times = "base s, updates s: seconds of training in block 0 and in all later ones, mean over seeds"
    costs = (
        "s B0, MB B0, …: seconds of training, and resident memory of the process at most while it trained, "
        "in block 0, …; mean over seeds. What was compared before in the same process may still hold memory"
    )
    drawn = sampled_line(comparison.eval_users)
    ends = [size, times, costs, *_retraining_legend(comparison), *([drawn] if drawn else [])]
    return [*shown, std, *_gain_legend(comparison), *ends]


def _retraining_legend(comparison: AnyComparison) -> list[str]:
    reference = retraining(comparison)
    if reference is None:
        return []
    return [
        f"% of H S, % of s: H of the student after the last block, and updates s, as shares of those of "
        f"{reference}; these are quality and time in the first lines"
    ]


def _gain_legend(comparison: AnyComparison) -> list[str]:
    if not any(map(any, comparison.gains(comparison.roles[0], comparison.primary_metric).values())):
        return []
    among = ", ".join(label for label in comparison.labels if comparison.strategies[label] in COMPETITORS)
    return [
        f"best competitor: the highest mean H in that block among those that learn every block: {among}",
        "gain: difference of the mean H; relative: its share of the competitor's mean H",
        "p: two-sided t-test paired by seed, against that competitor; - with fewer than two seeds",
    ]


def _marked(
    label: str, spread: Spread, ranking: tuple[list[str], list[str]], marks: Marks, form: str = ".4f"
) -> str:
    place = next((place for place, labels in enumerate(ranking) if label in labels), 2)
    return marks[place].format(_with_error(spread, form))


def _with_error(spread: Spread, form: str = ".4f") -> str:
    shown = _number(spread.mean, form)
    return shown if spread.mean is None or spread.error is None else f"{shown} ± {spread.error:.4f}"


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _simple(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return _table(rows, header, "simple")


def pipe_table(rows: list[list[str]], header: list[str]) -> str:
    """A Markdown table; numbers without marks stand on the right."""
    return _table(rows, header, "pipe")


def _table(rows: Sequence[Sequence[str]], header: Sequence[str], style: str) -> str:
    # marks follow their numbers, so that these keep their places only on the left
    right = [name.startswith(_RIGHT) and not name.startswith(_LEFT) for name in header]
    align = ["right" if one else "left" for one in right]
    return tabulate(rows, header, tablefmt=style, colalign=align, disable_numparse=True)
