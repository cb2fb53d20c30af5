"""The report of a run or of a comparison, made when it ends, while it is under way, and anew later."""

from __future__ import annotations

import os
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_ccd.errors import RunError, one_line
from recbole_ccd.state import RunDirectory

REPORT = "report.html"
RESULT, COMPARISON = "result.json", "comparison.json"


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Makes ``report.html`` anew, of what the directory of a run or of a comparison holds.

    The numbers are those of ``comparison.json`` or else of ``result.json``; no model and no data are needed.

    Args:
        run_dir: the directory; an earlier version may have written it, and the run may be unfinished.

    Returns:
        The page, one file that needs no other and no network.

    Raises:
        RunError: There is no result, it cannot be read, or the page cannot be written.
    """
    directory = RunDirectory(run_dir)
    name = next((name for name in (COMPARISON, RESULT) if (directory.path / name).is_file()), None)
    if name is None:
        raise RunError(
            f"{directory.path} holds no {RESULT} and no {COMPARISON}; give the directory of a run that has "
            "finished a block"
        )
    document = directory.read_json(name)
    try:
        text = _page(name, document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RunError(
            f"{directory.path / name} does not fit its format ({one_line(repr(error))}); start the run anew"
        ) from error
    try:
        directory.write_text(REPORT, text)
    except OSError as error:
        raise RunError(
            f"{directory.path / REPORT} cannot be written ({error.strerror or error}); see to it"
        ) from error
    return directory.path / REPORT


def leave_report(directory: RunDirectory, name: str, document: Any) -> None:
    """Writes the report of a document that has just been written.

    Args:
        directory: where.
        name: the document's name, ``result.json`` or ``comparison.json``.
        document: what it holds.

    Raises:
        OSError: The page cannot be written.
    """
    try:
        text = _page(name, document)
    except Exception:
        # the numbers are safe, and hours of training must not end over a picture of them
        getLogger("recbole_ccd").warning("%s could not be made", directory.path / REPORT, exc_info=True)
        return
    directory.write_text(REPORT, text)


def _page(name: str, document: Any) -> str:
    # what makes pages takes its time to import
    from recbole_ccd.report.html import comparison_report, run_report

    return (comparison_report if name == COMPARISON else run_report)(document)
