"""docs/tutorial.md, followed word for word in an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_ccd.config import CCDConfig
from tests.documents import REPOSITORY, blocks

PAGE = "docs/tutorial.md"


def followed():
    """The blocks of the page in order, each with the output that the page shows below it, if any."""
    parts = blocks(PAGE, "bash", "python", "text")
    return [
        (language, text, parts[n + 1][1] if parts[n + 1 : n + 2] and parts[n + 1][0] == "text" else None)
        for n, (language, text) in enumerate(parts)
        if language != "text"
    ]


def shape(text):
    """Words and layout of an output without its numbers, which depend on the machine in their last digits."""
    return re.sub(r"-{2,}|[-+]?[\d.,]+%?|\*+|\s+", " ", text).split()


def ends(line, shown):
    """Whether a line ends with what is shown of it: the log puts the time before its lines."""
    words = shape(shown)
    return shape(line)[-len(words) :] == words if words else not shape(line)


def settings():
    """What the page writes into quick.yaml."""
    (text,) = re.findall(r"cat > quick.yaml <<'END'\n(.*?)^END$", blocks_of_bash(), re.DOTALL | re.MULTILINE)
    return yaml.safe_load(text)


def blocks_of_bash():
    return "\n".join(text for _, text in blocks(PAGE, "bash"))


def test_its_settings_are_settings(tmp_path):
    file = tmp_path / "quick.yaml"
    file.write_text(yaml.safe_dump(settings()), encoding="utf-8")
    config = CCDConfig("LightGCN", "movies", [str(file)], {"data_path": "data"})
    assert len(config["block_ratios"]) == 3 and len(config["topk"]) == 1


def test_every_block_of_it_is_run_and_most_show_what_they_print():
    assert {language for language, _ in blocks(PAGE, "bash", "python", "text", "yaml", "")} == {
        *("bash", "python", "text")
    }
    assert sum(shown is not None for _, _, shown in followed()) >= 8


def follow(folder):
    """Runs the blocks in a folder, one after the other: what each is, what is shown of it, what it prints."""
    shutil.copy(REPOSITORY / "run_ccd.py", folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": path, "OMP_NUM_THREADS": "1"}
    for language, text, shown in followed():
        command = ["bash", "-e", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, (text, done.stderr)
        yield text, shown, done.stdout + done.stderr


@pytest.mark.slow
def test_the_tutorial_works_and_prints_what_it_shows(tmp_path):
    for _, shown, printed in follow(tmp_path):
        for line in (shown or "").splitlines():
            # the page leaves out what it says nothing about
            assert line == "…" or any(ends(other, line) for other in printed.splitlines()), (line, printed)
    one, other = (
        json.loads((tmp_path / "runs" / name / "result.json").read_text(encoding="utf-8"))["metrics"]
        for name in ("compared/ccd-2020", "ccd")
    )
    for metric, roles in one.items():
        for role, values in roles.items():  # the update has added a row
            assert other[metric][role]["R"][:3] == values["R"]
