"""Writes docs/stages.svg, the three stages of a block and the two cycles, as the README shows them.

``python docs/make_stages.py`` after a change here; a test tells when it has been forgotten. The picture has a
background of its own and two sets of colours, of which the reader's browser chooses by its colour scheme, so
that it can be read on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent / "stages.svg"
WIDTH, HEIGHT = 960, 500
TITLE = "The three stages of a block and the two cycles"
ABOUT = (
    "Stage 1, student generation: a new student learns the teacher's rankings. Stage 2, student update: it "
    "learns the new block, with replay from proxies. Stage 3, teacher update: each member learns the block, "
    "with replay from the student side. Stages 1 and 2 are the short cycle, stage 3 closes the long one."
)

# what each class of shapes has in the light and in the dark scheme; the contrast of text is above 4.5 : 1
COLOURS = {
    "page": ("fill: #ffffff; stroke: #d0d7de", "fill: #0d1117; stroke: #3d444d"),
    "text": ("fill: #1f2328", "fill: #e6edf3"),
    "quiet": ("fill: #59636e", "fill: #9da7b1"),
    "past": ("fill: #f0f2f4; stroke: #afb8c1", "fill: #1c2128; stroke: #545d68"),
    "now": ("fill: #fff1c2; stroke: #9a6700", "fill: #3b2e05; stroke: #d29922"),
    "student": ("fill: #ddf4ff; stroke: #0969da", "fill: #0c2d57; stroke: #58a6ff"),
    "teacher": ("fill: #fbefff; stroke: #8250df", "fill: #2f1a4f; stroke: #bc8cff"),
    "flow": ("stroke: #59636e", "stroke: #9da7b1"),
    "tip": ("fill: #59636e", "fill: #9da7b1"),
    "short": ("stroke: #0969da", "stroke: #58a6ff"),
    "short-tip": ("fill: #0969da", "fill: #58a6ff"),
    "long": ("stroke: #8250df", "stroke: #bc8cff"),
    "long-tip": ("fill: #8250df", "fill: #bc8cff"),
}
STAGES = (
    (
        30,
        "student",
        "1  Student generation",
        ("A new student learns the", "teacher's rankings and the", "block before."),
    ),
    (
        355,
        "student",
        "2  Student update",
        ("It grows and learns the block.", "Proxies, averages of students,", "replay what it forgets."),
    ),
    (
        680,
        "teacher",
        "3  Teacher update",
        ("Each member grows and learns", "the block, kept near its past.", "It replays the student side."),
    ),
)
"""Left side, class, name and meaning of each stage."""
SHAPES = """\
    text { font: 14px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
    .sub { font-size: 10px }
    .head { font-size: 17px; font-weight: 600 }
    .bold { font-weight: 600 }
    .middle { text-anchor: middle }
    rect { stroke-width: 1.5 }
    path.line { fill: none; stroke-width: 2 }
    path.cycle { stroke-width: 3 }"""


def style() -> str:
    """The style sheet: shapes, the light colours, and the dark ones where the reader's scheme is dark."""
    light = [f"    .{name} {{ {pair[0]} }}" for name, pair in COLOURS.items()]
    dark = [f"      .{name} {{ {pair[1]} }}" for name, pair in COLOURS.items()]
    scheme = ["    @media (prefers-color-scheme: dark) {", *dark, "    }"]
    return "\n".join(["  <style>", SHAPES, *light, *scheme, "  </style>"])


def box(x: int, y: int, width: int, height: int, kind: str) -> str:
    """A rounded box.

    Args:
        x: its left side, in pixels of the picture as all that follows.
        y: its top.
        width: its width.
        height: its height.
        kind: its class in :data:`COLOURS`.
    """
    return f'  <rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'


def text(x: int, y: int, words: str, kind: str = "text") -> str:
    """One line of text, whose base line begins at a point, or has it in its middle."""
    return f'  <text class="{kind}" x="{x}" y="{y}">{escape(words, quote=False)}</text>'


def block(x: int, y: int, number: str) -> str:
    """The name of a block, its number as an index."""
    # few fonts have k and a minus sign as indices
    return f'  <text class="text middle" x="{x}" y="{y}">D<tspan class="sub" dy="3">{number}</tspan></text>'


def lines(x: int, y: int, words: Sequence[str], kind: str = "text") -> list[str]:
    """Several lines of text below one another."""
    return [text(x, y + 20 * number, line, kind) for number, line in enumerate(words)]


def arrow(path: str, kind: str = "flow", tip: str = "tip") -> str:
    """A line with a tip at its end.

    Args:
        path: the line, as SVG describes paths.
        kind: its class or classes.
        tip: the marker at its end.
    """
    return f'  <path class="line {kind}" d="{path}" marker-end="url(#{tip})"/>'


def marker(name: str) -> str:
    """The tip of arrows."""
    return (
        f'    <marker id="{name}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="11" markerHeight="11" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="{name}" d="M0 0 10 5 0 10z"/></marker>'
    )


def stream() -> list[str]:
    """The blocks on top, and where the last two of them are learned."""
    found = [text(30, 48, "Stream", "text bold")]
    blocks = [
        (100, "0", "past"),
        (166, "1", "past"),
        (232, "…", ""),
        (298, "k−1", "past"),
        (364, "k", "now"),
    ]
    for x, name, kind in blocks:
        found += [box(x, 26, 58, 34, kind), block(x + 29, 48, name)] if kind else [text(x + 22, 44, name)]
    found.append(text(438, 48, "the new block; new users and items come with it", "quiet"))
    return [
        *found,
        arrow("M327 60 V82 H160 V112"),
        text(168, 103, "the block before", "quiet"),
        arrow("M393 60 V112"),
        arrow("M393 82 H800 V112"),
        text(401, 103, "the new block", "quiet"),
    ]


def stages() -> list[str]:
    """The stages, side by side, and what each hands to the next."""
    found = []
    for x, kind, head, words in STAGES:
        found += [box(x, 118, 250, 120, kind), text(x + 16, 148, head, "text head")]
        found += lines(x + 16, 178, words)
    return [
        *found,
        arrow("M280 178 H349"),
        text(315, 168, "student", "quiet middle"),
        arrow("M605 178 H674"),
        *lines(640, 148, ["student,", "proxies"], "quiet middle"),
    ]


def cycles() -> list[str]:
    """The short cycle, the long one, and what leaves them."""
    return [
        arrow("M420 238 V288 H215 V244", "short cycle", "short-tip"),
        text(317, 278, "short cycle", "text bold middle"),
        text(317, 312, "stages 1 and 2, as often as data arrive", "quiet middle"),
        arrow("M805 238 V372 H95 V244", "long cycle", "long-tip"),
        text(560, 362, "long cycle", "text bold middle"),
        text(560, 394, "the teacher's rankings, for the student of the next block", "quiet middle"),
        arrow("M540 238 V302"),
        *lines(552, 274, ["deployed, unless stage 1 then", "makes a better one"], "quiet"),
    ]


def roles() -> list[str]:
    """What the colours stand for."""
    return [
        box(30, 428, 22, 22, "student"),
        text(62, 444, "Student: the compact model that is deployed"),
        box(430, 428, 22, 22, "teacher"),
        text(462, 444, "Teacher: an ensemble of large models, many times its size"),
        text(30, 478, "After each block both are measured on the test parts of all blocks so far.", "quiet"),
    ]


def picture() -> str:
    """The whole picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title about">',
        f'  <title id="title">{escape(TITLE)}</title>',
        f'  <desc id="about">{escape(ABOUT, quote=False)}</desc>',
        style(),
        "  <defs>",
        *map(marker, ("tip", "short-tip", "long-tip")),
        "  </defs>",
        f'  <rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10"/>',
        *stream(),
        *stages(),
        *cycles(),
        *roles(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
