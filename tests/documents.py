"""The documentation, in pieces that tests can run and look at."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROGRAM = "python run_ccd.py"


def blocks(page, *languages):
    """The fenced blocks of a page in some languages, in order, as (language, text)."""
    found = _FENCE.findall((REPOSITORY / page).read_text(encoding="utf-8"))
    return [(language, text) for language, text in found if language in languages]


def module(page, name):
    """The Python blocks of a page that begin with ``# name``, put together."""
    first = f"# {name}\n"
    parts = [text for _, text in blocks(page, "python") if text.startswith(first)]
    return "\n\n".join(parts)


def prose(page):
    """A page without its fenced blocks."""
    return _FENCE.sub("", Path(page).read_text(encoding="utf-8"))


def commands(text):
    """The lines of a bash block in words, without comments; a backslash at its end lets a line go on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (shlex.split(line, comments=True) for line in lines) if line]


def program_arguments(page):
    """The arguments of every call of the program in the bash blocks of a page."""
    calls = [call for _, text in blocks(page, "bash") for call in commands(text)]
    calls = [call[2:] for call in calls if " ".join(call[:2]) == _PROGRAM]
    # what follows is the shell's
    return [list(takewhile(lambda word: word.startswith("--"), call)) for call in calls]
