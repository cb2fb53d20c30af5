"""How series look: colours that colour-blind readers can tell apart, and markers, dashes and patterns too."""

from __future__ import annotations

from dataclasses import dataclass

# Okabe and Ito, "Color Universal Design", 2008, without its yellow, which white paper swallows
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# dark to light, evenly perceived, without viridis's yellow end
_SEQUENCE = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 190, 70))
HEAT = (
    (0.0, "#24868e"),
    (0.19, "#1f9e89"),
    (0.39, "#35b779"),
    (0.59, "#6ece58"),
    (0.8, "#b5de2b"),
    (1.0, "#fde725"),
)
"""The scale of heat maps: the lighter half of viridis, which is perceptually uniform, also in grey print, and
on all of which black numbers can be read."""


@dataclass(frozen=True)
class Style:
    """The look of one series.

    Attributes:
        colour: of lines, markers and bars.
        marker: plotly's name of the marker.
        dash: plotly's name of the dashes.
        width: of the line, in pixels.
        pattern: plotly's name of the pattern on bars.
    """

    colour: str
    marker: str = "circle"
    dash: str = "solid"
    width: float = 2.0
    pattern: str = ""


ROLES = {
    "student": Style(PALETTE[0], "circle", "solid", 2.5),
    "teacher": Style(PALETTE[1], "square", "dash", 2.5, "/"),
}
STAGES = {
    "base": Style("#767676", "circle", "solid", 2.0),
    "student_generation": Style(PALETTE[0], "square", "dash", 2.0, "/"),
    "student_update": Style(PALETTE[2], "diamond", "dot", 2.0, "."),
    "teacher_update": Style(PALETTE[1], "triangle-up", "dashdot", 2.0, "\\"),
}
SOURCES = {
    "stability": Style(PALETTE[0], pattern="/"),
    "plasticity": Style(PALETTE[1], pattern="\\"),
    "student": Style(PALETTE[2], pattern="."),
}
PARTS = {"base": STAGES["base"], "updates": Style(PALETTE[0], pattern="/")}


def of_other(index: int) -> Style:
    """The look of a strategy that is not ours; colours, markers and dashes come round at different times."""
    colours = [colour for colour in PALETTE if colour != PALETTE[1]]
    marker, dash = MARKERS[(index + 1) % len(MARKERS)], DASHES[(index + 1) % len(DASHES)]
    return Style(colours[index % len(colours)], marker, dash, 1.75)


def of_method(index: int) -> Style:
    """The look of our own method among others, the widest line, and of variants of it."""
    return Style(
        PALETTE[1], MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)], 3.0 if index else 4.5
    )


def ordered(index: int, n: int) -> Style:
    """The look of the series with this number among ``n`` that have an order, from dark to light."""
    place = index / max(n - 1, 1) * (len(_SEQUENCE) - 1)
    low = min(int(place), len(_SEQUENCE) - 2)
    mixed = (
        round(a + (b - a) * (place - low)) for a, b in zip(_SEQUENCE[low], _SEQUENCE[low + 1], strict=True)
    )
    colour = "#{:02x}{:02x}{:02x}".format(*mixed)
    return Style(colour, MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)], 1.75)
