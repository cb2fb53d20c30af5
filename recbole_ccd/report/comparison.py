"""A comparison as tables: for the console, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from tabulate import tabulate

from recbole_ccd.evaluation.comparison import COMPETITORS
from recbole_ccd.evaluation.seeds import Gain, Spread
from recbole_ccd.evaluation.stored import AnyComparison
from recbole_ccd.evaluation.summary import definitions
from recbole_ccd.report.width import filled, fitted, terminal_width

_AT_END = ("LA", "RA", "BWT", "forgetting")
_CSV_QUANTITIES = ("H", "LA", "RA", "BWT", "forgetting")
_SHORT = {"student": "S", "teacher": "T"}
_MEGABYTE = 1e6
_RIGHT = ("± std", "gain", "relative", "p", "MB", "base s", "updates s")
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

    parts = [filled(comparison_title(comparison), columns)]
    for role in comparison.roles:
        tables = comparison_tables(comparison, role, metric, CONSOLE, simple)
        parts += [f"{filled(heading, columns)}\n{table}" for heading, table in tables]
    parts.append(f"Size and time\n{cost_table(comparison, simple)}")
    marks = "**: the best mean of its column, *: the second best, among all in the table"
    legend = [filled(line, columns) for line in (marks, *legend_lines(comparison))]
    return "\n\n".join([*parts, "\n".join(legend)])


def comparison_markdown(comparison: AnyComparison) -> str:
    """The tables of every metric as a Markdown page; the best in bold, the second best in italics.

    Args:
        comparison: the runs compared.
    """
    parts = [f"# {comparison_title(comparison)}"]
    for metric in comparison.metric_names:
        parts.append(f"## {metric}")
        for role in comparison.roles:
            for heading, table in comparison_tables(comparison, role, metric, MARKDOWN, pipe_table):
                parts += [f"### {heading}", table]
    parts += ["## Size and time", cost_table(comparison, pipe_table), "## What the columns are"]
    marks = "bold: the best mean of its column, italics: the second best, among all in the table"
    parts.append("\n".join(f"- {line}" for line in [marks, *legend_lines(comparison)]))
    return "\n\n".join(parts) + "\n"


def comparison_csv(comparison: AnyComparison) -> str:
    """All numbers as CSV, one line per metric, role, label and block.

    Args:
        comparison: the runs compared.

    Returns:
        Text with a header line; BWT and forgetting stand in the lines of the last block, gains in those of
        CCD; a cell is empty where there is no value.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    spreads = [f"{quantity} {part}" for quantity in _CSV_QUANTITIES for part in ("mean", "std")]
    gains = ["best competitor", "gain", "relative gain", "p"]
    writer.writerow(["metric", "role", "label", "strategy", "seeds", "block", *spreads, *gains])
    writer.writerows(_csv_rows(comparison))
    return file.getvalue()


def _csv_rows(comparison: AnyComparison) -> Iterator[list[Any]]:
    n_blocks, n_seeds = comparison.n_blocks, len(comparison.seeds)
    for metric in comparison.metric_names:
        for role in comparison.roles:
            gains = comparison.gains(role, metric)
            for label in comparison.labels_of(role):
                found = [comparison.spreads(role, metric, label, q) for q in _CSV_QUANTITIES]
                # what has one entry is known after the last block only
                columns = [[_ABSENT] * (n_blocks - len(spreads)) + spreads for spreads in found]
                for k, of_block in enumerate(zip(*columns, strict=True)):
                    numbers = [number for spread in of_block for number in (spread.mean, spread.std)]
                    gain = gains[label][k] if label in gains else None
                    own = [gain.competitor, gain.gain, gain.relative, gain.p] if gain else [None] * 4
                    yield [metric, role, label, comparison.strategies[label], n_seeds, k, *numbers, *own]


def comparison_title(comparison: AnyComparison) -> str:
    """Model, data set and seeds."""
    head, seeds = comparison.head, ", ".join(map(str, comparison.seeds))
    what = "means over seeds" if len(comparison.seeds) > 1 else "seed"
    part = "" if comparison.eval_part == "test" else f", on the {comparison.eval_part} parts"
    return f"{head['model']} on {head['dataset']}, {what} {seeds}{part}"


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
        H after each block, the other averages after the last one, and what each label of CCD gains.
    """
    yield f"{role}: H of {metric} after each block", _block_table(comparison, role, metric, marks, table)
    yield f"{role}: {metric} after the last block", _end_table(comparison, role, metric, marks, table)
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
        rows.append([label, *cells[1:], _number(spreads[-1].std)])
    return table(rows, ["", *(f"block {k}" for k in range(1, comparison.n_blocks)), "± std"])


def _end_table(comparison: AnyComparison, role: str, metric: str, marks: Marks, table: Table[T]) -> T:
    rankings = {quantity: comparison.ranking(role, metric, quantity)[-1] for quantity in _AT_END}
    rows = []
    for label in comparison.labels_of(role):
        cells = [label]
        for quantity, ranking in rankings.items():
            spread = comparison.spreads(role, metric, label, quantity)[-1]
            # with its sign BWT is as wide as any other
            shown = _marked(label, spread, ranking, marks, "+.4f" if quantity == "BWT" else ".4f")
            cells += [shown, _number(spread.std)]
        rows.append(cells)
    return table(rows, ["", *(name for quantity in _AT_END for name in (quantity, "± std"))])


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
        cells = [label]
        for role in comparison.roles:
            size = sizes.get(role)
            cells += [f"{size['parameters']:,}", f"{size['bytes'] / _MEGABYTE:,.2f}"] if size else ["-", "-"]
        rows.append([*cells, f"{seconds['base']:,.1f}", f"{seconds['updates']:,.1f}"])
    return table(rows, [*header, "base s", "updates s"])


def legend_lines(comparison: AnyComparison) -> list[str]:
    """What the columns of all these tables are, each line beginning with their names and a colon."""
    lines = definitions(comparison.include_base, comparison.include_current)
    shown = [f"{name}: {lines[name]}" for name in ("H", *_AT_END)]
    std = "± std: sample standard deviation over seeds, in the table of H that of the last block"
    roles = ", ".join(f"{_SHORT[role]}: {role}" for role in comparison.roles)
    size = f"{roles}; parameters: frozen ones too, or fitted values; MB: 10^6 bytes"
    times = "base s, updates s: seconds of training in block 0 and in all later ones, mean over seeds"
    return [*shown, std, *_gain_legend(comparison), size, times]


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
    return marks[place].format(_number(spread.mean, form))


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _simple(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    return _table(rows, header, "simple")


def pipe_table(rows: list[list[str]], header: list[str]) -> str:
    """A Markdown table; numbers without marks stand on the right."""
    return _table(rows, header, "pipe")


def _table(rows: Sequence[Sequence[str]], header: Sequence[str], style: str) -> str:
    # marks follow their numbers, so that these keep their places only on the left
    align = ["right" if name.startswith(_RIGHT) else "left" for name in header]
    return tabulate(rows, header, tablefmt=style, colalign=align, disable_numparse=True)
