"""The pieces of a page: tables, figures with captions, legends. All text given is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Any

from recbole_ccd.report.html.figures import Plot
from recbole_ccd.report.html.style import Style

_SYMBOLS = {
    "circle": '<circle cx="16" cy="7" r="4"/>',
    "square": '<rect x="12" y="3" width="8" height="8"/>',
    "diamond": '<path d="M16 2l5 5-5 5-5-5z"/>',
    "triangle-up": '<path d="M16 2l5 9H11z"/>',
    "triangle-down": '<path d="M16 12l5-9H11z"/>',
    "x": '<path d="M12 3l8 8m0-8l-8 8" stroke-width="3"/>',
    "cross": '<path d="M16 2v10m-5-5h10" stroke-width="3"/>',
    "star": '<path d="M16 1l1.6 4.2 4.4.2-3.5 2.7 1.2 4.3-3.7-2.5-3.7 2.5 1.2-4.3L10 5.4l4.4-.2z"/>',
}
_DASHES = {"dash": "6 3", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "9 3"}
_PATTERNS = {"/": "M-2 10L10 -2M2 14L14 2M-2 4L4 -2", "\\": "M-2 4L10 16M2 -2L16 12M-2 10L4 16", ".": ""}


@dataclass
class Figure:
    """A figure in as many versions as pickers leave open.

    Attributes:
        title: its heading.
        plots: the figure by key; a key holds the number of the choice of each picker, joined with ``-``, and
            is empty where there are none.
        captions: what it shows, in words, by the same keys.
        pickers: the names of the pickers.
    """

    title: str
    plots: Mapping[str, Plot]
    captions: Mapping[str, str]
    pickers: Sequence[str] = ()


@dataclass
class Figures:
    """All figures of a page.

    Attributes:
        plots: what plotly draws, by the id of the element that it is drawn in.
    """

    plots: dict[str, Mapping[str, Plot]] = field(default_factory=dict)

    def add(self, figure: Figure) -> str:
        """The figure's element; what it shows goes to the page's data."""
        name = f"plot-{len(self.plots) + 1}"
        self.plots[name] = figure.plots
        pickers = escape(" ".join(figure.pickers))
        height = max(plot["layout"]["height"] for plot in figure.plots.values())
        return (
            f'<figure class="panel">\n<h3 id="{name}-title">{escape(figure.title)}</h3>\n'
            f'<div class="plot" id="{name}" role="img" aria-labelledby="{name}-title" '
            f'aria-describedby="{name}-text" data-pickers="{pickers}" style="height:{height}px"></div>\n'
            f'<figcaption id="{name}-text">{variants(_paragraphs(figure.captions), figure.pickers)}'
            "</figcaption>\n</figure>"
        )

    def row(self, figures: Iterable[Figure], size: str = "") -> str:
        """Figures side by side where there is room for them."""
        return f'<div class="row {size}">\n' + "\n".join(map(self.add, figures)) + "\n</div>"

    def to_json(self) -> str:
        """The page's data, fit to stand in a script element."""
        text = json.dumps(self.plots, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        unsafe = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
        return text.translate(str.maketrans(unsafe))


def variants(contents: Mapping[str, str], pickers: Sequence[str]) -> str:
    """Contents of which the pickers show one, the first where no script runs."""
    if not pickers:
        return "".join(contents.values())
    shown = "".join(
        f'<div data-key="{escape(key)}"{" hidden" if n else ""}>{content}</div>'
        for n, (key, content) in enumerate(contents.items())
    )
    return f'<div data-pickers="{escape(" ".join(pickers))}">{shown}</div>'


def picker(name: str, what: str, choices: Sequence[str], chosen: int = 0) -> str:
    """A list to pick from; none where there is no choice."""
    if len(choices) < 2:
        return ""
    options = "".join(
        f'<option value="{n}"{" selected" if n == chosen else ""}>{escape(choice)}</option>'
        for n, choice in enumerate(choices)
    )
    select = f'<select data-picker="{escape(name)}">{options}</select>'
    return f'<label class="picker">{escape(what)} {select}</label>'


def section(title: str, *parts: str) -> str:
    """A part of the page with a heading; empty where it has no content."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def table(
    rows: Iterable[Sequence[Any]],
    header: Sequence[str],
    caption: str = "",
    kind: str = "",
    marked: bool = False,
) -> str:
    """A table whose first column names the rows.

    Args:
        rows: cells; None is a dash.
        header: names of the columns.
        caption: what the table holds.
        kind: its class in the style sheet.
        marked: whether a text that ends in ``**`` is to be bold, and one in ``*`` in italics.
    """
    cell = partial(_cell, marked=marked)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{cell(first)}</th>{"".join(f"<td>{cell(one)}</td>" for one in others)}</tr>\n'
        for first, *others in rows
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll {kind}" tabindex="0">\n<table>{named}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table>\n</div>"
    )


def folded(summary: str, content: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>" if content else ""


def definition_list(entries: Iterable[tuple[str, str]], kind: str) -> str:
    """Words and what belongs to them."""
    found = "".join(
        f"<div><dt>{escape(word)}</dt><dd>{escape(meaning)}</dd></div>\n" for word, meaning in entries
    )
    return f'<dl class="{kind}">\n{found}</dl>' if found else ""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    named = f' class="{kind}"' if kind else ""
    return f"<p{named}>{escape(text)}</p>"


def subheading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>\n"


def legend(styles: Mapping[str, Style], bars: bool = False) -> str:
    """What the series of the figures above look like; a click hides one of them.

    Args:
        styles: the looks by name.
        bars: whether they are bars and not lines.
    """
    sample = _bar_sample if bars else _line_sample
    keys = "".join(
        f'<li><button type="button" aria-pressed="true" data-series="{escape(name)}">{sample(style)}'
        f"{escape(name)}</button></li>"
        for name, style in styles.items()
    )
    return f'<ul class="legend" aria-label="Series">{keys}</ul>'


def _cell(value: Any, marked: bool) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    for mark, element in (("**", "strong"), ("*", "em")) if marked else ():
        if text.endswith(mark):
            return f"<{element}>{escape(text.removesuffix(mark))}</{element}>"
    return escape(text)


def _paragraphs(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: paragraph(text) for key, text in texts.items()}


def _line_sample(style: Style) -> str:
    dash = _DASHES.get(style.dash)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<svg width="32" height="14" aria-hidden="true" fill="{style.colour}" stroke="{style.colour}">'
        f'<path d="M0 7h32" stroke-width="{style.width}"{dashes}/>{_SYMBOLS[style.marker]}</svg>'
    )


def _bar_sample(style: Style) -> str:
    stripes = _PATTERNS.get(style.pattern, "")
    if style.pattern == ".":
        dots = "".join(f'<circle cx="{x}" cy="{y}" r="1.3"/>' for x in (3, 9, 15) for y in (3, 8, 13))
        drawn = f'<g fill="#fff">{dots}</g>'
    else:
        drawn = f'<path d="{stripes}" stroke="#fff" stroke-width="1.5"/>' if stripes else ""
    return (
        f'<svg width="18" height="14" aria-hidden="true"><rect width="18" height="14" fill="{style.colour}"/>'
        f"{drawn}</svg>"
    )
