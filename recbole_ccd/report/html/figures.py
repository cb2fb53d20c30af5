"""Figures as places on paper: what ``figures.html.j2`` draws as SVG, and heat maps as tables.

Nothing is drawn by a script: a figure is there in print, without JavaScript, and in both colour schemes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recbole_ccd.report.html.style import LEVELS, Style

Values = Sequence[float | None]
Scale = Callable[[float], float]

# of a figure, in units of SVG, and the room that its axes take
WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 10, 38
# beyond that many cells a side, numbers in cells are too small to be read
_MOST_NUMBERS = 16
# what can be told apart on a figure this wide: points and markers of a line, and places that tell numbers; of
# many lines fewer, so that a page does not grow without end
_MOST_POINTS, _MOST_MARKERS, _MOST_PLACES = 200, 12, 60
_ALL_POINTS, _ALL_PLACES = 1200, 600


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


class Tick(NamedTuple):
    """A place on an axis, and its number."""

    at: str
    text: str


class Label(NamedTuple):
    """A text on a figure: where it is, and the width of the ground below it."""

    x: str
    y: str
    text: str
    width: int = 0


@dataclass
class Shape:
    """One series as it is drawn; all numbers as SVG has them.

    Attributes:
        name: of the series.
        style: how it looks.
        path: the line; empty for none.
        points: where markers are.
        errors: x, lower and upper end of each error bar.
        bars: x, y, width and height of each.
    """

    name: str
    style: Style
    path: str = ""
    points: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)
    bars: list[tuple[str, str, str, str]] = field(default_factory=list)


@dataclass
class Axes:
    """A rectangle with its axes and what is drawn in it."""

    top: float
    bottom: float
    title: str
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    shapes: list[Shape]

    @property
    def middle(self) -> float:
        """Where its title stands."""
        return (self.top + self.bottom) / 2


class Place(NamedTuple):
    """A part of a figure that tells its numbers when it is pointed at."""

    x: str
    y: str
    width: str
    height: str
    text: str


@dataclass
class Plot:
    """A figure as it is drawn.

    Attributes:
        height: its height; all are of one width.
        x_title: what the axis below is.
        axes: one, or two above each other.
        places: what can be pointed at.
        labels: texts on bars.
        names: texts above bars that lie.
    """

    height: float
    x_title: str
    axes: list[Axes]
    places: list[Place]
    labels: list[Label] = field(default_factory=list)
    names: list[Label] = field(default_factory=list)
    width: int = WIDTH
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    kind: str = "plot"


class Cell(NamedTuple):
    """An entry of a heat map: the level of its colour, what stands in it, and what is told of it."""

    level: int
    text: str
    told: str


@dataclass
class HeatMap:
    """A lower-triangular matrix.

    Attributes:
        metric: what it holds.
        part: the part of each block that it was measured on.
        rows: row k has k + 1 entries.
        span: the values of the first and of the last colour.
    """

    metric: str
    part: str
    rows: list[list[Cell]]
    span: tuple[float, float]
    kind: str = "heat"

    @property
    def has_numbers(self) -> bool:
        """Whether there is room for numbers."""
        return len(self.rows) <= _MOST_NUMBERS


def lines(series: Iterable[Series], x: str, y: str, span: tuple[float, float] | None = None) -> Plot:
    """Lines with markers.

    Args:
        series: the lines.
        x: what the x axis is; its places are whole numbers.
        y: what the y axis is.
        span: the least and the greatest value of several figures that are to be compared; None fits them.
    """
    found = list(series)
    places = _places(found)
    across = _across(places)
    axes = _line_axes(found, y, places, span or _reached(found), (_TOP, HEIGHT - _BOTTOM))
    told = {
        place: [f"{one.name}: {_at(one, place, '.4f')}" for one in found if place in one.x]
        for place in _thinned(places, _limit(_MOST_PLACES, _ALL_PLACES, len(found)))
    }
    return Plot(HEIGHT, x, [axes], _columns(told, x, across, HEIGHT))


def stacked_lines(upper: Iterable[Series], lower: Iterable[Series], x: str, titles: tuple[str, str]) -> Plot:
    """Two kinds of lines over the same places, one above the other.

    Args:
        upper: the lines above.
        lower: those below, of the same names; without any, the upper ones have all the room.
        x: what the x axis is.
        titles: what the two y axes are.
    """
    above, below = list(upper), list(lower)
    places = _places([*above, *below])
    height = HEIGHT + 90 if below else HEIGHT
    end = height - _BOTTOM
    middle = (_TOP + end) / 2
    axes = [_line_axes(above, titles[0], places, _reached(above), (_TOP, middle - 9 if below else end))]
    if below:
        axes[0].x_ticks = []
        axes.append(_line_axes(below, titles[1], places, _reached(below), (middle + 9, end)))
    told = {}
    for place in _thinned(places, _limit(_MOST_PLACES, _ALL_PLACES, len(above))):
        entries: dict[str, list[str]] = {}
        for title, form, kinds in ((titles[0], ".4g", above), (titles[1], ".4f", below)):
            for one in kinds:
                if place in one.x:
                    entries.setdefault(one.name, []).append(f"{title} {_at(one, place, form)}")
        told[place] = [f"{name}: {', '.join(parts)}" for name, parts in entries.items()]
    return Plot(height, x, axes, _columns(told, x, _across(places), height))


def bars(series: Iterable[Series], x: str, y: str, mode: str = "stack") -> Plot:
    """Upright bars with patterns.

    Args:
        series: the bars of each kind, all with the same whole numbers as places.
        x: what the axis of places is.
        y: what the axis of values is.
        mode: ``stack`` puts the kinds on top of each other, ``group`` beside each other.
    """
    found = list(series)
    places, end = _places(found), HEIGHT - _BOTTOM
    across, room = _across(places), 0.75 * _room(places)
    top = _highest(found, mode)
    up = _scale((0.0, top), (end, _TOP + 6))
    heights, shapes, labels = dict.fromkeys(places, 0.0), [], []
    for number, one in enumerate(found):
        shape = Shape(one.name, one.style)
        for place, value, text in zip(one.x, one.y, one.texts or [""] * len(one.x), strict=True):
            start = heights[place] if mode == "stack" else 0.0
            width = room if mode == "stack" else room / len(found)
            left = across(place) - room / 2 + (0.0 if mode == "stack" else number * width)
            low, high = up(start), up(start + (value or 0.0))
            shape.bars.append((_px(left), _px(high), _px(width), _px(low - high)))
            heights[place] = start + (value or 0.0)
            ground = 7 * len(text) + 4
            # what has no room beside its neighbours is told by the place
            if text and ground <= width + 4:
                labels.append(Label(_px(across(place)), _px((low + high) / 2), text, ground))
        shapes.append(shape)
    told = {
        place: [f"{one.name}: {_at(one, place, ',.1f')}" for one in found if place in one.x]
        for place in _thinned(places, _MOST_PLACES)
    }
    axes = Axes(_TOP, end, y, _y_ticks((0.0, top), up), _x_ticks(places, across), shapes)
    return Plot(HEIGHT, x, [axes], _columns(told, x, across, HEIGHT), labels)


def lying_bars(series: Iterable[Series], x: str) -> Plot:
    """Stacked bars that lie, the name of each place above its bar.

    Args:
        series: the bars of each kind; their places are names.
        x: what the axis of values is.
    """
    found = list(series)
    names = list(dict.fromkeys(place for one in found for place in one.x))
    row, thick = 32, 14
    height = _TOP + row * len(names) + _BOTTOM
    top = _highest(found, "stack")
    along = _scale((0.0, top), (10.0, WIDTH - _RIGHT - 10.0))
    reached, shapes = dict.fromkeys(names, 0.0), []
    for one in found:
        shape = Shape(one.name, one.style)
        for place, value in zip(one.x, one.y, strict=True):
            start, y = reached[place], _TOP + row * names.index(place) + row - thick
            reached[place] = start + (value or 0.0)
            width = along(reached[place]) - along(start)
            shape.bars.append((_px(along(start)), _px(y), _px(width), _px(thick)))
        shapes.append(shape)
    ticks = _y_ticks((0.0, top), along)
    places = [
        Place(
            "0",
            _px(_TOP + row * n),
            _px(WIDTH),
            _px(row),
            "\n".join([name, *(f"{one.name}: {_at(one, name, ',.1f')}" for one in found)]),
        )
        for n, name in enumerate(names)
    ]
    texts = [Label("10", _px(_TOP + row * n + row - thick - 4), name) for n, name in enumerate(names)]
    axes = Axes(_TOP, height - _BOTTOM, "", [], ticks, shapes)
    return Plot(height, x, [axes], places, names=texts, left=10, right=WIDTH - _RIGHT - 10)


def heat_map(R: Sequence[Values], metric: str, span: tuple[float, float], part: str = "test") -> HeatMap:
    """A lower-triangular matrix with its numbers in the cells.

    Args:
        R: one row per block, row k with k + 1 entries.
        metric: what it holds.
        span: the least and the greatest value, so that several can be compared.
        part: the part of each block that it was measured on.
    """
    low, high = span

    def cell(value: float) -> Cell:
        share = (value - low) / (high - low) if high > low else 0.5
        text = f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
        # where cells are small, a digit more is worth more than a zero
        text = text.removeprefix("0") if len(R) > 8 and value else text
        level = round(min(max(share, 0.0), 1.0) * (LEVELS - 1))
        return Cell(level, text, f"{value:.4f}")

    rows = [[cell(value or 0.0) for value in row] for row in R]
    return HeatMap(metric, part, rows, (low, high))


def span_of(values: Iterable[float | None]) -> tuple[float, float]:
    """The least and the greatest of some values, None left out."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _line_axes(
    series: Sequence[Series],
    title: str,
    places: Sequence[int],
    span: tuple[float, float],
    room: tuple[float, float],
) -> Axes:
    top, bottom = room
    low, high = _with_margin(span)
    up, across = _scale((low, high), (bottom, top)), _across(places)
    most = _limit(_MOST_POINTS, _ALL_POINTS, len(series))
    shapes = [_line(one, across, up, most) for one in series]
    return Axes(top, bottom, title, _y_ticks((low, high), up), _x_ticks(places, across), shapes)


def _line(one: Series, across: Scale, up: Scale, most: int) -> Shape:
    shape, path, pen = Shape(one.name, one.style), [], "M"
    points = list(zip(one.x, one.y, strict=True))
    drawn = _thinned(points, most)
    for x, y in drawn:
        if y is None:
            pen = "M"
            continue
        path.append(f"{pen}{_px(across(x))} {_px(up(y))}")
        pen = "L"
    shape.path = "".join(path)
    # long curves would be nothing but markers
    shape.points = [(_px(across(x)), _px(up(y))) for x, y in _thinned(drawn, _MOST_MARKERS) if y is not None]
    for (x, y), half in zip(points, one.spread, strict=bool(one.spread)):
        if y is not None and half:
            shape.errors.append((_px(across(x)), _px(up(y - half)), _px(up(y + half))))
    return shape


def _at(one: Series, place: Any, form: str) -> str:
    """The value of a series at one of its places, with its deviation, as text."""
    k = list(one.x).index(place)
    value = one.y[k]
    if value is None:
        return "–"
    half = one.spread[k] if one.spread else None
    return format(value, form) + (f" ± {format(half, form)}" if half else "")


def _columns(told: Mapping[int, Sequence[str]], what: str, across: Scale, height: float) -> list[Place]:
    """What can be pointed at, from the middle between two places to the next one."""
    places = list(told)
    middles = [(across(a) + across(b)) / 2 for a, b in zip(places, places[1:], strict=False)]
    edges = [float(_LEFT), *middles, float(WIDTH - _RIGHT)]
    top, tall = _px(_TOP), _px(height - _BOTTOM - _TOP)
    return [
        Place(_px(left), top, _px(right - left), tall, "\n".join([f"{what} {place}", *told[place]]))
        for place, left, right in zip(places, edges[:-1], edges[1:], strict=True)
    ]


def _places(series: Iterable[Series]) -> list[int]:
    return sorted({place for one in series for place in one.x})


def _ends(places: Sequence[int]) -> tuple[float, float]:
    first, last = (places[0], places[-1]) if places else (0, 0)
    margin = max(0.5, 0.03 * (last - first))
    return first - margin, last + margin


def _across(places: Sequence[int]) -> Scale:
    return _scale(_ends(places), (_LEFT, WIDTH - _RIGHT))


def _room(places: Sequence[int]) -> float:
    """The width that belongs to a place."""
    first, last = _ends(places)
    return (WIDTH - _RIGHT - _LEFT) / (last - first)


def _scale(values: tuple[float, float], room: tuple[float, float]) -> Scale:
    (low, high), (start, end) = values, room
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _reached(series: Iterable[Series]) -> tuple[float, float]:
    return span_of(value for one in series for value in one.y)


def _highest(series: Sequence[Series], mode: str) -> float:
    """The height of the highest bar."""
    heights: dict[Any, float] = {}
    for one in series:
        for place, value in zip(one.x, one.y, strict=True):
            so_far = heights.get(place, 0.0)
            heights[place] = so_far + (value or 0.0) if mode == "stack" else max(so_far, value or 0.0)
    return max(heights.values(), default=0.0) or 1.0


def _with_margin(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    margin = 0.08 * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def _step(length: float, most: int) -> float:
    """The least of 1, 2, 5, 10, … that divides a length into few parts."""
    wanted = length / most
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= wanted * (1 - 1e-9))


def _y_ticks(span: tuple[float, float], scale: Scale) -> list[Tick]:
    low, high = span
    step = _step(high - low, 8)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [Tick(_px(scale(n * step)), f"{n * step + 0.0:,.{digits}f}") for n in numbers]


def _x_ticks(places: Sequence[int], across: Scale) -> list[Tick]:
    """Whole numbers, not too many."""
    if not places:
        return []
    step = max(1, round(_step(max(places[-1] - places[0], 1), 10)))
    return [Tick(_px(across(n)), str(n)) for n in range(-(-places[0] // step) * step, places[-1] + 1, step)]


def _thinned(entries: Sequence[Any], most: int) -> Sequence[Any]:
    """So many of the entries, evenly spread, the first and the last among them."""
    n = len(entries)
    if n <= most:
        return entries
    return [entries[round(k * (n - 1) / (most - 1))] for k in range(most)]


def _limit(most: int, all_of_them: int, n: int) -> int:
    """How many of something each of ``n`` series may have."""
    return max(12, min(most, all_of_them // max(n, 1)))


def _px(value: float) -> str:
    """A length or a place as SVG has it, to a tenth of a unit."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")
