"""A run beside other work on the same cores: how much longer does it take than alone?

``python benchmarks/busy.py`` runs ml-100k with few epochs, each time as a user would, alone and beside a
program that keeps as many threads busy with products of matrices as there are cores, and prints the ratio of
the two: as the program sets itself up, as torch is without that, and with the numbers of spins that
``--spins`` lists. What comes after ``--`` goes to the program as it is. Beside one other program two is what
a fair share of the cores would give. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
TORCH_DEFAULT = "300000"
FEW_EPOCHS = ("--epochs=2", "--student_generation_epochs=2", "--write_report=False", "--show_progress=False")
BUSY = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
a, b = torch.randn(700, 700), torch.randn(700, 700)
print("busy", flush=True)
while True:
    a = (a @ b).tanh_()
"""


def environment(spins: str | None) -> dict[str, str]:
    """What a program is started with; None leaves it to the program how threads wait."""
    kept = {name: value for name, value in os.environ.items() if name not in WAITING}
    return {**kept, "PYTHONPATH": str(ROOT), **({} if spins is None else {"GOMP_SPINCOUNT": spins})}


@contextmanager
def other_programs(number: int, threads: int) -> Iterator[None]:
    """So many programs at work, each with as many threads, that wait as torch's threads do by themselves."""
    command = [sys.executable, "-c", BUSY, str(threads)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(TORCH_DEFAULT))
        for _ in range(number)
    ]
    try:
        for program in started:
            program.stdout.readline()
        yield
    finally:
        for program in started:
            program.kill()
            program.wait()


def seconds_of_run(spins: str | None, arguments: Sequence[str]) -> float:
    """Wall-clock seconds of a whole run in a process of its own.

    Raises:
        RuntimeError: it has failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "recbole_ccd", f"--run_dir={folder}/run", *FEW_EPOCHS, *arguments]
        start = perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment(spins), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--spins", default=TORCH_DEFAULT, help="numbers of spins to compare with, by commas")
    parser.add_argument("--programs", type=int, default=1, help="other programs at work")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("program", nargs="*", help="after --: further arguments of the program")
    given = parser.parse_args(argv)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = [None, *filter(None, given.spins.split(","))]
    exclusive: dict[str | None, list[float]] = {spins: [] for spins in chosen}
    beside: dict[str | None, list[float]] = {spins: [] for spins in chosen}
    seconds_of_run(None, given.program)  # what is read for the first time
    for _ in range(given.repeats):
        for spins in chosen:
            exclusive[spins].append(seconds_of_run(spins, given.program))
        with other_programs(given.programs, cores):
            for spins in chosen:
                beside[spins].append(seconds_of_run(spins, given.program))
    first = median(exclusive[None])
    rows = [
        [
            "as the program sets it" if spins is None else spins,
            median(exclusive[spins]),
            median(beside[spins]),
            median(beside[spins]) / median(exclusive[spins]),
            median(exclusive[spins]) / first,
        ]
        for spins in chosen
    ]
    others = f"beside {given.programs} of {cores} threads"
    header = ["spins", "alone, s", f"{others}, s", "beside : alone", "alone : alone as set"]
    print(tabulate(rows, header, floatfmt=".2f"))


if __name__ == "__main__":
    main()
