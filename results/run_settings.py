"""Makes the runs of a table whose rows differ in settings.

``python results/run_settings.py FILE FOLDER [ARGUMENT...]``, where ``FILE`` is a YAML file of
``label: {key: value}`` such as ``settings/related.yaml``. Each label is run with each seed in
``FOLDER/LABEL-SEED``, from where ``make_tables.py NAME FOLDER`` takes it. ``--seed=A,B`` are the seeds
(2020), ``--only=A;B`` the labels, and everything else is passed on: ``--eval_part=valid``. Finished runs are
left as they are, so that the same command goes on with what was interrupted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from make_tables import is_finished

DEFAULTS = {"strategy": "ccd"}


def arguments(keys: Mapping[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in keys.items()}
    return [f"--{key}={text}" for key, text in texts.items()]


def commands(file: Path, folder: Path, given: Sequence[str]) -> Iterator[tuple[Path, list[str]]]:
    """The run directories and the commands that fill them, seed by seed.

    Args:
        file: the settings by label.
        folder: where the run directories are.
        given: the arguments after these two.
    """
    own = dict(text[2:].split("=", 1) for text in given if text.startswith(("--seed=", "--only=")))
    passed_on = [text for text in given if not text.startswith(("--seed=", "--only="))]
    rows = yaml.safe_load(file.read_text(encoding="utf-8"))
    labels = own["only"].split(";") if "only" in own else list(rows)
    for seed, label in product(own.get("seed", "2020").split(","), labels):
        directory = folder / f"{label}-{seed}"
        keys = {**DEFAULTS, **rows[label], "seed": int(seed), "run_dir": str(directory)}
        yield directory, [sys.executable, "-m", "recbole_ccd", *arguments(keys), *passed_on]


def main() -> None:
    """Makes what is missing, and goes on with what was interrupted."""
    file, folder, *given = sys.argv[1:]
    for directory, command in commands(Path(file), Path(folder), given):
        result = directory / "result.json"
        if result.exists() and is_finished(json.loads(result.read_text(encoding="utf-8"))):
            continue
        print(directory, flush=True)
        if directory.exists():
            command = [*command[:3], f"--resume={directory}"]
        directory.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{directory}.log", "a", encoding="utf-8") as log:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)


if __name__ == "__main__":
    main()
