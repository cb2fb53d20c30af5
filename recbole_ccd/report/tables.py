"""The tables a run prints: one after each block, and one at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from recbole_ccd.config.catalogue import shown_strategy
from recbole_ccd.data.block import Block
from recbole_ccd.evaluation.result import RANDOM, ROLES, UNSERVED, StreamResult
from recbole_ccd.evaluation.sampling import sampled_line, with_error
from recbole_ccd.evaluation.summary import definitions
from recbole_ccd.report.width import filled, fitted, terminal_width

_SHORT = {"student": "S", "teacher": "T"}
_MEGABYTE = 1e6


def stream_table(stream: Iterable[Block], width: int | None = None) -> str:
    """The blocks of a stream and what arrives with each; printed before anything is trained.

    Args:
        stream: the blocks.
        width: columns that there are; default those of the terminal.

    Returns:
        A table of interactions per part, known users and items, and how many of them are new.
    """
    rows = [
        [
            block.index,
            *(len(part) for part in (block.train, block.valid, block.test)),
            block.n_users - 1,
            block.n_users - block.n_old_users,
            block.n_items - 1,
            block.n_items - block.n_old_items,
        ]
        for block in stream
    ]
    header = ["block", "train", "valid", "test", "users", "new", "items", "new"]
    return f"The stream\n{_table(rows, header, width or terminal_width())}"


def block_table(result: StreamResult, block: int, width: int | None = None) -> str:
    """What is known after a block, in the primary metric.

    Args:
        result: a result with the rows of this block; a role without it is left out.
        block: the block k.
        width: columns that there are; default those of the terminal.

    Returns:
        A title, a table and what its columns mean: per role R[k][0..k], LA, RA, H-mean, and the metric over
        new users and new items; ``-`` where a value does not exist. A table that is too wide is divided.

    Raises:
        ValueError: If no role has a row for the block.
    """
    roles = [role for role in result.roles if result.n_rows(role) > block]
    if not roles:
        raise ValueError(f"there is no row for block {block} yet")
    tests = [f"B{j}" for j in range(block + 1)]
    known = result.known[block]
    strategy = shown_strategy(result.head["strategy"], result.head["model"])
    title = (
        f"{strategy}: {result.primary_metric} after block {block} of "
        f"0..{result.n_blocks - 1}, {known['users']} users and {known['items']} items known"
    )
    header = ["", *tests, "LA", "RA", "H", "new users", "new items"]
    width = width or terminal_width()
    table = _table([_block_row(result, role, block) for role in roles], header, width)
    told = [title, _block_legend(result, block), sampled_line(result.eval_users)]
    head, *foot = (filled(part, width) for part in told if part)
    return "\n".join([head, table, *foot])


def next_line(result: StreamResult, block: int) -> str:
    """How the models after a block do on the one that comes then, in the primary metric.

    Args:
        result: a result with what was measured of it.
        block: the last block that they have learned.
    """
    metric = result.primary_metric
    found = {role: result.next_values(role, metric)[block] for role in (*ROLES, RANDOM)}
    errors = {role: result.next_error(role, metric)["next"][block] for role in found}
    shown = ", ".join(
        f"{role} {value:.4f}" if errors[role] is None else f"{role} {with_error(value, errors[role])}"
        for role, value in found.items()
        if value is not None
    )
    shares = result.unserved[block] or {}
    unknown = ", ".join(f"{share:.1%} of its {kind}" for kind, share in shares.items())
    measured = f"{metric}: {shown or 'nothing to measure'}"
    return f"block {block + 1} before it is learned, {measured}; not served: {unknown}"


def final_table(result: StreamResult, width: int | None = None) -> str:
    """The whole stream: student and teacher side by side, every metric, sizes, and what each column means.

    Args:
        result: a result with at least one row.
        width: columns that there are; default those of the terminal.

    Returns:
        Up to four tables and the definitions; a table that is too wide is divided.

    Raises:
        ValueError: If the result has no rows.
    """
    if not result.roles:
        raise ValueError("the result has no rows yet")
    head = result.head
    strategy = shown_strategy(head["strategy"], head["model"])
    title = f"{strategy} with {head['model']} on {head['dataset']}, seed {head['seed']}"
    width = width or terminal_width()
    parts = [
        filled(f"{title}: {result.primary_metric} after each block", width),
        _stream_table(result, width),
        "After the last block",
        _metric_table(result, width),
        _next_table(result, width),
        _size_table(result, width),
        filled(_chosen_rates(result), width),
        filled(_legend(result), width),
        filled(sampled_line(result.eval_users), width),
    ]
    return "\n\n".join(part for part in parts if part)


def _chosen_rates(result: StreamResult) -> str:
    """The learning rates that the run has chosen itself; nothing where all were set."""
    rates: dict[str, dict[str, None]] = {}
    for record in result.stages:
        if "chosen_rate" in record:
            chosen = record["chosen_rate"]
            words = f"{chosen['model']} {chosen['rate']:g}"
            rates.setdefault(record["stage"].replace("_", " "), {})[words] = None
    shown = "; ".join(f"{stage} {', '.join(words)}" for stage, words in rates.items())
    return f"Learning rates chosen: {shown}" if shown else ""


def _block_row(result: StreamResult, role: str, block: int) -> list[Any]:
    metric = result.primary_metric
    summary = result.summary(role, metric)
    error = result.summary_error(role, metric)
    cells = [with_error(*pair) for pair in zip(summary["R"][block], error["R"][block], strict=True)]
    cells += [with_error(summary[key][block], error[key][block]) for key in ("LA", "RA", "H")]
    for kind in ("users", "items"):
        new = result.new_entities(kind, role, metric), result.new_entity_errors(kind, role, metric)
        cells.append(with_error(new[0][block], new[1][block]))
    return [role, *cells]


def _block_legend(result: StreamResult, block: int) -> str:
    first, last = int(not result.include_base), block - int(not result.include_current)
    retained = f"mean of B{first}..B{last}" if block and first <= last else "none yet"
    return (
        f"Bj: block j's {result.eval_part} part; LA: mean of R[i][i], {first} <= i <= {block}; "
        f"RA: {retained}; H: their harmonic mean;\n"
        "new users, new items: those that first appear in this block"
    )


def _stream_table(result: StreamResult, width: int) -> str:
    metric = result.primary_metric
    header = ["block", "users", "items"]
    columns: list[Sequence[Any]] = [
        range(result.n_blocks),
        [known["users"] for known in result.known],
        [known["items"] for known in result.known],
    ]
    for role in result.roles:
        summary = result.summary(role, metric)
        header += [f"{name} {_SHORT[role]}" for name in ("R[k][k]", "LA", "RA", "H")]
        error = result.summary_error(role, metric)
        values, errors = (
            [[row[-1] for row in one["R"]], *(one[name] for name in ("LA", "RA", "H"))]
            for one in (summary, error)
        )
        columns += [list(map(with_error, *pair)) for pair in zip(values, errors, strict=True)]
    n_rows = max(result.n_rows(role) for role in result.roles)
    rows = [[column[k] if k < len(column) else None for column in columns] for k in range(n_rows)]
    return _table(rows, header, width)


def _metric_table(result: StreamResult, width: int) -> str:
    header = ["metric"]
    for role in result.roles:
        header += [f"{name} {_SHORT[role]}" for name in ("H", "BWT", "forgetting", "next")]
    rows = []
    for metric in result.metric_names:
        row: list[Any] = [metric]
        for role in result.roles:
            summary = result.summary(role, metric)
            error = result.summary_error(role, metric)
            row.append(with_error(summary["H"][-1], error["H"][-1]))
            row += [with_error(summary[name], error[name]) for name in ("BWT", "forgetting")]
            ahead, beside = result.next_summary(role, metric), result.next_error(role, metric)
            row.append(with_error(ahead["next_mean"], beside["next_mean"]))
        rows.append(row)
    return _table(rows, header, width)


def _next_table(result: StreamResult, width: int) -> str:
    rows = next_rows(result, result.primary_metric)
    title = f"{result.primary_metric} on each block before it is learned, and what of it is not served"
    return f"{filled(title, width)}\n\n{_table(rows, next_header(result), width)}" if rows else ""


def next_header(result: StreamResult) -> list[str]:
    """The columns of :func:`next_rows`."""
    return ["block", *(f"next {_SHORT[role]}" for role in result.roles), RANDOM, *UNSERVED]


def next_rows(result: StreamResult, metric: str) -> list[list[Any]]:
    """A row for each block that has been measured before it was learned, and what they come to.

    Args:
        result: the result.
        metric: name of the metric.

    Returns:
        Block k + 1, the metric of each role's model after block k, that of a random order, and the shares of
        the block's users, items and interactions that could not be served; then the mean, and FWT. No row
        where nothing has been measured.
    """
    columns = [
        list(map(with_error, result.next_values(role, metric), result.next_error(role, metric)["next"]))
        for role in (*result.roles, RANDOM)
    ]
    rows: list[list[Any]] = [
        [k + 1, *(column[k] for column in columns), *(shares[kind] for kind in UNSERVED)]
        for k, shares in enumerate(result.unserved)
        if shares is not None
    ]
    found = [
        {name: with_error(summary[name], error[name]) for name in ("next_mean", "FWT")}
        for role in result.roles
        for summary, error in [(result.next_summary(role, metric), result.next_error(role, metric))]
    ]
    nothing = [None] * (1 + len(UNSERVED))
    ends = (("mean", "next_mean"), ("FWT", "FWT"))
    return rows and rows + [[name, *(one[quantity] for one in found), *nothing] for name, quantity in ends]


def _size_table(result: StreamResult, width: int) -> str:
    rows: list[list[Any]] = [
        [role, f"{size['parameters']:,}", f"{size['bytes'] / _MEGABYTE:,.2f}"]
        for role, size in result.sizes.items()
    ]
    if {"student", "teacher"} <= result.sizes.keys():
        ratios = [_ratio(result, "parameters"), _ratio(result, "bytes")]
        rows.append(["teacher : student", *ratios])
    return _table(rows, ["size", "parameters", "MB"], width, numbers=False) if rows else ""


def _ratio(result: StreamResult, key: str) -> str:
    student = result.sizes["student"][key]
    return f"{result.sizes['teacher'][key] / student:.1f} : 1" if student else "-"


def _legend(result: StreamResult) -> str:
    lines = definitions(result.include_base, result.include_current, result.eval_part)
    shown = ("R", "LA", "RA", "H", "BWT", "forgetting", "next", "FWT", "not served")
    marks = ", ".join(f"{_SHORT[role]}: {role}" for role in result.roles)
    size = "size: parameters, frozen ones too, or fitted values; MB (10^6 bytes) of the state dict or these"
    sizes = size if result.sizes else ""
    return "\n".join([marks, *(f"{name}: {lines[name]}" for name in shown), *([sizes] if sizes else [])])


def _table(rows: Iterable[Sequence[Any]], header: Sequence[str], width: int, numbers: bool = True) -> str:
    def render(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
        return tabulate(
            rows,
            header,
            tablefmt="simple",
            floatfmt=".4f",
            missingval="-",
            colalign=["left", *["right"] * (len(header) - 1)],
            disable_numparse=not numbers,
        )

    return fitted(list(rows), header, width, render)
