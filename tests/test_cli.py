"""``run_ccd.py`` as a user meets it: exit codes, one line of error, nothing left lying about."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_ccd import __version__
from recbole_ccd.cli import main
from tests.conftest import SMALL, SMALL_CCD

REPOSITORY = Path(__file__).parents[1]
SCRIPT = [sys.executable, str(REPOSITORY / "run_ccd.py")]
MODULE = [sys.executable, "-m", "recbole_ccd"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A YAML file that makes runs quick."""
    file = tmp_path_factory.mktemp("settings") / "small.yaml"
    quick = {"teacher_models": ["BPR", "MultiVAE"], "block_ratios": [0.6, 0.4]}
    file.write_text(yaml.safe_dump({**SMALL, **SMALL_CCD, **quick}), encoding="utf-8")
    return file


@pytest.fixture
def arguments(settings, tiny_folder):
    return [f"--config_files={settings}", f"--data_path={tiny_folder}", "--dataset=tiny", "--model=BPR"]


def execute(command, folder):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    # what pytest's own process was told about warnings is not what a user has
    environment.pop("PYTHONWARNINGS", None)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_ends_with_zero_and_leaves_only_its_directory(arguments, tmp_path):
    done = execute([*MODULE, *arguments, "--run_dir=out/run"], tmp_path)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    places = [
        shown.index(text)
        for text in ("The stream", "recall@5 after block 0", "recall@5 after block 1", "After the last block")
    ]
    assert places == sorted(places)
    assert "Warning" not in shown and "Traceback" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run"]
    result = json.loads((tmp_path / "out" / "run" / "result.json").read_text(encoding="utf-8"))
    assert (result["dataset"], result["model"], result["n_blocks"]) == ("tiny", "BPR", 2)
    log = (tmp_path / "out" / "run" / "run.log").read_text(encoding="utf-8")
    assert "After the last block" in log and "\x1b" not in log


def test_the_home_folder_is_meant_by_its_sign(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main([*arguments[1:], "--config_files=~/mine.yaml"]) == 2
    assert f"config file {tmp_path}/home/mine.yaml: No such file" in capsys.readouterr().err
    assert main(["--update=~/run", "--new_block=a~/b"]) == 2
    assert f"{tmp_path}/home/run is not a run directory" in capsys.readouterr().err
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    ("command", "program"),
    [(SCRIPT, f"python {SCRIPT[1]}"), (MODULE, "python -m recbole_ccd")],
    ids=["script", "module"],
)
def test_help_answers_without_loading_anything(command, program, tmp_path):
    done = execute([*command, "--help"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {program} [--key=value ...]\n")
    named = execute([*command, "--version"], tmp_path)
    assert (named.returncode, named.stdout) == (0, f"recbole_ccd {__version__}\n")
    loaded = execute([sys.executable, "-X", "importtime", *command[1:], "-h"], tmp_path).stderr
    assert " torch" not in loaded and " recbole." not in loaded
    assert not everything_in(tmp_path)


def test_bad_input_ends_with_two_and_one_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [SCRIPT[1], *arguments, "--run_dir=occupied"])
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "precious.txt").write_text("mine")
    before = everything_in(tmp_path)
    # tests/bad_input has all the rest, in processes of their own too
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(SCRIPT[1], run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", "error: occupied exists and is not empty; give another --run_dir\n")
    assert everything_in(tmp_path) == before


def test_an_interrupt_ends_with_130(arguments, tmp_path, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole_ccd.quick_start.create_stream", interrupt)
    assert main(arguments) == 130
    assert capsys.readouterr().err == "interrupted\n"
