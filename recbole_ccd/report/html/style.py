"""How series look: colours that colour-blind readers can tell apart, and markers, dashes and patterns too.

Every colour comes twice, for light and for dark pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Colour(NamedTuple):
    """A colour, and the one that takes its place on a dark ground."""

    light: str
    dark: str


# Okabe and Ito, "Color Universal Design", 2008, without its yellow, which white paper swallows
PALETTE = (
    Colour("#0072b2", "#45a9f5"),
    Colour("#d55e00", "#ff8b3d"),
    Colour("#009e73", "#2fcf9f"),
    Colour("#cc79a7", "#e79cc6"),
    Colour("#000000", "#f2f2f2"),
    Colour("#e69f00", "#f2bd3a"),
    Colour("#56b4e9", "#a5dcfa"),
)
_GREY = Colour("#767676", "#a8a8a8")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# evenly perceived, from near the ground's opposite towards the ground, without viridis's ends
_SEQUENCES = (
    ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 190, 70)),
    ((240, 232, 120), (122, 209, 110), (52, 182, 150), (84, 150, 205), (150, 125, 225)),
)
_HEAT = ((36, 134, 142), (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37))
LEVELS = 32
"""How many colours the scale of heat maps has."""


@dataclass(frozen=True)
class Style:
    """The look of one series.

    Attributes:
        colour: of lines, markers and bars.
        marker: name of the marker.
        dash: name of the dashes.
        width: of the line, in pixels.
        pattern: name of the pattern on bars; empty for none.
    """

    colour: Colour
    marker: str = "circle"
    dash: str = "solid"
    width: float = 2.0
    pattern: str = ""


ROLES = {
    "student": Style(PALETTE[0], "circle", "solid", 2.5),
    "teacher": Style(PALETTE[1], "square", "dash", 2.5, "slash"),
}
STAGES = {
    "base": Style(_GREY, "circle", "solid", 2.0),
    "student_generation": Style(PALETTE[0], "square", "dash", 2.0, "slash"),
    "student_update": Style(PALETTE[2], "diamond", "dot", 2.0, "dots"),
    "teacher_update": Style(PALETTE[1], "triangle-up", "dashdot", 2.0, "backslash"),
}
SOURCES = {
    "stability": Style(PALETTE[0], pattern="slash"),
    "plasticity": Style(PALETTE[1], pattern="backslash"),
    "student": Style(PALETTE[2], pattern="dots"),
}
PARTS = {"base": STAGES["base"], "updates": Style(PALETTE[0], pattern="slash")}


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
    """The look of the series with this number among ``n`` that have an order."""
    colour = Colour(*(_mixed(sequence, index / max(n - 1, 1)) for sequence in _SEQUENCES))
    return Style(colour, MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)], 1.75)


def heat_colours() -> list[str]:
    """The colours of heat maps by level: the lighter half of viridis.

    It is perceptually uniform, also in grey print, and black numbers can be read on all of it.
    """
    return [_mixed(_HEAT, level / (LEVELS - 1)) for level in range(LEVELS)]


def _mixed(sequence: tuple[tuple[int, int, int], ...], share: float) -> str:
    """The colour at a place between the first (0) and the last one (1) of a sequence."""
    place = share * (len(sequence) - 1)
    low = min(int(place), len(sequence) - 2)
    pairs = zip(sequence[low], sequence[low + 1], strict=True)
    return "#{:02x}{:02x}{:02x}".format(*(round(a + (b - a) * (place - low)) for a, b in pairs))
