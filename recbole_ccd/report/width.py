"""What is printed fits the terminal: tables are divided into several rather than wrapped."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

DEFAULT = 110
"""Columns of what goes into a file or a pipe."""
_LEAST = 40

Render = Callable[[Sequence[Sequence[Any]], Sequence[str]], str]


def terminal_width() -> int:
    """How many columns the terminal has that the log is shown on; ``DEFAULT`` where there is none."""
    try:
        if sys.stderr is None or not sys.stderr.isatty():
            return DEFAULT
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return DEFAULT
    # some terminals do not tell
    return max(columns, _LEAST) if columns else DEFAULT


def fitted(rows: Sequence[Sequence[Any]], header: Sequence[str], width: int, render: Render) -> str:
    """A table, in several parts below each other where it is wider than there is room.

    Args:
        rows: cells; the first one names the row and is repeated in each part.
        header: names of the columns. What one of them says about the one before (its deviation, its size in
            MB) stays beside it, and so do those that end in the same word (``H S``, ``LA S``).
        width: columns of the terminal.
        render: makes the text of a table.

    Returns:
        The parts, an empty line between them.
    """
    found = [list(row) for row in rows]
    if _widest(render(found, header)) <= width:
        return render(found, header)
    found = [[_shortened(row[0], width // 2), *row[1:]] for row in found]

    def part(columns: Sequence[int]) -> str:
        chosen = (0, *columns)
        return render([[row[n] for n in chosen] for row in found], [header[n] for n in chosen])

    parts: list[list[int]] = [[]]
    for group in _groups(header):
        pieces = [group] if _widest(part(group)) <= width else [[n] for n in group]
        for piece in pieces:
            if parts[-1] and _widest(part([*parts[-1], *piece])) > width:
                parts.append([])
            parts[-1] += piece
    return "\n\n".join(part(columns) for columns in parts)


def filled(text: str, width: int, indent: str = "  ") -> str:
    """Lines no wider than ``width``, broken between words; what goes on a further line is indented."""
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)
        for line in text.splitlines()
    )


def _groups(header: Sequence[str]) -> list[list[int]]:
    """The columns after the first one, those together that belong together."""
    groups: list[list[int]] = []
    for n, name in enumerate(header[1:], start=1):
        last = header[n - 1]
        same_role = name[-2:] in (" S", " T") and last[-2:] == name[-2:]
        if groups and (name in ("new", "new items", "± std") or name.startswith("MB") or same_role):
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def _shortened(name: Any, most: int) -> Any:
    """A name of so many characters at most, its beginning and its end."""
    if not isinstance(name, str) or len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def _widest(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)
