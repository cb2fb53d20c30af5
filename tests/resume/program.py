"""The program in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "recbole_ccd"]


def environment():
    """What the program is started with; warnings are those a user sees."""
    kept = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    kept.pop("PYTHONWARNINGS", None)
    return kept


def begin(folder, *arguments, **more):
    """Starts the program in a folder."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )


def execute(folder, *arguments, **more):
    """Runs the program to its end; returns its exit code and all it printed."""
    process = begin(folder, *arguments, **more)
    shown, _ = process.communicate(timeout=300)
    return process.returncode, shown


def wait_for(path, pattern, process, seconds=120):
    """Waits until a log holds a line of some kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if path.is_file() and re.search(pattern, path.read_text(encoding="utf-8")):
            return
        time.sleep(0.01)
    raise AssertionError(f"{pattern} did not come: {process.communicate()[0] if process.poll() else ''}")


def kill(process):
    """SIGKILL, and waits for the end."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
