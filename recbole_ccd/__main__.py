"""``python -m recbole_ccd``, the same as ``run_ccd.py``."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from recbole_ccd import __version__
from recbole_ccd.utils.console import CLOSED, ReaderGone, say, settle
from recbole_ccd.utils.errors import CCDError
from recbole_ccd.utils.openmp import yield_to_other_programs
from recbole_ccd.utils.signals import InterruptHandler

USAGE = """usage: run_ccd.py [--key=value ...]

  --model=LightGCN       the student: any RecBole general recommender with user and item embeddings
  --strategy=ccd         how it follows the stream
  --strategy=static,fine_tune,ccd --seed=2020,2021,2022
                         the same blocks, one run for each combination, and a comparison of them;
                         --base=distilled,plain and --ablation=none,no_annealing,... may be lists too
  --dataset=ml-100k      a RecBole data set; --data_path=DIR is the folder that holds <dataset>/
  --config_files=a.yaml  property files, separated by spaces
  --plugins=MODULE       strategies and losses of your own, in its STRATEGIES and USER_LOSSES
  --tune=FILE [--tune_algorithm=random] [--tune_trials=10]
                         search: FILE has a key and its values per line, as RecBole's HyperTuning has it; by
                         H-mean on the validation parts, mean over seeds; docs/tuning.md
  --resume=DIR           go on with the run, the comparison or the search whose run directory this is
  --update=RUN_DIR --new_block=FILE.inter [--cycle=student] [--replace=True]
                         go on with a finished run on a new block, which is read from an atomic file, or from
                         three: A.train.inter,A.valid.inter,A.test.inter; --cycle=student updates the student
                         alone, and without --new_block the teacher follows; --replace=True lets go of what
                         has arrived and the teacher has not learned; --allow_repeated=True takes a block of
                         which most pairs of user and item were given before
  --report=DIR           make report.html anew, of the results in this run directory
  --run_dir=DIR          where the run is kept (default saved/<dataset>-<model>-<strategy>-<seed>-<time>);
                         of several runs each has a folder in it, and the comparison lies at the top
  --recommend=RUN_DIR --users=FILE --output=FILE.csv [--k=20] [--exclude_seen=all] [--role=student]
                         recommend with the student of a run: FILE has a user per line, and after a tab the
                         items of a new one, separated by spaces, or a JSON object per line,
                         {"user": "...", "items": ["..."]}; --exclude_seen=evaluation or none
  --export=RUN_DIR --output=FILE.npz
                         its embeddings and tokens for a vector index
  --version              what this is
  --seed=2020 --epochs=100 --teacher_models=[LightGCN,MultiVAE] ...
                         every other key of RecBole and of recbole_ccd's properties/*.yaml

Bad input ends with one line; with RECBOLE_CCD_DEBUG=1 in the environment the traceback stands above it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line.

    Args:
        argv: arguments without the program's name; default those of the process.

    Returns:
        The exit code: 0, 2 for bad input and for what went wrong in training, 130 when interrupted, 143 when
        terminated, and 141 when nobody reads an output that goes to a pipe.
    """
    arguments = [_at_home(text) for text in (sys.argv[1:] if argv is None else argv)]
    from recbole_ccd.utils.guard import shows_tracebacks

    try:
        return _answered(arguments)
    except CCDError as error:
        if shows_tracebacks():
            traceback.print_exception(error)
        # names of files may hold line breaks
        say(f"error: {' '.join(str(error).splitlines())}", sys.stderr)
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


def _answered(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        say(USAGE.rstrip())
        return 0
    if "--version" in arguments:
        say(f"recbole_ccd {__version__}")
        return 0
    from recbole_ccd.utils.guard import guarded

    with InterruptHandler() as stop, guarded("what was given"):
        _check_text(arguments)
        _run(arguments, stop)
    return 0


def _at_home(argument: str) -> str:
    """The argument with ``~/`` at the beginning of each path as the home folder, which shells leave there."""
    return re.sub(r"(?<=[=, ])~(?=/)", lambda _: str(Path.home()), argument)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuses what is no text: it could be neither shown nor written down."""
    from recbole_ccd.utils.errors import ConfigError, is_text, one_line

    for argument in arguments:
        if not is_text(argument):
            raise ConfigError(
                f"the argument {one_line(repr(argument))} (command line) is not UTF-8; give it as such"
            )


def _run(arguments: list[str], stop: InterruptHandler) -> None:
    yield_to_other_programs()
    # torch and RecBole take seconds to import, which a request for help need not wait for
    from recbole_ccd.config import has_lists
    from recbole_ccd.experiment.run import split_folder, split_resume
    from recbole_ccd.experiment.search.command import is_tuning, split_tuning
    from recbole_ccd.experiment.update import is_update, update_by
    from recbole_ccd.quick_start import compare, resume, run_ccd, tune
    from recbole_ccd.serving.command import is_serving, serve
    from recbole_ccd.utils.guard import guarded
    from recbole_ccd.utils.malloc import keep_freed_memory

    rest, reported = split_folder("report", arguments)
    if reported is not None:
        _report(reported, rest)
        return
    keep_freed_memory()
    # RecBole 1.2.1 and torch's CSR tensors warn about themselves at every use
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    if is_serving(arguments):
        with guarded("the run directory, or the file of users,"):
            serve(arguments)
        return
    if is_update(arguments):
        update_by(arguments, stop)
        return
    if is_tuning(arguments):
        asked = split_tuning(arguments)
        tune(asked.file, argv=asked.rest, algorithm=asked.algorithm, n_trials=asked.n_trials, stop=stop)
        return
    rest, folder = split_resume(arguments)
    if folder is not None:
        resume(folder, argv=rest, stop=stop)
    else:
        run = compare if has_lists(argv=arguments) else run_ccd
        run(argv=arguments, stop=stop)


def _report(folder: str, rest: Sequence[str]) -> None:
    """Makes a report anew; nothing is set for that."""
    from recbole_ccd.report.writing import write_report
    from recbole_ccd.utils.errors import ConfigError, one_line
    from recbole_ccd.utils.guard import guarded

    if rest:
        raise ConfigError(
            f"--report stands by itself (command line), without {one_line(repr(rest[0]))}; remove that"
        )
    with guarded(f"the run directory {folder}"):
        say(str(write_report(folder)))


def _command() -> str:
    """How the program was started, in words for a shell."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return "python -m recbole_ccd"
    return f"python {shlex.quote(str(program))}" if program.suffix == ".py" else program.name


if __name__ == "__main__":
    sys.exit(main())
