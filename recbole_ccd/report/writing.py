"""The report of a run or of a comparison, made when it ends, while it is under way, and anew later."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_ccd.checkpoint import Manifest, RunDirectory
from recbole_ccd.checkpoint.manifest import COMPARISON as COMPARED
from recbole_ccd.checkpoint.manifest import FINISHED
from recbole_ccd.checkpoint.restoration import FinishedRun, restore_results
from recbole_ccd.checkpoint.run_directory import DamagedFile, folder_name
from recbole_ccd.utils.atomic_files import given_path
from recbole_ccd.utils.errors import RunError, one_line

REPORT = "report.html"
# what reading a document of other shapes, depths or sizes than ours comes to
_NO_FIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
RESULT, COMPARISON = "result.json", "comparison.json"


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Makes ``report.html`` anew, of what the directory of a run or of a comparison holds.

    The numbers are those of ``comparison.json`` or else of ``result.json``; no model and no data are needed.
    Of what is finished they are held against the checkpoints, and restored from those where they differ.

    Args:
        run_dir: the directory; an earlier version may have written it, and the run may be unfinished.

    Returns:
        The page, one file that needs no other and no network.

    Raises:
        RunError: If there is no result, it cannot be read, or the page cannot be written.
    """
    directory = RunDirectory(given_path("run_dir", run_dir, "a run directory"))
    sessions: Sequence[Any] = ()
    try:
        found = Manifest.read(directory.path)
    except RunError as error:
        problem = str(error).rpartition("; ")[0]
        getLogger("recbole_ccd").warning("%s; the figures are held against nothing", problem)
    else:
        sessions = found[0].sessions if found is not None else ()
        restore_results(directory)
        _restore_comparison(directory)
    name = next((name for name in (COMPARISON, RESULT) if os.path.isfile(directory.path / name)), None)
    if name is None:
        raise RunError(
            f"{directory.path} holds no {RESULT} and no {COMPARISON}; give the directory of a run that has "
            "finished a block"
        )
    document = directory.read_json(name)
    try:
        text = _page(name, document, sessions)
    except _NO_FIT as error:
        raise RunError(
            f"{directory.path / name} does not fit its format ({one_line(repr(error))}); "
            f"make it anew by --resume={directory.path}, or start the run anew"
        ) from error
    try:
        directory.write_text(REPORT, text)
    except OSError as error:
        raise RunError(
            f"{directory.path / REPORT} cannot be written ({error.strerror or error}); see to it"
        ) from error
    return directory.path / REPORT


def _restore_comparison(directory: RunDirectory) -> None:
    """Restores ``comparison.json`` from the runs that were compared, where it is not what they measured."""
    from recbole_ccd.evaluation.comparison import Comparison
    from recbole_ccd.evaluation.result import StreamResult

    found = Manifest.read(directory.path)
    if found is None or found[0].kind != COMPARED or found[0].status != FINISHED:
        return
    results: dict[str, list[StreamResult]] = {}
    for entry in found[0].runs:
        run = FinishedRun.find(directory.path / folder_name(directory.path, entry["folder"]))
        # one that has been updated since has measured more
        document = None if run is None or run.manifest.is_updated else run.document()
        if document is None:
            return
        results.setdefault(str(entry["label"]), []).append(StreamResult.from_dict(document))
    comparison = json.loads(json.dumps(Comparison(results).to_dict()))
    try:
        shown = directory.read_json(COMPARISON)
        problem = f"{directory.path / COMPARISON} is not what the runs have measured"
    except DamagedFile as error:
        shown, problem = None, error.what
    if shown != comparison:
        getLogger("recbole_ccd").warning("%s; it is made anew of them", problem)
        directory.write_json(COMPARISON, comparison)


def write_report_page(
    directory: RunDirectory, name: str, document: Any, sessions: Sequence[Any] = ()
) -> None:
    """Writes the report of a document that has just been written.

    Args:
        directory: where.
        name: the document's name, ``result.json`` or ``comparison.json``.
        document: what it holds.
        sessions: who has worked on it, as its manifest has it.

    Raises:
        OSError: If the page cannot be written.
    """
    try:
        text = _page(name, document, sessions)
    except Exception:
        # the numbers are safe, and hours of training must not end over a picture of them
        getLogger("recbole_ccd").warning("%s could not be made", directory.path / REPORT, exc_info=True)
        return
    directory.write_text(REPORT, text)


def _page(name: str, document: Any, sessions: Sequence[Any]) -> str:
    # what makes pages takes its time to import
    from recbole_ccd.report.html import comparison_report, run_report

    return (comparison_report if name == COMPARISON else run_report)(document, sessions)
