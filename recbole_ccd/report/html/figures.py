"""Figures as plotly draws them: plain dictionaries of traces and a layout."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recbole_ccd.report.html.style import HEAT, Style

Values = Sequence[float | None]
Plot = dict[str, Any]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_GRID, _INK, _PAPER = "#dddddd", "#222222", "#ffffff"
# beyond that many cells a side, numbers in cells are too small to be read
_MOST_NUMBERS = 16
# what is never shown, and what is ours and holds markup
_NOT_TEXTS = ("meta", "hovertemplate")


@dataclass
class Series:
    """One line, or the bars of one kind.

    Attributes:
        name: what legends call it.
        x: places.
        y: values; None leaves a gap.
        style: how it looks.
        spread: half the length of the error bars; empty for none.
        texts: what is written on bars; empty for nothing.
    """

    name: str
    x: Sequence[Any]
    y: Values
    style: Style
    spread: Values = ()
    texts: Sequence[str] = field(default_factory=list)


def plain(value: Any) -> Any:
    """A plot, or a part of one, in which every text is one that plotly shows as it is.

    Names of series are the user's, documents may hold texts where numbers belong, and plotly reads a little
    markup in texts.
    """
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, dict):
        return {key: one if key in _NOT_TEXTS else plain(one) for key, one in value.items()}
    return list(map(plain, value)) if isinstance(value, list | tuple) else value


def lines(
    series: Iterable[Series], x: str, y: str, span: tuple[float, float] | None = None, height: int = 280
) -> Plot:
    """Lines with markers.

    Args:
        series: the lines.
        x: what the x axis is; its places are whole numbers.
        y: what the y axis is.
        span: the least and the greatest value of several figures that are to be compared; None fits them.
        height: in pixels.
    """
    found = list(series)
    layout = _layout(x, y, height, _places(found))
    if span is not None:
        layout["yaxis"]["range"] = _with_margin(span)
    return {"data": [_line(one) for one in found], "layout": layout}


def stacked_lines(
    upper: Iterable[Series], lower: Iterable[Series], x: str, titles: tuple[str, str], height: int = 340
) -> Plot:
    """Two kinds of lines over the same places, one above the other.

    Args:
        upper: the lines above.
        lower: those below; without any, the upper ones have all the room.
        x: what the x axis is.
        titles: what the two y axes are.
        height: in pixels.
    """
    above, below = list(upper), list(lower)
    layout = _layout(x, titles[0], height if below else height - 100, _places(above))
    if below:
        layout["yaxis"]["domain"] = [0.55, 1.0]
        layout["yaxis2"] = {**layout["yaxis"], "domain": [0.0, 0.45], "title": _title(titles[1])}
        layout["xaxis"]["anchor"] = "y2"
    traces = [_line(one) for one in above]
    traces += [{**_line(one), "yaxis": "y2"} for one in below]
    return {"data": traces, "layout": layout}


def bars(
    series: Iterable[Series], x: str, y: str, mode: str = "stack", height: int = 280, across: bool = False
) -> Plot:
    """Bars with patterns.

    Args:
        series: the bars of each kind.
        x: what the axis of places is.
        y: what the axis of values is.
        mode: ``stack`` puts the kinds on top of each other, ``group`` beside each other.
        height: in pixels.
        across: whether the bars lie, for long names of places.
    """
    found = list(series)
    layout = _layout(x, y, height, None if across else _places(found))
    if across:
        layout["xaxis"], layout["yaxis"] = layout["yaxis"], layout["xaxis"]
        layout["yaxis"] |= {"type": "category", "autorange": "reversed", "showgrid": False}
    layout |= {"barmode": mode, "bargap": 0.25}
    values = layout["xaxis" if across else "yaxis"]
    values["rangemode"] = "tozero"
    layout["annotations"] = _labels(found)
    return {"data": [_bar(one, across) for one in found], "layout": layout}


def heat_map(R: Sequence[Values], metric: str, span: tuple[float, float], part: str = "test") -> Plot:
    """A lower-triangular matrix with its numbers in the cells.

    Args:
        R: one row per block, row k with k + 1 entries.
        metric: what it holds.
        span: the least and the greatest value, so that several can be compared.
        part: the part of each block that it was measured on.
    """
    n = len(R)
    cells = [[*row, *[None] * (n - len(row))] for row in R]
    size = 12 if n <= 6 else max(7, 15 - n // 2)
    trace = {
        "type": "heatmap",
        "x": list(range(n)),
        "y": list(range(n)),
        "z": cells,
        "zmin": span[0],
        "zmax": span[1],
        "colorscale": HEAT,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "hovertemplate": "after block %{y}, on block %{x}: %{z:.4f}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": metric, "side": "right"}},
    }
    if n <= _MOST_NUMBERS:
        font = {"size": size, "color": "#000000"}
        trace |= {"texttemplate": "%{z:.3f}", "textfont": font, "showscale": False}
    layout = _layout(f"{part} part of block", "model after block", max(260, 110 + 34 * n), range(n))
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= {"showgrid": False, "zeroline": False, "ticks": "", "range": [-0.5, n - 0.5]}
    layout["yaxis"] |= {**_ticks(range(n)), "range": [n - 0.5, -0.5]}
    layout["hovermode"] = "closest"
    return {"data": [trace], "layout": layout}


def span_of(values: Iterable[float | None]) -> tuple[float, float]:
    """The least and the greatest of some values, None left out."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _line(one: Series) -> Plot:
    style = one.style
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": one.name,
        "meta": one.name,
        "x": list(one.x),
        "y": list(one.y),
        "line": {"color": style.colour, "dash": style.dash, "width": style.width},
        "marker": {
            "color": style.colour,
            "symbol": style.marker,
            "size": 6 + style.width,
            # long curves would be nothing but markers
            "maxdisplayed": 12,
        },
        "hovertemplate": "%{y:.4f}",
    }
    if any(half is not None for half in one.spread):
        halves = [half or 0.0 for half in one.spread]
        look = {"color": style.colour, "thickness": 1.2, "width": 4}
        trace["error_y"] = {"type": "data", "array": halves, **look}
    return trace


def _bar(one: Series, across: bool) -> Plot:
    places, values = list(one.x), list(one.y)
    trace = {
        "type": "bar",
        "name": one.name,
        "meta": one.name,
        "x": values if across else places,
        "y": [str(place) for place in places] if across else values,
        "orientation": "h" if across else "v",
        "marker": {
            "color": one.style.colour,
            "line": {"color": _PAPER, "width": 1},
            "pattern": {
                "shape": one.style.pattern,
                "bgcolor": one.style.colour,
                "fgcolor": _PAPER,
                "size": 7,
                "solidity": 0.25,
            },
        },
        "hovertemplate": "%{x:,.1f}" if across else "%{y:,.1f}",
    }
    return trace


def _labels(series: Iterable[Series]) -> list[Plot]:
    """The texts of stacked bars, in their middle; patterns would make letters without a ground unreadable."""
    heights: dict[Any, float] = {}
    labels = []
    for one in series:
        for place, value, text in zip(one.x, one.y, one.texts or [""] * len(one.x), strict=True):
            start = heights.get(place, 0.0)
            heights[place] = start + (value or 0.0)
            if text:
                middle = {"x": place, "y": start + (value or 0.0) / 2, "text": text}
                ground = {"bgcolor": _PAPER, "borderpad": 1, "showarrow": False, "font": {"size": 11}}
                labels.append({**middle, **ground})
    return labels


def _places(series: Iterable[Series]) -> list[Any]:
    return sorted({place for one in series for place in one.x})


def _layout(x: str, y: str, height: int, places: Iterable[int] | None) -> Plot:
    axis = {"gridcolor": _GRID, "linecolor": "#888888", "zeroline": False, "automargin": True}
    # a finger that moves over a figure scrolls the page
    axis["fixedrange"] = True
    return {
        "height": height,
        "margin": {"l": 52, "r": 12, "t": 24, "b": 44},
        "font": {"family": _FONT, "size": 12, "color": _INK},
        "paper_bgcolor": _PAPER,
        "plot_bgcolor": _PAPER,
        "showlegend": False,
        "dragmode": False,
        "hovermode": "x unified" if places is not None else "closest",
        "xaxis": {**axis, "title": _title(x), **(_ticks(places) if places is not None else {})},
        "yaxis": {**axis, "title": _title(y)},
    }


def _title(text: str) -> Plot:
    return {"text": text, "standoff": 8}


def _ticks(places: Iterable[int]) -> Plot:
    """Whole numbers, not too many."""
    found = list(places)
    if not found:
        return {}
    first, last = min(found), max(found)
    wanted = max(1, (last - first) / 10)
    power = 10 ** math.floor(math.log10(wanted))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted)
    margin = max(0.4, 0.03 * (last - first))
    return {"tickmode": "linear", "tick0": 0, "dtick": step, "range": [first - margin, last + margin]}


def _with_margin(span: tuple[float, float]) -> list[float]:
    low, high = span
    margin = 0.08 * ((high - low) or abs(high) or 1.0)
    return [low - margin, high + margin]
