"""Signals and kills, for real."""

import json
import random
import signal
import time

import pytest
import yaml

from recbole_ccd.quick_start import run_ccd
from tests.resume.cases import assert_same_run, document_of, settings_of
from tests.resume.program import begin, execute, kill, wait_for

KEYS = {"epochs": 6, "checkpoint_every": 2, "seed": 7}


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    """A folder with a settings file, and in it the uninterrupted run ``whole``."""
    folder = tmp_path_factory.mktemp("program")
    settings = {**settings_of("ccd-bpr", tiny_folder, "x"), **KEYS}
    del settings["run_dir"]
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_ccd(config_dict={**settings, "run_dir": "whole"})
    return folder


def start_or_resume(name, folder):
    begun = (folder / name / "config.yaml").is_file()
    return [f"--resume={name}"] if begun else ["--config_files=mine.yaml", f"--run_dir={name}"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="SIGINT"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(place, number, code):
    name = f"run {code}"
    process = begin(place, "--config_files=mine.yaml", f"--run_dir={name}")
    wait_for(place / name / "run.log", "epoch 1 training", process)
    start = time.monotonic()
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == code, shown
    assert time.monotonic() - start < 20 and "Traceback" not in shown
    assert f"interrupted; go on with: python -m recbole_ccd --resume='{name}'\n" in shown
    manifest = json.loads((place / name / "manifest.json").read_text())
    assert manifest["status"] == "interrupted" and (manifest["epochs"] or manifest["stages"])
    assert not (place / name / "lock").exists()
    code, shown = execute(place, f"--resume={name}")
    assert code == 0, shown
    assert "going on after" in shown or "finished before" in shown
    assert_same_run(place / "whole", place / name)


@pytest.mark.slow
def test_a_second_signal_stops_at_once(place):
    long = ["--epochs=5000", "--stopping_step=9999"]
    process = begin(place, "--config_files=mine.yaml", "--run_dir=twice", *long)
    wait_for(place / "twice" / "run.log", "epoch 1 training", process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in shown
    assert shown.endswith("--resume=twice\n")


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_one_goes_on(place):
    long = ["--epochs=5000", "--stopping_step=9999"]
    process = begin(place, "--config_files=mine.yaml", "--run_dir=taken", *long)
    wait_for(place / "taken" / "run.log", "epoch 1 training", process)
    code, shown = execute(place, "--resume=taken")
    assert code == 2 and shown.count("\n") == 1
    assert shown.startswith(f"error: taken is in use by process {process.pid} on ")
    code, shown = execute(place, "--config_files=mine.yaml", "--run_dir=taken")
    assert code == 2 and "--resume=taken" in shown and shown.count("\n") == 1
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_no_obstacle(place):
    process = begin(place, "--config_files=mine.yaml", "--run_dir=stale")
    wait_for(place / "stale" / "run.log", "epoch 3 training", process)
    kill(process)
    assert (place / "stale" / "lock").is_file()
    assert json.loads((place / "stale" / "manifest.json").read_text())["status"] == "running"
    code, shown = execute(place, "--resume=stale")
    assert code == 0, shown
    assert_same_run(place / "whole", place / "stale")
    # the log goes on where it was
    log = (place / "stale" / "run.log").read_text(encoding="utf-8")
    assert log.count("The stream") == 2 and "After the last block" in log


def test_a_finished_run_says_so_and_shows_its_tables(place):
    before = {path: path.stat().st_mtime_ns for path in (place / "whole").rglob("*")}
    code, shown = execute(place, "--resume=whole", "--show_progress=True")
    assert code == 0 and "whole: the run is finished" in shown and "After the last block" in shown
    assert {path: path.stat().st_mtime_ns for path in (place / "whole").rglob("*")} == before


def chaos(place, kills, name):
    """Kills a run at random moments and goes on with it after each; returns how often it was hit."""
    start = time.monotonic()
    code, shown = execute(place, "--config_files=mine.yaml", f"--run_dir={name}-clock")
    assert code == 0, shown
    duration, rng, hits = time.monotonic() - start, random.Random(kills), 0
    for _ in range(kills):
        process = begin(place, *start_or_resume(name, place))
        # imports take their time in each process, and what is done shortens the rest
        time.sleep(rng.uniform(0.0, duration))
        hits += process.poll() is None
        kill(process)
        assert process.returncode in (0, -signal.SIGKILL)
    code, shown = execute(place, *start_or_resume(name, place))
    assert code == 0, shown
    assert document_of(place / name)["metrics"] == document_of(place / "whole")["metrics"]
    assert_same_run(place / "whole", place / name)
    return hits


@pytest.mark.slow
def test_three_kills(place):
    assert chaos(place, 3, "chaos-3")


@pytest.mark.slow
def test_twenty_kills(place):
    assert chaos(place, 20, "chaos-20") >= 5
