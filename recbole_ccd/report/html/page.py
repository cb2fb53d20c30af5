"""A page put together: one file that needs no other, and no network."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from string import Template

import recbole_ccd
from recbole_ccd.report.html.elements import Figures, paragraph


def page(title: str, lead: str, controls: str, body: str, figures: Figures, source: str) -> str:
    """The whole page.

    Args:
        title: plain text.
        lead: plain text below the title.
        controls: HTML of what stays in view, such as a picker for all figures; empty for nothing.
        body: HTML of the sections.
        figures: what they show.
        source: name of the document that it is made of.
    """
    return Template(_part("page.html")).substitute(
        title=escape(title),
        lead=paragraph(lead, "lead"),
        controls=f'<div class="controls">{controls}</div>' if controls else "",
        body=body,
        data=figures.to_json(),
        source=escape(source),
        version=escape(recbole_ccd.__version__),
        style=_part("page.css"),
        script=_part("page.js"),
        plotly=_plotly(),
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    # plotly takes its time to import
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
