"""Writes results/overview.svg, the one figure of results/README.md: the student after each block.

``python results/make_figure.py`` after ``make_tables.py`` has taken in runs; a test tells when that has been
forgotten. Lines are means over seeds of the runs kept in ``runs/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean

from recbole_ccd.evaluation.summary import summarise

HERE = Path(__file__).parent
PICTURE = HERE / "overview.svg"
METRIC = "recall@20"
PANELS = (
    ("ml-100k-defaults", "ml-100k, the defaults"),
    ("yelp-cumulative", "Yelp, each strategy tuned by hand"),
)
SHOWN = {
    "ccd": "CCD",
    "distill_each_block": "a teacher, distilled anew",
    "lwc_kd": "LWC-KD",
    "fine_tune": "fine-tuning",
    "static": "not updated",
}
"""Strategies that have a line, and what a newcomer calls them."""

WIDTH, HEIGHT, LEFT, TOP, WIDE, HIGH = 960, 360, 62, 66, 250, 230
APART = 460
LEAST_GAP = 17  # between names at the ends of lines
# light and dark; the contrast of text is above 4.5 : 1
COLOURS = {
    "page": ("fill: #ffffff; stroke: #d0d7de", "fill: #0d1117; stroke: #3d444d"),
    "text": ("fill: #1f2328", "fill: #e6edf3"),
    "quiet": ("fill: #59636e", "fill: #9da7b1"),
    "grid": ("stroke: #d0d7de", "stroke: #3d444d"),
    "ccd": ("stroke: #0969da", "stroke: #58a6ff"),
    "name-ccd": ("fill: #0969da", "fill: #58a6ff"),
    "other": ("stroke: #818b98", "stroke: #818b98"),
}
SHAPES = """\
    text { font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
    .head { font-size: 16px; font-weight: 600 }
    .bold { font-weight: 600 }
    .middle { text-anchor: middle }
    .end { text-anchor: end }
    path { fill: none; stroke-width: 2 }
    path.ccd { stroke-width: 4 }
    line { stroke-width: 1 }"""
ABOUT = (
    "H-mean of Recall@20 of the student after each block, by strategy; the figures are in the tables below."
)


def harmonic_means(name: str) -> dict[str, list[float]]:
    """H of the student after blocks 1 to K, mean over the seeds kept, by strategy.

    Args:
        name: of a file of ``runs/``.
    """
    runs: dict[str, list[Sequence[float]]] = {}
    for line in (HERE / "runs" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        rows = run["result"]["metrics"][METRIC]["student"]["R"]
        runs.setdefault(run["label"], []).append(summarise(rows)["H"][1:])
    return {label: [mean(values) for values in zip(*found, strict=True)] for label, found in runs.items()}


def panel(x: int, title: str, lines: Mapping[str, Sequence[float]]) -> list[str]:
    """The lines of one stream, with their names at the right.

    Args:
        x: left side of the axes.
        title: stands above.
        lines: H after each block by strategy.
    """
    values = [value for line in lines.values() for value in line]
    low, high = int(min(values) * 100) / 100, (int(max(values) * 100) + 1) / 100
    blocks = len(next(iter(lines.values())))

    def at(block: int, value: float) -> tuple[float, float]:
        return x + WIDE * block / (blocks - 1), TOP + HIGH * (high - value) / (high - low)

    found = [f'  <text class="text head" x="{x}" y="{TOP - 26}">{escape(title)}</text>']
    for step in range(round((high - low) * 100) + 1):
        value = low + step / 100
        y = at(0, value)[1]
        found.append(f'  <line class="grid" x1="{x}" y1="{y:.1f}" x2="{x + WIDE}" y2="{y:.1f}"/>')
        if step % 2 == 0:
            found.append(f'  <text class="quiet end" x="{x - 8}" y="{y + 4:.1f}">{value:.2f}</text>')
    for block in range(blocks):
        left = at(block, low)[0]
        found.append(f'  <text class="quiet middle" x="{left:.1f}" y="{TOP + HIGH + 20}">{block + 1}</text>')
    found.append(f'  <text class="quiet middle" x="{x + WIDE / 2}" y="{TOP + HIGH + 42}">after block</text>')
    # ccd last, above the others
    for label in sorted(lines, key=lambda label: label == "ccd"):
        points = " L".join(f"{left:.1f} {top:.1f}" for left, top in map(at, range(blocks), lines[label]))
        found.append(f'  <path class="{"ccd" if label == "ccd" else "other"}" d="M{points}"/>')
    return found + names(x, {label: at(0, line[-1])[1] for label, line in lines.items()})


def names(x: int, ends: Mapping[str, float]) -> list[str]:
    """Names at the ends of lines, moved down where they would overlap.

    Args:
        x: left side of the axes.
        ends: where each line ends.
    """
    found, last = [], -1e9
    for label in sorted(ends, key=lambda label: ends[label]):
        last = max(ends[label], last + LEAST_GAP)
        kind = "name-ccd bold" if label == "ccd" else "text"
        words = escape(SHOWN[label])
        found.append(f'  <text class="{kind}" x="{x + WIDE + 10}" y="{last + 4:.1f}">{words}</text>')
    return found


def picture() -> str:
    """The figure."""
    light = [f"    .{name} {{ {pair[0]} }}" for name, pair in COLOURS.items()]
    dark = [f"      .{name} {{ {pair[1]} }}" for name, pair in COLOURS.items()]
    style = [SHAPES, *light, "    @media (prefers-color-scheme: dark) {", *dark, "    }"]
    body = []
    for number, (file, title) in enumerate(PANELS):
        means = harmonic_means(file)
        body += panel(LEFT + APART * number, title, {label: means[label] for label in SHOWN})
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-labelledby="title desc">',
            '  <title id="title">The student after each block</title>',
            f'  <desc id="desc">{ABOUT}</desc>',
            "  <style>",
            *style,
            "  </style>",
            f'  <rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
            *body,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
