"""Signals and kills, for real."""

import json
import os
import random
import signal
import time

import pytest

from recbole_ccd.cli import main
from tests.checkpoint.cases import assert_same_run, document_of
from tests.checkpoint.program import Program, execute, execute_apart, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no such signals")
BEGIN = "--config_files=mine.yaml"
LONG = ["--epochs=5000", "--stopping_step=9999"]


def start_or_resume(name, folder):
    load_manifest = (folder / name / "config.yaml").is_file()
    return [f"--resume={name}"] if load_manifest else [BEGIN, f"--run_dir={name}"]


# that the other one ends a run likewise is seen below
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_go_on(place, number, code):
    name = f"run {code}"
    process = Program(place, BEGIN, f"--run_dir={name}")
    wait_for(place / name / "run.log", "epoch 1 training", process)
    start = time.monotonic()
    process.send(number)
    ended, shown = process.end(60)
    assert ended == code, shown
    assert time.monotonic() - start < 20 and "Traceback" not in shown
    assert f"interrupted; go on with: python -m recbole_ccd --resume='{name}'\n" in shown
    manifest = json.loads((place / name / "manifest.json").read_text())
    assert manifest["status"] == "interrupted" and (manifest["epochs"] or manifest["stages"])
    assert not (place / name / "lock").exists()
    ended, shown = execute(place, f"--resume={name}")
    assert ended == 0, shown
    assert "going on after" in shown or "finished before" in shown
    assert_same_run(place / "whole", place / name)


@pytest.mark.slow
def test_a_second_signal_stops_at_once(place):
    process = Program(place, BEGIN, "--run_dir=twice", *LONG)
    wait_for(place / "twice" / "run.log", "epoch 1 training", process)
    process.send(signal.SIGINT)
    process.send(signal.SIGINT)
    code, shown = process.end(60)
    assert code == 130 and "Traceback" not in shown
    assert shown.endswith("--resume=twice\n")


def test_a_second_process_is_refused_and_the_first_one_goes_on(place):
    process = Program(place, BEGIN, "--run_dir=taken", *LONG)
    wait_for(place / "taken" / "run.log", "epoch 1 training", process)
    code, shown = execute(place, "--resume=taken")
    assert code == 2 and shown.count("\n") == 1
    assert shown.startswith(f"error: taken is in use by process {process.pid} on ")
    code, shown = execute(place, BEGIN, "--run_dir=taken")
    assert code == 2 and "--resume=taken" in shown and shown.count("\n") == 1
    assert process.running()
    process.send(signal.SIGTERM)
    assert process.end(60)[0] == 143


def test_the_lock_of_a_killed_process_is_no_obstacle(place):
    process = Program(place, BEGIN, "--run_dir=stale")
    wait_for(place / "stale" / "run.log", "epoch 1 training", process)
    process.kill()
    assert (place / "stale" / "lock").is_file()
    assert json.loads((place / "stale" / "manifest.json").read_text())["status"] == "running"
    code, shown = execute(place, "--resume=stale")
    assert code == 0, shown
    assert_same_run(place / "whole", place / "stale")
    # the log goes on where it was
    log = (place / "stale" / "run.log").read_text(encoding="utf-8")
    assert log.count("The stream") == 2 and "After the last block" in log


def test_a_finished_run_says_so_and_shows_its_tables(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in (place / "whole").rglob("*")}
    assert main(["--resume=whole", "--show_progress=True"]) == 0
    shown = capsys.readouterr().err
    assert "whole: the run is finished" in shown and "After the last block" in shown
    assert {path: path.stat().st_mtime_ns for path in (place / "whole").rglob("*")} == before


def finish(place, name):
    """Goes on with a run to its end, which must be that of the run that was left alone."""
    code, shown = execute(place, *start_or_resume(name, place))
    assert code == 0, shown
    assert document_of(place / name)["metrics"] == document_of(place / "whole")["metrics"]
    assert_same_run(place / "whole", place / name)


def chaos(place, kills):
    """Kills a run at random moments and goes on with it after each; one that ends is followed by another."""
    start = time.monotonic()
    finish(place, f"{kills}-clock")
    duration, rng, names = time.monotonic() - start, random.Random(kills), [f"{kills}-0"]
    while kills:
        process = Program(place, *start_or_resume(names[-1], place))
        time.sleep(rng.uniform(0.0, duration / 2))
        if process.kill():
            kills -= 1
        else:
            names.append(f"{names[0]}-{len(names)}")
    for name in names:
        finish(place, name)


@pytest.mark.slow
def test_three_kills(place):
    chaos(place, 3)


@pytest.mark.slow
def test_twenty_kills(place):
    chaos(place, 20)


@pytest.mark.slow
def test_a_process_of_its_own_goes_on_too(place):
    process = Program(place, BEGIN, "--run_dir=other")
    wait_for(place / "other" / "run.log", "epoch 1 training", process)
    process.kill()
    code, shown = execute_apart(place, "--resume=other")
    assert code == 0, shown
    assert_same_run(place / "whole", place / "other")
