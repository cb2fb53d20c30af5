"""A run that is killed at random moments, again and again, against the same run left alone.

``python benchmarks/chaos.py`` runs ml-100k, then once more with 20 SIGKILLs at random moments, going on with
``--resume`` after each, and compares the metrics, which must be equal to the last digit. What comes after
``--`` goes to the program as it is: ``python benchmarks/chaos.py --kills=5 -- --epochs=3``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def begin(folder: Path, name: str, arguments: Sequence[str], threads: int) -> subprocess.Popen:
    """Starts a run of some name, or goes on with it where there is one."""
    there = (folder / name / "config.yaml").is_file()
    given = [f"--resume={name}"] if there else [*arguments, f"--run_dir={name}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "recbole_ccd", *given]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, env=environment, **quiet)


def metrics_of(run: Path) -> Any:
    """What a finished run has measured."""
    return json.loads((run / "result.json").read_text(encoding="utf-8"))["metrics"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs both and says whether they are equal; exit code 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("program", nargs="*", help="after --: arguments of the program")
    given = parser.parse_args(argv)
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), perf_counter()
        if begin(folder, "whole", given.program, given.threads).wait():
            print("the program cannot run these arguments")
            return 1
        seconds, start = perf_counter() - start, perf_counter()
        begin(folder, "whole", given.program, given.threads).wait()
        # each process imports all it needs before it goes on
        starting = perf_counter() - start
        print(f"left alone: {seconds:.1f} s, {starting:.1f} s of it to start", flush=True)
        for kill in range(given.kills):
            process = begin(folder, "killed", given.program, given.threads)
            moment = rng.uniform(0.0, starting + 2 * (seconds - starting) / given.kills)
            sleep(moment)
            process.kill()
            print(f"kill {kill + 1} after {moment:.1f} s, exit code {process.wait()}", flush=True)
        code = begin(folder, "killed", given.program, given.threads).wait()
        same = code == 0 and metrics_of(folder / "whole") == metrics_of(folder / "killed")
        manifest = json.loads((folder / "killed" / "manifest.json").read_text(encoding="utf-8"))
        saving = manifest["saving"]
        print(f"exit code {code}; {saving['saves']} saves took {saving['seconds']:.1f} s")
        print(f"metrics {'identical' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
