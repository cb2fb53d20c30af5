"""The program in a process of its own."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import recbole_ccd.__main__ as program

REPOSITORY = Path(__file__).parents[2]


def environment():
    """What the program is started with; warnings are those a user sees."""
    kept = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    kept.pop("PYTHONWARNINGS", None)
    return kept


class Program:
    """The program, forked off this process, which has imported all it needs already.

    Args:
        folder: where it works.
        arguments: of its command line.
        prepare: called in the new process before it begins.
    """

    def __init__(self, folder, *arguments, prepare=lambda: None):
        self._output = tempfile.TemporaryFile()
        self._process = multiprocessing.get_context("fork").Process(
            target=self._run, args=(folder, arguments, prepare), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid

    def _run(self, folder, arguments, prepare):
        for descriptor in (1, 2):
            os.dup2(self._output.fileno(), descriptor)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
        sys.argv = [program.__file__, *arguments]
        # as in a new process, in which nobody has asked for anything else
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(folder)
        prepare()
        sys.exit(program.main(arguments))

    def running(self):
        return self._process.is_alive()

    def send(self, number):
        os.kill(self.pid, number)

    def end(self, seconds=300):
        """Waits for the end; returns exit code, negative after a signal, and all that was printed."""
        self._process.join(seconds)
        assert not self.running(), "it does not end"
        self._output.seek(0)
        return self._process.exitcode, self._output.read().decode()

    def kill(self):
        """SIGKILL, and waits for the end; returns whether it was still running."""
        self._process.kill()
        code, shown = self.end(60)
        assert code in (0, -signal.SIGKILL), shown
        return code != 0


def execute(folder, *arguments, prepare=lambda: None):
    """Runs the program to its end; returns its exit code and all it printed."""
    return Program(folder, *arguments, prepare=prepare).end()


def execute_apart(folder, *arguments):
    """The same in a process that imports everything itself, as a user's."""
    done = subprocess.run(
        [sys.executable, "-m", "recbole_ccd", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def wait_for(path, pattern, process, seconds=120):
    """Waits until a log holds a line of some kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.running():
        if path.is_file() and re.search(pattern, path.read_text(encoding="utf-8")):
            return
        time.sleep(0.005)
    raise AssertionError(f"{pattern} did not come: {'' if process.running() else process.end()[1]}")
