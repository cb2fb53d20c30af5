"""Recommendations as CSV, every token as it is."""

from __future__ import annotations

import csv

import pandas as pd

_ENDS = "\r\n"


class _Lines:
    """Collects the lines of a ``csv.writer``, which end in what it must quote, as lines of text files."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, line: str) -> None:
        self.parts += (line[: -len(_ENDS)], "\n")


def csv_text(table: pd.DataFrame, header: bool) -> str:
    """The rows of a table of recommendations, numbers with seven digits.

    Args:
        table: as :meth:`~recbole_ccd.serving.Recommender.recommend` gives it.
        header: whether the names of the columns come first.
    """
    lines = _Lines()
    # the writer quotes what its lines end in, and to a reader both characters end one
    writer = csv.writer(lines, lineterminator=_ENDS)
    if header:
        writer.writerow(table.columns)
    columns = [table[name].tolist() for name in table.columns]
    scores = table.columns.get_loc("score")
    columns[scores] = [f"{value:.7g}" for value in columns[scores]]
    writer.writerows(zip(*columns, strict=True))
    return "".join(lines.parts)
