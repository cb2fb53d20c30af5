"""A stream of 500,000 users, 100,000 items and 10 million interactions on two cores, within 8 GB.

``python benchmarks/large.py`` follows a base block and one full block through all three stages with the
settings of ``large.yaml``. With ``--fit`` it runs an eighth and a quarter of that size as well and says what
the fitted exponents mean for twice the size: a million users and 200,000 items.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from growth import Size, exponent, run_size
from stream_run import PHASES, StreamRun, start_up_mb
from tabulate import tabulate

FULL = {"users": 500_000, "items": 100_000, "interactions": 10_000_000}
SETTINGS = Path(__file__).with_suffix(".yaml")
SMALLER = (1 / 8, 1 / 4)
TWICE = 2.0


def scaled(size: Size, factor: float) -> Size:
    """A size in the same proportion."""
    return {key: round(n * factor) for key, n in size.items()}


def phase_table(run: StreamRun) -> str:
    """Time and memory of each phase in order."""
    rows = [
        [p.block, p.name.replace("_", " "), p.epochs or "", f"{p.seconds:.1f}", f"{p.peak_mb:.0f}"]
        for p in run.phases
    ]
    rows.append(["", "whole process", "", f"{run.seconds:.1f}", f"{run.peak_mb:.0f}"])
    return tabulate(rows, ["block", "phase", "epochs", "seconds", "peak MB"], disable_numparse=True)


def verdict(run: StreamRun, limit_mb: float, limit_seconds: float) -> str:
    """Whether the run kept within its memory and its time."""
    memory, time = run.peak_mb <= limit_mb, run.seconds <= limit_seconds
    return (
        f"memory: {run.peak_mb / 1000:.2f} GB of {limit_mb / 1000:.0f}: {'pass' if memory else 'FAIL'}\n"
        f"time: {run.seconds / 60:.1f} min of {limit_seconds / 60:.0f}: {'pass' if time else 'FAIL'}"
    )


def forecast_table(runs: dict[float, StreamRun], base_mb: float) -> str:
    """Exponents over the sizes run, and what they say of twice the full size.

    Args:
        runs: by share of the full size.
        base_mb: memory of a process that has loaded nothing, which does not grow.
    """
    factors = sorted(runs)
    largest, rows = runs[factors[-1]], []
    growth = TWICE / factors[-1]
    for phase in PHASES:
        time = exponent(factors, [runs[f].total(phase) for f in factors])
        memory = exponent(factors, [runs[f].peak(phase) - base_mb for f in factors])
        seconds = largest.total(phase) * growth**time
        peak = base_mb + (largest.peak(phase) - base_mb) * growth**memory
        rows.append(
            [phase.replace("_", " "), f"{time:.2f}", f"{seconds:.0f}", f"{memory:.2f}", f"{peak:.0f}"]
        )
    rows.append(["all", "", f"{sum(float(row[2]) for row in rows):.0f}", "", max(rows, key=_peak)[4]])
    header = ["phase", "exponent of time", "seconds", "exponent of memory", "peak MB"]
    return tabulate(rows, header, disable_numparse=True, stralign="right")


def _peak(row: Sequence[str]) -> float:
    return float(row[4])


def forecast(runs: dict[float, StreamRun], full: Size) -> str:
    """The forecast with its heading."""
    twice = scaled(full, TWICE)
    dense = twice["users"] * twice["items"] * 4 / 1e9
    sizes = ", ".join(f"{factor:g}" for factor in sorted(runs))
    return (
        f"what {sizes} of the full size say of {twice['users']:,} users, {twice['items']:,} items and "
        f"{twice['interactions']:,} interactions\n(one dense float32 matrix of scores: {dense:,.0f} GB)\n\n"
        f"{forecast_table(runs, start_up_mb())}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the sizes that the command line asks for and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for key, n in FULL.items():
        parser.add_argument(f"--{key}", type=int, default=n)
    parser.add_argument("--config_files", default=str(SETTINGS), help="the settings, default large.yaml")
    parser.add_argument(
        "--fit", action="store_true", help="run smaller sizes too and forecast twice the size"
    )
    parser.add_argument("--fit_only", action="store_true", help="run the smaller sizes alone")
    parser.add_argument("--limit_gb", type=float, default=8.0)
    parser.add_argument("--limit_minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("program", nargs="*", help="after --: further arguments of the program")
    given = parser.parse_args(argv)
    full = {key: getattr(given, key) for key in FULL}
    arguments = [f"--config_files={Path(given.config_files).resolve()}", *given.program]
    factors = [*(SMALLER if given.fit or given.fit_only else ()), *(() if given.fit_only else (1.0,))]
    runs: dict[float, StreamRun] = {}
    for factor in factors:
        runs[factor] = run_size(scaled(full, factor), arguments, given.threads)
        print(f"\n{factor:g} of the size: {scaled(full, factor)}\n\n{phase_table(runs[factor])}", flush=True)
    if 1.0 in runs:
        print(f"\n{verdict(runs[1.0], given.limit_gb * 1000, given.limit_minutes * 60)}")
    if len(runs) > 1:
        print(f"\n{forecast(runs, full)}")


if __name__ == "__main__":
    main()
