"""What no search is begun with: the rows of docs/errors.md, as a user meets them."""

import re
from pathlib import Path

import pytest
import yaml

from recbole_ccd.cli import main
from recbole_ccd.trainer import StageTrainer
from tests.conftest import SMALL, SMALL_CCD
from tests.experiment.search.refused import REFUSED

DOCUMENT = Path(__file__).parents[3] / "docs" / "errors.md"
QUICK = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {}, "block_ratios": [0.6, 0.4]}


def rows():
    """What is wrong, message and remedy of each row."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## A search\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_case_has_its_row():
    assert [what for what, *_ in rows()] == list(REFUSED)


@pytest.mark.parametrize(("what", "message", "remedy"), rows())
def test_one_line_and_nothing_left(what, message, remedy, tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(QUICK))
    wrong = REFUSED[what]()
    before = sorted(tmp_path.rglob("*"))
    right = {
        **{"--config_files": "small.yaml", "--data_path": tiny_folder, "--dataset": "tiny"},
        **{"--model": "BPR", "--run_dir": "run"},
    }
    given = {argument.partition("=")[0] for argument in wrong}
    arguments = [f"{key}={value}" for key, value in right.items() if key not in given]
    assert main([*arguments, *wrong]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and re.fullmatch(re.escape(f"error: {message}; {remedy}\n"), shown.err)
    assert sorted(tmp_path.rglob("*")) == before
