"""``log_wandb``: one run there for each run here, one running step, and what the stream is measured by."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_ccd.utils.wandb_log import StageCurves
from tests.config.refused import refused
from tests.conftest import SMALL, SMALL_CCD

REPOSITORY = Path(__file__).parents[2]

# the part of the package's interface that is used, as its documentation has it: each call of log without a
# step is one
FAKE = """
import json, os, sys

run = None


def _write(**entry):
    with open(os.environ["FAKE_WANDB"], "a") as file:
        file.write(json.dumps(entry) + "\\n")


class Run:
    def __init__(self, first):
        self.step = first

    def log(self, data, step=None, commit=True):
        assert step is None and commit is True
        assert all(isinstance(value, (int, float)) for value in data.values()), data
        _write(step=self.step, data=data)
        self.step += 1


def init(project=None, config=None, dir=None, name=None, id=None, resume=None):
    global run
    if os.environ.get("FAKE_WANDB_ERROR"):
        raise RuntimeError("api_key not configured (no-tty)")
    assert run is None and os.path.isdir(dir) and resume == "allow"
    path = os.environ["FAKE_WANDB"]
    done = [json.loads(line) for line in open(path)] if os.path.exists(path) else []
    before = any(entry.get("init", {}).get("id") == id for entry in done)
    _write(init={"project": project, "config": json.loads(json.dumps(config)), "name": name, "id": id})
    run = Run(max(entry.get("step", -1) for entry in done) + 1 if before else 0)
    return run


def log(*args, **kwargs):
    raise AssertionError("the run is asked")


def define_metric(*args, **kwargs):
    raise AssertionError("steps of a metric's own")


def finish(exit_code=None):
    global run
    _write(finish=exit_code)
    run = None
"""


@pytest.fixture
def program(tmp_path, tiny_folder):
    """Calls the program where wandb can be imported, and returns how it ended and what wandb was given."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(FAKE, encoding="utf-8")
    keys = {**SMALL, **SMALL_CCD, "epochs": 2, "data_path": str(tiny_folder), "dataset": "tiny"}
    keys |= {
        "teacher_models": ["BPR", "LightGCN"],
        "block_ratios": [0.6, 0.4],
        "log_wandb": True,
        "teacher_args": {},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")

    def call(*arguments, **environment):
        paths = os.pathsep.join([str(REPOSITORY), str(tmp_path / "fake")])
        logged = tmp_path / "logged.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "recbole_ccd", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": paths,
                "OMP_NUM_THREADS": "1",
                "FAKE_WANDB": str(logged),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        entries = logged.read_text(encoding="utf-8").splitlines() if logged.exists() else []
        return done, list(map(json.loads, entries))

    return call


@pytest.mark.slow
def test_the_stream_is_logged_with_one_running_step(program, tmp_path):
    done, entries = program(
        "--config_files=a.yaml", "--model=LightGCN", "--run_dir=run", "--wandb_project=mine"
    )
    assert done.returncode == 0, done.stderr
    (begun, *logged, ended) = entries
    assert begun["init"]["project"] == "mine" and begun["init"]["name"] == "run"
    assert begun["init"]["config"]["dataset"] == "tiny" and ended == {"finish": None}
    assert [entry["step"] for entry in logged] == list(range(len(logged)))
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    blocks = [entry["data"] for entry in logged if "student/recall@5/LA" in entry["data"]]
    assert [data["block"] for data in blocks] == [0, 1]
    for role in ("student", "teacher"):
        for metric, of_roles in result["metrics"].items():
            for k, data in enumerate(blocks):
                found = of_roles[role]
                start = f"{role}/{metric}"
                assert [data[f"{start}/R/{j}"] for j in range(k + 1)] == found["R"][k]
                for name in ("LA", "RA", "H"):
                    assert data.get(f"{start}/{name}") == found[name][k]
    # every epoch of every stage, one after the other
    losses = [
        entry["data"] for entry in logged if any(key.endswith("/train/train_loss") for key in entry["data"])
    ]
    assert len(losses) == sum(stage["epochs"] for stage in result["stages"])
    names = {key.partition("/")[0] for data in losses for key in data if key != "block"}
    assert {"base_member_0_BPR", "base_member_1_LightGCN", "student_generation", "student_update"} <= names
    valid = [key for entry in logged for key in entry["data"] if key.endswith("/valid/recall@5")]
    assert valid
    assert not any("_step" in key for entry in logged for key in entry["data"])


@pytest.mark.slow
def test_a_run_that_is_gone_on_with_goes_on_there(program, tmp_path):
    argv = ["--config_files=a.yaml", "--model=BPR", "--strategy=fine_tune", "--base=plain", "--run_dir=run"]
    assert program(*argv)[0].returncode == 0
    # as if it had been interrupted before its last block
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    manifest["status"] = "interrupted"
    manifest["blocks"] = manifest["blocks"][:1]
    manifest["learned"] = 0
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    done, entries = program("--resume=run")
    assert done.returncode == 0, done.stderr
    first, again = [entry["init"] for entry in entries if "init" in entry]
    assert first["id"] == again["id"] == (tmp_path / "run" / "wandb-id.txt").read_text().strip()
    steps = [entry["step"] for entry in entries if "step" in entry]
    assert steps == list(range(len(steps)))


@pytest.mark.slow
def test_runs_that_are_compared_have_one_each(program):
    argv = [
        "--config_files=a.yaml",
        "--model=BPR",
        "--strategy=static,fine_tune",
        "--base=plain",
        "--run_dir=top",
    ]
    done, entries = program(*argv)
    assert done.returncode == 0, done.stderr
    begun = [entry["init"] for entry in entries if "init" in entry]
    assert [entry["name"] for entry in begun] == ["static-2020", "fine_tune-2020"]
    assert len({entry["id"] for entry in begun}) == 2
    assert sum("finish" in entry for entry in entries) == 2


@pytest.mark.slow
def test_what_cannot_be_begun_ends_in_one_line(program, tmp_path):
    argv = ["--config_files=a.yaml", "--model=BPR", "--strategy=static", "--base=plain", "--run_dir=run"]
    done, entries = program(*argv, FAKE_WANDB_ERROR="1")
    assert done.returncode == 2 and entries == []
    assert done.stderr.splitlines()[-1].startswith(
        "error: log_wandb: Weights & Biases cannot begin a run (RuntimeError: api_key not configured "
        "(no-tty)); run 'wandb login', set WANDB_MODE=offline, or set log_wandb to False"
    )
    # nothing that would keep the next run out
    assert not any(path.is_file() for path in (tmp_path / "run").rglob("*") if not path.name.startswith("."))


def test_without_the_package_it_is_refused():
    refused("log_wandb is True", "give False, or install wandb", config_dict={"log_wandb": True})


def test_a_stage_without_log_wandb_logs_nothing():
    StageCurves({"log_wandb": False}, "block 1 base", 1).log_metrics({"train_loss": 1.0})
