"""Writes anew what docs/tutorial.md shows of outputs.

``python docs/make_tutorial.py`` follows the page in an empty folder, some minutes long, and puts in the place
of each line that is shown the one of its shape that has been printed. What has no such line any more is named
and left as it is; what the prose says of numbers is for a person to read again.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.documents import REPOSITORY
from tests.test_tutorial import PAGE, ends, follow, shape


def renewed(shown: str, printed: str) -> Iterator[str]:
    """The lines shown, each as it is printed now: the same line, or else the first of its shape that is left.

    Args:
        shown: the output as the page has it.
        printed: all that was printed.
    """
    left = printed.splitlines()
    for line in shown.splitlines():
        if line == "…" or not line.strip():
            yield line
            continue
        alike = [place for place, other in enumerate(left) if ends(other, line)]
        same = [place for place in alike if left[place].endswith(line)]
        if not alike:
            print("not printed any more:", line)
            yield line
            continue
        found = (same or alike)[0]
        yield _without_time(left[found], line)
        left = left[found + 1 :]


def _without_time(printed: str, line: str) -> str:
    """A printed line from where it is of the shape of another one: the log puts the time before its lines."""
    if shape(printed) == shape(line):
        return printed
    starts = [place + 1 for place, sign in enumerate(printed) if sign == " "]
    return next(printed[start:] for start in reversed(starts) if shape(printed[start:]) == shape(line))


def main() -> None:
    """Follows the page and rewrites it."""
    page = REPOSITORY / PAGE
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for _, shown, printed in follow(Path(folder)):
            if shown is not None:
                text = text.replace(shown, "\n".join(renewed(shown, printed)) + "\n", 1)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
