"""The numbers of a page as files that it holds itself: addresses of data, which ask no network."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from recbole_ccd.evaluation.result import StreamResult

_KINDS = ("users", "items")


def data_address(text: str, kind: str) -> str:
    """The address of a file that a page holds.

    Args:
        text: what the file holds; half of a surrogate pair becomes a question mark.
        kind: its media type, such as ``text/csv``.
    """
    content = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return f"data:{kind};charset=utf-8;base64,{content}"


def json_address(document: Any) -> str:
    """The address of a document, with the numbers as they stand in its file."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return data_address(text, "application/json")


def result_csv(result: StreamResult) -> str:
    """All that a run has measured as CSV, one line per value.

    Args:
        result: the result.

    Returns:
        Text with a header line. ``quantity`` is R, LA, RA, H, ``new users`` or ``new items``, and BWT or
        forgetting in lines of the last block; ``on_block`` is j of R[i][j] and empty for the others. What
        does not exist has no line.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["metric", "role", "after_block", "quantity", "on_block", "value"])
    writer.writerows(row for row in _rows(result) if row[-1] is not None)
    return file.getvalue()


def _rows(result: StreamResult) -> Iterator[list[Any]]:
    for metric in result.metric_names:
        for role in result.roles:
            summary = result.summary(role, metric)
            new = {kind: result.new_entities(kind, role, metric) for kind in _KINDS}
            last = result.n_rows(role) - 1
            for k, row in enumerate(summary["R"]):
                start = [metric, role, k]
                yield from ([*start, "R", j, value] for j, value in enumerate(row))
                yield from ([*start, name, "", summary[name][k]] for name in ("LA", "RA", "H"))
                yield from ([*start, f"new {kind}", "", new[kind][k]] for kind in _KINDS)
            yield from ([metric, role, last, name, "", summary[name]] for name in ("BWT", "forgetting"))
