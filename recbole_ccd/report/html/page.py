"""A page put together from its template: one file that needs no other, and no network.

Templates are given plain values: texts, numbers, and the figures and tables below. Jinja escapes all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import recbole_ccd
from recbole_ccd.report.html.figures import Plot, plain


class Version(NamedTuple):
    """What a figure shows under one choice, drawn and in words."""

    plot: Plot
    caption: str


@dataclass(frozen=True)
class Figure:
    """A figure in as many versions as pickers leave open.

    Attributes:
        id: of the element that it is drawn in.
        title: its heading.
        versions: by key, which holds the number of the choice of each picker, joined with ``-``, and is empty
            where there are none.
        pickers: the names of the pickers.
    """

    id: str
    title: str
    versions: Mapping[str, Version]
    pickers: Sequence[str] = ()

    @property
    def height(self) -> int:
        """In pixels, enough for every version."""
        return max(version.plot["layout"]["height"] for version in self.versions.values())


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
        plots: what plotly draws, by the figure's id and the version's key.
    """

    metrics: Sequence[str]
    plots: dict[str, dict[str, Plot]] = field(default_factory=dict)

    def add(self, title: str, versions: Mapping[str, Version], pickers: Sequence[str] = ()) -> Figure:
        """A figure of the page; see :class:`Figure`."""
        figure = Figure(f"plot-{len(self.plots) + 1}", title, versions, pickers)
        self.plots[figure.id] = {key: plain(version.plot) for key, version in versions.items()}
        return figure

    def add_one(self, title: str, plot: Plot, caption: str) -> Figure:
        """A figure that no picker changes."""
        return self.add(title, {"": Version(plot, caption)})

    def add_by_metric(self, title: str, make: Callable[[str], Version]) -> Figure:
        """A figure of the metric that is picked."""
        return self.add(title, self.by_metric(make), ["metric"])

    def by_metric(self, make: Callable[[str], Any]) -> dict[str, Any]:
        """What is made of each metric, by the key of its choice."""
        return {str(n): make(metric) for n, metric in enumerate(self.metrics)}


def render(template: str, figures: Figures, **values: Any) -> str:
    """The whole page.

    Args:
        template: name of its file.
        figures: all that are among the values.
        values: what the template shows by name, among them ``title``, ``lead``, and ``source``, the document
            that the page is made of.

    Returns:
        HTML that can be encoded: where a name holds half of a surrogate pair, there is a question mark.
    """
    page = (
        _environment()
        .get_template(template)
        .render(
            **values,
            figures=figures,
            metrics=figures.metrics,
            version=recbole_ccd.__version__,
            plotly=_plotly(),
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
    environment.filters["cell"] = _cell
    # JavaScript has no NaN in JSON, and the order of versions and series is ours
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _cell(value: Any) -> Any:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else value


@cache
def _plotly() -> Markup:
    # plotly takes its time to import
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())
