"""Arguments as RecBole's run script has them: short names, and values behind a space."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ccd.cli import main
from recbole_ccd.config import CCDConfig, expand
from recbole_ccd.utils.commands import with_values
from recbole_ccd.utils.errors import ConfigError
from tests.conftest import SMALL, SMALL_CCD

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-m BPR -d tiny", "--model=BPR --dataset=tiny"),
        ("-mBPR -dml-100k", "--model=BPR --dataset=ml-100k"),
        ("-m=BPR -d=tiny", "--model=BPR --dataset=tiny"),
        ("--model BPR --epochs 3 --seed=4", "--model=BPR --epochs=3 --seed=4"),
        ("--world_size -1 --threshold -.5 --topk [5]", "--world_size=-1 --threshold=-.5 --topk=[5]"),
        ("--report run", "--report=run"),
        ("--config_files a.yaml --model", "--config_files=a.yaml --model"),
        ("--model --epochs=3", "--model --epochs=3"),
        ("--model=BPR LightGCN", "--model=BPR LightGCN"),
        ("-model BPR", "-model BPR"),
        ("-model=BPR -data_path=x -x 3", "-model=BPR -data_path=x -x 3"),
        ("-m", "--model"),
        ("", ""),
    ],
)
def test_forms(given, expected):
    assert with_values(given.split()) == expected.split()
    assert with_values(expected.split()) == expected.split()


def test_a_value_is_one_argument():
    assert with_values(["--data_path", "a b=c", "--run_dir", ""]) == ["--data_path=a b=c", "--run_dir="]
    assert with_values(["-m", "--epochs"]) == ["--model", "--epochs"]


def test_settings_from_python_take_them_too():
    config = CCDConfig(argv=["-m", "BPR", "--learning_rate", "0.01", "--eval_args.order", "TO"])
    assert (config["model"], config["learning_rate"], config["eval_args"]["order"]) == ("BPR", 0.01, "TO")
    runs = expand(argv=["-m", "BPR", "--strategy", "static,fine_tune", "--seed", "1,2", "--base", "plain"])
    assert [run.folder for run in runs] == ["static-1", "static-2", "fine_tune-1", "fine_tune-2"]


@pytest.mark.parametrize("argv", [["-m"], ["--epochs"], ["--epochs", "--seed=3"], ["BPR"], ["-model=BPR"]])
def test_an_argument_without_value_is_refused_as_ever(argv):
    with pytest.raises(ConfigError, match="cannot be read; write it as --key=value"):
        CCDConfig(argv=argv)


@pytest.mark.slow
def test_a_run_as_recboles_script_is_called(tiny_folder, tmp_path):
    file = tmp_path / "my.yaml"
    import yaml

    keys = {**SMALL, **SMALL_CCD, "strategy": "static", "base": "plain", "block_ratios": [0.6, 0.4]}
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    recboles = [
        "--nproc",
        "1",
        "--ip",
        "localhost",
        "--port",
        "5678",
        "--world_size",
        "-1",
        "--group_offset",
        "0",
    ]
    ours = ["-m", "BPR", "-d", "tiny", "--config_files", str(file), "--data_path", str(tiny_folder)]
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "run_ccd.py"), *ours, *recboles, "--run_dir", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").is_file()


def test_commands_take_them_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--resume", "nowhere", "--epochs", "3"]) == 2
    assert "nowhere is not a run directory" in capsys.readouterr().err
    assert main(["--report", "nowhere", "--k", "3"]) == 2
    assert "--report stands by itself (command line), without '--k=3'" in capsys.readouterr().err
