"""What the commands of the program do; :data:`recbole_ccd.commands.COMMANDS` names a function for each.

Each is given what was asked for and whoever may want it to end early, and imports what it needs itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ccd.commands import Request
from recbole_ccd.utils.console import say
from recbole_ccd.utils.guard import guarded

if TYPE_CHECKING:
    from recbole_ccd.utils.signals import InterruptHandler

_SERVED = "the run directory, or the file of users,"


def run(asked: Request, stop: InterruptHandler) -> None:
    """Runs a strategy, or compares several where a setting lists them."""
    from recbole_ccd.config import has_lists
    from recbole_ccd.quick_start import compare, run_ccd

    follow = compare if has_lists(argv=asked.rest) else run_ccd
    follow(argv=asked.rest, stop=stop)


def tune(asked: Request, stop: InterruptHandler) -> None:
    """Searches for settings."""
    from recbole_ccd import quick_start

    values = asked.values
    how = {"algorithm": values["tune_algorithm"], "n_trials": values["tune_trials"]}
    quick_start.tune(values["tune"], argv=asked.rest, stop=stop, **how)


def resume(asked: Request, stop: InterruptHandler) -> None:
    """Goes on with what was interrupted."""
    from recbole_ccd import quick_start

    quick_start.resume(asked.values["resume"], argv=asked.rest, stop=stop)


def update(asked: Request, stop: InterruptHandler) -> None:
    """Goes on with a finished run on a new block."""
    from recbole_ccd import quick_start

    values = dict(asked.values)
    quick_start.update(values.pop("update"), argv=asked.rest, stop=stop, **values)


def report(asked: Request, _: InterruptHandler) -> None:
    """Makes a report anew."""
    from recbole_ccd.report.writing import write_report

    folder = asked.values["report"]
    with guarded(f"the run directory {folder}"):
        say(str(write_report(folder)))


def recommend(asked: Request, _: InterruptHandler) -> None:
    """Recommends with the student of a run."""
    from recbole_ccd.serving import command

    with guarded(_SERVED):
        command.recommend(asked.values)


def export(asked: Request, _: InterruptHandler) -> None:
    """Writes the tables for a vector index."""
    from recbole_ccd.serving import command

    with guarded(_SERVED):
        command.export(asked.values)
