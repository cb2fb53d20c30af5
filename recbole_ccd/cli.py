"""The program: ``python run_ccd.py``, ``python -m recbole_ccd`` and the console script ``run_ccd``."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from textwrap import wrap

from recbole_ccd import __version__
from recbole_ccd.utils.commands import (
    COMMANDS,
    TOPICS,
    Argument,
    Command,
    Parser,
    Request,
    chosen,
    request,
    with_values,
)
from recbole_ccd.utils.console import CLOSED, ReaderGone, say, settle
from recbole_ccd.utils.documentation import documentation_dir
from recbole_ccd.utils.errors import CCDError, ConfigError, is_text, one_line
from recbole_ccd.utils.guard import guarded, shows_tracebacks
from recbole_ccd.utils.malloc import keep_freed_memory
from recbole_ccd.utils.openmp import yield_to_other_programs
from recbole_ccd.utils.requirements import check_recbole
from recbole_ccd.utils.signals import InterruptHandler

# of help, and where its explanations begin
_WIDTH, _INDENT = 100, 27
_EPILOGUE = (
    "Bad input ends with one line; with RECBOLE_CCD_DEBUG=1 in the environment the traceback stands above it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line.

    Args:
        argv: arguments without the program's name; default those of the process.

    Returns:
        The exit code: 0, 2 for bad input and for what went wrong in training, 130 when interrupted, 143 when
        terminated, and 141 when nobody reads an output that goes to a pipe.
    """
    arguments = [_at_home(text) for text in (sys.argv[1:] if argv is None else argv)]
    try:
        _answer(arguments)
    except CCDError as error:
        if shows_tracebacks():
            traceback.print_exception(error)
        for problem in error.problems:
            # names of files may hold line breaks
            say(f"error: {' '.join(problem.splitlines())}", sys.stderr)
        return 2
    except ReaderGone:
        return CLOSED
    except KeyboardInterrupt as interruption:
        folder = getattr(interruption, "folder", None)
        remedy = "" if folder is None else f"; go on with: {_command()} --resume={shlex.quote(folder)}"
        say(f"interrupted{remedy}", sys.stderr)
        return 128 + getattr(interruption, "number", signal.SIGINT)
    finally:
        settle()
    return 0


def usage(program: str) -> str:
    """What ``--help`` says: all commands and their arguments.

    Args:
        program: how the program was started.
    """
    others = [f"       {program} {command.word} ..." for command in COMMANDS if command.word]
    lines = [f"usage: {program} [--key=value ...]", *others]
    for command in COMMANDS:
        lines += ["", *_explained(command)]
    about = [
        ("--version", "what this is"),
        ("--help", "this text"),
        ("--help=TOPIC", f"keys with values, default and meaning: {', '.join(TOPICS)}, or a strategy's name"),
    ]
    lines += ["", *(line for form, text in about for line in _entry(form, text))]
    return "\n".join([*lines, "", *wrap(_EPILOGUE, _WIDTH)])


def _explained(command: Command) -> Iterator[str]:
    """The lines about a command."""
    yield from wrap(f"{command.name}: {command.help}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    for argument in (*command.all_arguments, *command.examples):
        yield from _entry(str(argument), _meaning(argument))
    if command.word and command.settings:
        yield from _entry("--key=value ...", "settings, as those of a run")


def _meaning(argument: Argument) -> str:
    """What an argument does, and what happens without it."""
    if argument.needed:
        return f"{argument.help} (needed)"
    return argument.help if argument.default is None else f"{argument.help} (default {argument.default})"


def _entry(form: str, text: str) -> list[str]:
    """The lines about an argument: explained beside it where there is room, and else below."""
    margin = " " * _INDENT
    lines = wrap(
        text, _WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
    head = f"  {form}"
    if len(head) >= _INDENT - 1:
        return [head, *lines]
    return [head.ljust(_INDENT) + lines[0].lstrip(), *lines[1:]]


def _answer(arguments: list[str]) -> None:
    about = Parser(())
    about.add_argument("-h", "--help", nargs="?", const="", metavar="TOPIC")
    about.add_argument("--version", action="store_true")
    asked, _ = about.parse_known_args(arguments)
    if asked.help == "":
        # a path is as long as it is
        say(f"{usage(_command())}\n\nThe pages of the documentation are in {documentation_dir()}")
    elif asked.help is not None:
        _explain(asked.help, arguments)
    elif asked.version:
        say(f"recbole_ccd {__version__}")
    else:
        with InterruptHandler() as stop, guarded("what was given"):
            _check_text(arguments)
            _perform(arguments, stop)


def _explain(topic: str, arguments: Sequence[str]) -> None:
    """Shows the keys of a topic."""
    _check_text(arguments)
    check_recbole()
    from recbole_ccd.config.options import explained

    say(explained(topic))


def _perform(arguments: Sequence[str], stop: InterruptHandler) -> None:
    """Does what arguments ask for."""
    # before anything imports torch
    yield_to_other_programs()
    arguments = with_values(arguments)
    command = chosen(arguments)
    asked = request(command, arguments)
    check_recbole()
    keep_freed_memory()
    # RecBole 1.2.1 and torch's CSR tensors warn about themselves at every use
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    resolve_name(command.does)(asked, stop)


def _at_home(argument: str) -> str:
    """The argument with ``~/`` at the beginning of each path as the home folder, which shells leave there."""
    return re.sub(r"(?<=[=, ])~(?=/)", lambda _: str(Path.home()), argument)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuses what is no text: it could be neither shown nor written down."""
    for argument in arguments:
        if not is_text(argument):
            raise ConfigError(
                f"the argument {one_line(repr(argument))} (command line) is not UTF-8; give it as such"
            )


def _command() -> str:
    """How the program was started, in words for a shell."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return "python -m recbole_ccd"
    return f"python {shlex.quote(str(program))}" if program.suffix == ".py" else program.name


# what each command does; the table names these functions, and each imports what it needs itself
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


def convert(asked: Request, _: InterruptHandler) -> None:
    """Makes a data set of published pickles."""
    from recbole_ccd.data.ccd_blocks import convert as made_of

    with guarded(f"the folder {asked.values['convert']}"):
        say("\n".join(made_of(asked.values["convert"], asked.values["output"])))
