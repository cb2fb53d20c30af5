"""A page put together from its template: one file that needs no other, and no network.

Templates are given plain values: texts, numbers, and the figures and tables below. Jinja escapes all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import recbole_ccd
from recbole_ccd.report.html.figures import HeatMap, Plot
from recbole_ccd.report.html.style import heat_colours


class Version(NamedTuple):
    """What a figure shows under one choice, drawn and in words."""

    plot: Plot | HeatMap
    caption: str


@dataclass(frozen=True)
class Figure:
    """A figure in as many versions as pickers leave open.

    Attributes:
        id: unique on the page.
        title: its heading.
        versions: by key, which holds the number of the choice of each picker, joined with ``-``, and is empty
            where there are none.
        pickers: the names of the pickers.
    """

    id: str
    title: str
    versions: Mapping[str, Version]
    pickers: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        rows: cells; None is a dash, and floats have four decimals.
        header: names of the columns.
        caption: what the table holds.
    """

    rows: Sequence[Sequence[Any]]
    header: Sequence[str]
    caption: str = ""


@dataclass
class Figures:
    """All figures of a page.

    Attributes:
        metrics: what the page's first picker chooses from.
        all: the figures so far.
    """

    metrics: Sequence[str]
    all: list[Figure] = field(default_factory=list)

    def add(self, title: str, versions: Mapping[str, Version], pickers: Sequence[str] = ()) -> Figure:
        """A figure of the page; see :class:`Figure`."""
        self.all.append(Figure(f"plot-{len(self.all) + 1}", title, versions, pickers))
        return self.all[-1]

    def add_one(self, title: str, plot: Plot, caption: str) -> Figure:
        """A figure that no picker changes."""
        return self.add(title, {"": Version(plot, caption)})

    def add_by_metric(self, title: str, make: Callable[[str], Version]) -> Figure:
        """A figure of the metric that is picked."""
        return self.add(title, self.by_metric(make), ["metric"])

    def by_metric(self, make: Callable[[str], Any]) -> dict[str, Any]:
        """What is made of each metric, by the key of its choice."""
        return {str(n): make(metric) for n, metric in enumerate(self.metrics)}


# characters of an address; the documents of the largest comparisons are larger, and lie beside the page
_MOST_DOWNLOAD = 600_000


def render(template: str, figures: Figures, downloads: Mapping[str, str], **values: Any) -> str:
    """The whole page.

    Args:
        template: name of its file.
        figures: all that are among the values.
        downloads: addresses of data by the name of the file that they are saved as; too large ones are named
            and not held.
        values: what the template shows by name, among them ``title``, ``lead``, the sentences of the
            ``verdict``, and ``source``, the document that the page is made of.

    Returns:
        HTML that can be encoded: where a name holds half of a surrogate pair, there is a question mark.
    """
    page = (
        _environment()
        .get_template(template)
        .render(
            **values,
            downloads={name: one for name, one in downloads.items() if len(one) <= _MOST_DOWNLOAD},
            beside=[name for name, one in downloads.items() if len(one) > _MOST_DOWNLOAD],
            metrics=figures.metrics,
            heat_colours=heat_colours(),
            version=recbole_ccd.__version__,
        )
    )
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "arguments": _arguments}
    return environment


def _arguments(text: str) -> Markup:
    """The text, in which arguments of the command line are set as code and not broken."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if part.startswith("--") else part
        for part in re.split(r"(--[\w-]+=[\w,.]+)", text)
    )


def _cell(value: Any) -> Any:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else value
