"""How time and memory grow with users, items and interactions.

``python benchmarks/growth.py`` doubles all three together, ``--vary=users|items|interactions`` one of them.
Each size is a two-block stream with a teacher of one BPR (d = 64) and a BPR student (d = 16), in a process of
its own. An exponent of 1 is linear in what is doubled; with ``--vary=all`` users x items has the exponent 2.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from stream_run import PHASES, STAGES, StreamRun, generate, run_stream, start_up_mb
from tabulate import tabulate

FIRST = {"users": 2_000, "items": 1_000, "interactions": 40_000}
SETTINGS = {
    "TIME_FIELD": "timestamp",
    "load_col": "{inter: [user_id, item_id, timestamp]}",
    "block_ratios": "[0.8, 0.2]",
    "model": "BPR",
    "embedding_size": 16,
    "teacher_models": "[BPR]",
    "teacher_args": "{embedding_size: 64}",
    "topk": "[20]",
    "n_uninteresting_items": 500,
    "n_uninteresting_users": 500,
}
FITTED = 3  # of the sizes, the largest: in small ones what does not grow is most of it

Size = dict[str, int]


def sizes(steps: int, vary: str, first: Size = FIRST) -> list[Size]:
    """The sizes to run, each twice the one before in what varies."""
    grows = set(first) if vary == "all" else {vary}
    return [{key: n << step if key in grows else n for key, n in first.items()} for step in range(steps)]


def run_size(size: Size, settings: Sequence[str], threads: int = 2) -> StreamRun:
    """Generates a stream of a size and follows it, each in a process of its own.

    Args:
        size: users, items and interactions.
        settings: the program's arguments, without data set and folder.
        threads: threads of torch, BLAS and OpenMP.
    """
    with tempfile.TemporaryDirectory() as folder:
        generate(folder, **size)
        return run_stream([*settings, "--dataset=synthetic", f"--data_path={folder}"], threads)


def exponent(factors: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the least-squares line through the logarithms; NaN when a value is not positive."""
    if len(values) < 2 or min(values) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(factors), np.log(values), 1)[0])


def seconds_per_epoch(run: StreamRun, phase: str) -> float:
    """Seconds of a phase, per epoch where it has epochs."""
    return run.total(phase) / max(run.epochs(phase), 1)


def growth_table(
    done: Sequence[Size],
    runs: Sequence[StreamRun],
    factors: Sequence[float],
    measure: Callable[[StreamRun, str], float],
    floatfmt: str,
    base: float = 0.0,
) -> str:
    """A row per size and a last one with the exponents.

    Args:
        done: the sizes.
        runs: what they took.
        factors: how many times the first size each is.
        measure: the number of a run and a phase.
        floatfmt: its format.
        base: what it is without any data, taken off before the fit.
    """
    values = [[measure(run, phase) for phase in PHASES] for run in runs]
    rows = [
        [*(f"{n:,}" for n in size.values()), *(format(value, floatfmt) for value in row)]
        for size, row in zip(done, values, strict=True)
    ]
    fits = [
        exponent(factors[-FITTED:], [row[column] - base for row in values[-FITTED:]])
        for column in range(len(PHASES))
    ]
    rows.append(["exponent", "", "", *(format(fit, ".2f") for fit in fits)])
    header = [*done[0], *(phase.replace("_", " ") for phase in PHASES)]
    return tabulate(rows, header, disable_numparse=True, stralign="right")


def report(done: Sequence[Size], runs: Sequence[StreamRun], factors: Sequence[float]) -> str:
    """The tables of time and of memory."""
    base = start_up_mb()
    return "\n\n".join(
        [
            f"seconds, per epoch in {', '.join(STAGES)} (what is drawn and ranked before included)",
            growth_table(done, runs, factors, seconds_per_epoch, ".2f"),
            f"peak memory in MB (exponents without the {base:.0f} MB of a process that has only started)",
            growth_table(done, runs, factors, StreamRun.peak, ".0f", base),
            f"exponents: least squares on the logarithms of the last {min(FITTED, len(runs))} sizes",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the sizes that the command line asks for and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="how many sizes")
    parser.add_argument("--vary", default="all", choices=["all", *FIRST])
    for key, n in FIRST.items():
        parser.add_argument(f"--{key}", type=int, default=n, help=f"the first size, default {n}")
    parser.add_argument("--epochs", type=int, default=2, help="of each stage")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("program", nargs="*", help="after --: further arguments of the program")
    given = parser.parse_args(argv)
    settings = {**SETTINGS, "epochs": given.epochs}
    arguments = [*(f"--{key}={value}" for key, value in settings.items()), *given.program]
    print("python -m recbole_ccd", *arguments, flush=True)
    wanted, runs = sizes(given.steps, given.vary, {key: getattr(given, key) for key in FIRST}), []
    for size in wanted:
        runs.append(run_size(size, arguments, given.threads))
        print(f"{size}: {runs[-1].seconds:.1f} s, {runs[-1].peak_mb:.0f} MB", flush=True)
    print(f"\n{report(wanted, runs, [2.0**step for step in range(given.steps)])}")


if __name__ == "__main__":
    main()
