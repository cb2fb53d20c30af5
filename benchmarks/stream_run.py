"""One stream followed in a process of its own, with the time and the peak memory of each phase.

The program is run as a user runs it, ``python -m recbole_ccd --key=value ...``; phases are told from the
lines it logs, and the memory is what the kernel counts for the process, not what the program says of itself.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("base", "student_generation", "student_update", "teacher_update")
LOADING, EVALUATION = "loading", "evaluation"
PHASES = (LOADING, *STAGES, EVALUATION)

_FIRST_BLOCK = re.compile(r"\bblock (\d+) of \d+: ")
_STAGE_DONE = re.compile(rf"\bblock (\d+) ({'|'.join(STAGES)})\b.*: (\d+) epochs, ([\d.]+)s$")
_RESULT = re.compile(r"\bresult: .*result\.json$")


class RunFailed(RuntimeError):
    """The program ended with an error; the message is the end of what it printed."""


@dataclass
class Phase:
    """A part of a run.

    Attributes:
        name: ``loading``, one of the stages, or ``evaluation`` (with the writing of results).
        block: the block it belongs to; 0 for loading.
        epochs: epochs trained in it.
        seconds: wall-clock time.
        peak_mb: the process's greatest resident memory during it, in MB (10**6 bytes).
    """

    name: str
    block: int
    epochs: int
    seconds: float
    peak_mb: float


@dataclass
class StreamRun:
    """What a run took.

    Attributes:
        phases: in order; a stage with several members has one entry per member.
        seconds: wall-clock time of the process, imports included.
        peak_mb: its greatest resident memory, in MB.
        result: its result.json.
        saving: seconds and number of its ``saves``, out of its manifest.json.
    """

    phases: list[Phase] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    saving: dict[str, Any] = field(default_factory=dict)

    def total(self, name: str, block: int | None = None) -> float:
        """Seconds of all phases of a name, in one block or in all."""
        return sum(p.seconds for p in self.phases if p.name == name and block in (None, p.block))

    def peak(self, name: str) -> float:
        """The greatest memory of the phases of a name, in MB; 0 when there is none."""
        return max((phase.peak_mb for phase in self.phases if phase.name == name), default=0.0)

    def epochs(self, name: str) -> int:
        """Epochs of all phases of a name."""
        return sum(phase.epochs for phase in self.phases if phase.name == name)


class _Watch:
    """Cuts a running process into phases as its lines arrive."""

    def __init__(self, pid: int) -> None:
        self._pid, self._start = pid, perf_counter()
        self._highest = 0.0
        self.phases: list[Phase] = []

    def read(self, line: str) -> None:
        """Takes notice of one line of the log."""
        if first := _FIRST_BLOCK.search(line):
            name = EVALUATION if self.phases else LOADING
            self._close(name, max(int(first[1]) - 1, 0))
        elif done := _STAGE_DONE.search(line):
            self._close(done[2], int(done[1]), int(done[3]))
        elif _RESULT.search(line):
            self._close(EVALUATION, self.phases[-1].block)

    def _close(self, name: str, block: int, epochs: int = 0) -> None:
        now = perf_counter()
        self.phases.append(Phase(name, block, epochs, now - self._start, self._peak()))
        self._start = now

    def _peak(self) -> float:
        """The high-water mark since the last phase; writing 5 to clear_refs sets it back (proc(5))."""
        folder = Path("/proc", str(self._pid))
        try:
            status = (folder / "status").read_text()
            (folder / "clear_refs").write_text("5")
        except OSError:
            return 0.0
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def run_stream(arguments: Sequence[str], threads: int = 2, echo: bool = False) -> StreamRun:
    """Runs the program and waits for it.

    Args:
        arguments: ``--key=value`` as on its command line; ``run_dir`` is added unless given.
        threads: threads of torch, BLAS and OpenMP.
        echo: whether to repeat its log on the console as it comes.

    Returns:
        The phases, totals and result.

    Raises:
        RunFailed: it did not end with 0.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        given = [argument for argument in arguments if argument.startswith("--run_dir=")]
        run_dir = Path(given[0].partition("=")[2]) if given else Path(folder, "run")
        command = [
            sys.executable,
            "-m",
            "recbole_ccd",
            *arguments,
            *([] if given else [f"--run_dir={run_dir}"]),
        ]
        start = perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder
        )
        watch, tail = _Watch(process.pid), []
        try:
            for line in process.stdout:
                watch.read(line.rstrip())
                tail = [*tail[-30:], line]
                if echo:
                    print(line, end="", flush=True)
        except BaseException:
            process.kill()
            raise
        # wait4 and not RUSAGE_CHILDREN, which is the maximum over all runs so far
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = perf_counter() - start
        if process.returncode:
            raise RunFailed(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(tail)}")
        peak = max([usage.ru_maxrss * 1024 / 1e6, *(phase.peak_mb for phase in watch.phases)])
        result, manifest = (json.loads((run_dir / f"{n}.json").read_text()) for n in ("result", "manifest"))
        return StreamRun(watch.phases, seconds, peak, result, manifest["saving"])


def start_up_mb() -> float:
    """Resident memory of a process that has only imported the program, in MB."""
    command = [sys.executable, "-c", "import recbole_ccd.quick_start"]
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024 / 1e6


def generate(folder: str | Path, users: int, items: int, interactions: int, seed: int = 0) -> Path:
    """Writes a synthetic stream in a process of its own, whose memory is then no part of ours.

    Args:
        folder: where ``synthetic/synthetic.inter`` goes.
        users: number of users.
        items: number of items.
        interactions: number of rows.
        seed: seed of the stream.

    Returns:
        The folder, for ``data_path``.
    """
    sizes = {"users": users, "items": items, "interactions": interactions, "seed": seed, "output": folder}
    script = Path(__file__).with_name("synthetic.py")
    arguments = [f"--{key}={value}" for key, value in sizes.items()]
    subprocess.run([sys.executable, str(script), *arguments], check=True, stdout=subprocess.DEVNULL)
    return Path(folder)
