"""A search as tables: for the console, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from tabulate import tabulate

from recbole_ccd.config.catalogue import shown_strategy
from recbole_ccd.evaluation.sampling import sampled_line, with_error
from recbole_ccd.evaluation.seeds import Spread
from recbole_ccd.experiment.search.outcome import QUANTITIES, SearchResult, TrialOutcome
from recbole_ccd.experiment.search.plan import shown
from recbole_ccd.report.width import filled, fitted, terminal_width
from recbole_ccd.utils.errors import one_line

_LEGEND = (
    "best: the highest H-mean (H) of learning average (LA) and retained average (RA) of the student after "
    "the last block, on the valid parts, mean over seeds"
)


def search_table(result: SearchResult, width: int | None = None) -> str:
    """The trials made so far, the best one marked; printed after each of them.

    Args:
        result: the search.
        width: columns that there are; default those of the terminal.
    """
    columns = width or terminal_width()
    table = fitted(*_cells(result), columns, partial(_table, style="simple"))
    sample = filled(sampled_line(result.head.get("eval_users")), columns)
    parts = [filled(_title(result), columns), table, sample, *_failures(result)]
    return "\n".join(part for part in parts if part)


def search_markdown(result: SearchResult) -> str:
    """The same as a Markdown page."""
    space = "\n".join(f"- `{d['name']}`: {d['kind']} {one_line(d['values'])}" for d in result.space)
    failures = "\n".join(f"- {line}" for line in _failures(result))
    parts = [f"# {_title(result)}", _table(*_cells(result), style="pipe"), *([failures] if failures else [])]
    parts += [f"## What is searched ({result.algorithm})", space, f"{_LEGEND}."]
    sample = sampled_line(result.head.get("eval_users"))
    parts += [f"{sample}."] if sample else []
    return "\n\n".join(parts) + "\n"


def search_csv(result: SearchResult) -> str:
    """All trials as CSV, values with all their digits, a cell empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    spreads = [f"{quantity} {part}" for quantity in QUANTITIES for part in ("mean", "std")]
    is_sample = result.head.get("eval_users") is not None
    errors = [f"{quantity} standard error" for quantity in QUANTITIES] if is_sample else []
    writer.writerow(["trial", "folder", *result.names, "status", "best", *spreads, "error", *errors])
    for trial in result.trials:
        values = [_cell(trial.values[name]) for name in result.names]
        found = [trial.spread(quantity) for quantity in QUANTITIES]
        numbers = [number for spread in found for number in (spread.mean, spread.std)]
        best = int(trial is result.best)
        sampled = [spread.error for spread in found] if is_sample else []
        row = [trial.number, trial.folder, *values, trial.status, best, *numbers, trial.error, *sampled]
        writer.writerow(row)
    return file.getvalue()


def _title(result: SearchResult) -> str:
    head, seeds = result.head, ", ".join(map(str, result.head["seeds"]))
    what = "means over seeds" if len(head["seeds"]) > 1 else "seed"
    made = sum(trial.status != "waiting" for trial in result.trials)
    strategy = shown_strategy(head["strategy"], head["model"])
    return (
        f"{strategy} with {head['model']} on {head['dataset']}, {what} {seeds}: "
        f"{head['primary_metric']} on the valid parts, {made} of {len(result.trials)} trials"
    )


def _cells(result: SearchResult) -> tuple[list[list[str]], list[str]]:
    """Rows and header of the table of trials."""
    several = len(result.head["seeds"]) > 1
    header = ["trial", *result.names, "H", *(["± std"] if several else []), "LA", "RA", ""]
    return [_row(result, trial, several) for trial in result.trials if trial.status != "waiting"], header


def _table(rows: Sequence[Sequence[str]], header: Sequence[str], style: str) -> str:
    # the column of marks has no name
    align = ["left", *("right" if name else "left" for name in header[1:])]
    return tabulate(rows, header, tablefmt=style, colalign=align if rows else None, disable_numparse=True)


def _row(result: SearchResult, trial: TrialOutcome, several: bool) -> list[str]:
    H, LA, RA = (trial.spread(quantity) for quantity in QUANTITIES)
    mark = "best" if trial is result.best else "failed" if trial.error is not None else ""
    deviation = [_number(H.std)] if several else []
    values = [shown(trial.values[name]) for name in result.names]
    return [str(trial.number), *values, shown_mean(H), *deviation, shown_mean(LA), shown_mean(RA), mark]


def _failures(result: SearchResult) -> list[str]:
    return [
        f"trial {trial.number} failed: {trial.problem}" for trial in result.trials if trial.error is not None
    ]


def shown_mean(spread: Spread) -> str:
    """A mean as the table shows it, with its standard error where users were drawn."""
    return _number(spread.mean) if spread.error is None else str(with_error(spread.mean, spread.error))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _cell(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value
