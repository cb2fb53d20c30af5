"""Runs whose members are trained by Ray, in processes of their own; workers and runs that are killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from recbole_ccd.evaluation import FullSortEvaluator
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.model.teacher import ordering_scorer
from recbole_ccd.quick_start import run_ccd
from recbole_ccd.ranking import top_k, top_lists
from recbole_ccd.utils.errors import TrainingError
from recbole_ccd.utils.parallel.ray_workers import RayWorkers
from tests.checkpoint.cases import document_of, settings_of, weights_of
from tests.checkpoint.program import environment
from tests.model.small_models import small_model
from tests.ranking.test_lists import look_up, table_of
from tests.strategy.runs import teachers

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are found in /proc"),
]
# members are long enough to be killed in the middle
KEYS = {
    **teachers("LightGCN", "MultiVAE", "BPR"),
    "epochs": 20,
    "eval_step": 20,
    "student_generation_epochs": 1,
    "checkpoint_every": None,
    "block_ratios": [0.6, 0.4],
}
WORKING = "ray::_work"


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    """A folder with a settings file and ``whole``, the run of one process."""
    folder = tmp_path_factory.mktemp("runs")
    settings = settings_of("ccd", tiny_folder, folder / "whole")
    settings |= KEYS
    run_ccd(config_dict=settings)
    del settings["run_dir"]
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


class Run:
    """The program in a process of its own, with two workers."""

    def __init__(self, place, name, *arguments, **variables):
        self.folder, self._output = place / name, open(place / f"{name}.txt", "a+")
        given = arguments or ("--config_files=mine.yaml", f"--run_dir={name}", "--parallel=ray")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recbole_ccd", *given, "--parallel_workers=2"],
            cwd=place,
            env={**environment(), **variables},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self):
        return self._process.pid

    def log(self):
        file = self.folder / "run.log"
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def shown(self):
        self._output.seek(0)
        return self._output.read()

    def wait_for(self, what):
        """Waits until there is something that counts as true, and returns it."""
        end = time.monotonic() + 200
        while time.monotonic() < end and self._process.poll() is None:
            found = what()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(self.shown())

    def send(self, number):
        os.kill(self.pid, number)

    def end(self):
        code = self._process.wait(300)
        return code, self.shown()


def processes():
    """Parent and command of every process by id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found[int(folder.name)] = int(parent), command
    return found


def descendants(pid, command=""):
    """Processes below one that were started with some command."""
    found, below = processes(), {pid}
    while True:
        more = {child for child, (parent, _) in found.items() if parent in below} - below
        if not more:
            return [child for child in below - {pid} if command in found[child][1]]
        below |= more


def assert_same_results(place, run):
    one, other = document_of(place / "whole"), document_of(run.folder)
    assert other["config"].pop("parallel") == "ray" and other["config"].pop("parallel_workers") == 2
    del one["config"]["parallel"], one["config"]["parallel_workers"]
    assert one == other
    weights, others = weights_of(place / "whole"), weights_of(run.folder)
    assert weights.keys() == others.keys()
    assert [name for name, value in weights.items() if not value.equal(others[name])] == []


def assert_gone(pids):
    """What Ray has begun ends soon after it."""
    end = time.monotonic() + 30
    while time.monotonic() < end and set(pids) & processes().keys():
        time.sleep(0.1)
    assert not set(pids) & processes().keys()


def test_ray_and_one_process_give_the_same(place):
    run = Run(place, "parallel")
    seen = run.wait_for(lambda: descendants(run.pid, WORKING))
    below = descendants(run.pid)
    code, shown = run.end()
    assert code == 0, shown
    assert seen and "block 0 base: 3 members, 2 at a time" in shown
    assert "Traceback" not in shown and "ray" not in shown.replace("parallel", "").lower().split("result:")[1]
    assert_same_results(place, run)
    assert_gone(below)


@pytest.mark.parametrize("stage", ["block 0 base", "block 1 teacher_update"])
def test_a_killed_worker_changes_nothing(place, stage):
    run = Run(place, f"killed {stage}")
    run.wait_for(lambda: f"{stage}: 3 members" in run.log())
    worker = run.wait_for(lambda: descendants(run.pid, WORKING))[0]
    os.kill(worker, signal.SIGKILL)
    # it was in the middle
    assert len(re.findall(f"{stage} member . .*epochs", run.log())) < 2
    code, shown = run.end()
    assert code == 0, shown
    assert_same_results(place, run)


def test_ctrl_c_ends_workers_and_the_run_can_be_gone_on_with(place):
    run = Run(place, "interrupted")
    run.wait_for(lambda: "block 1 teacher_update member" in run.log())
    below = descendants(run.pid)
    run.send(signal.SIGINT)
    code, shown = run.end()
    assert code == 130 and "Traceback" not in shown, shown
    assert "interrupted; go on with: python -m recbole_ccd --resume=interrupted\n" in shown
    assert_gone(below)
    again = Run(place, "interrupted", "--resume=interrupted")
    code, shown = again.end()
    assert code == 0, shown
    assert "finished before" in again.log()
    assert_same_results(place, again)


def test_sigterm_is_ours_too(place):
    run = Run(place, "terminated")
    run.wait_for(lambda: "block 0 base: 3 members" in run.log() and descendants(run.pid, WORKING))
    run.send(signal.SIGTERM)
    code, shown = run.end()
    assert code == 143 and "go on with" in shown, shown


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster that knows nothing of the package."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = "--head --block --num-cpus=2 --include-dashboard=false --disable-usage-stats"
    process = subprocess.Popen(
        [Path(sys.executable).parent / "ray", "start", *command.split(), f"--port={port}"],
        cwd=tmp_path_factory.mktemp("cluster"),
        env={**variables, "RAY_ADDRESS": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 100
    while time.monotonic() < end and len(descendants(process.pid, "raylet")) < 1:
        time.sleep(0.1)
    time.sleep(5)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(60)


def test_an_existing_cluster_is_used_and_left_running(place, cluster):
    for name in ("there", "there again"):
        run = Run(place, name, RAY_ADDRESS=cluster)
        run.wait_for(lambda run=run: "3 members, 2 at a time" in run.log())
        # no workers of its own
        assert descendants(run.pid, "raylet") == []
        code, shown = run.end()
        assert code == 0, shown
        assert_same_results(place, run)


def test_users_are_ranked_by_several(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    score, users = partial(look_up, table_of(3)), torch.arange(900)
    one = top_lists(score, users, 37, 5, 8, batch_size=20)
    with RayWorkers(2) as workers:
        other = top_lists(score, users, 37, 5, 8, batch_size=20, workers=workers, worth=1)
        alone = top_k(score, users, 5, batch_size=20, workers=workers, worth=1)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert torch.equal(top_k(score, users, 5, batch_size=20), alone)


def test_so_are_those_of_an_evaluation(tiny_stream, make_config, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    now, workers = tiny_stream[2], RayWorkers(2)
    evaluator = FullSortEvaluator(make_config(metric_decimal_place=15), ordering_scorer)
    config, model = make_config(eval_batch_size=500), small_model(make_config, "LightGCN", now)[1]
    parts = {f"block {block.index}": block.measured_loader(config, known_at=now) for block in tiny_stream}
    one, other = (
        evaluator.evaluate_parts(model, parts, "block 2", workers=who, worth=1) for who in (None, workers)
    )
    assert one == other
    with torch.no_grad():
        model.user_embedding.weight[60:] = torch.nan
    clear_cache(model)
    with pytest.raises(TrainingError, match="^block 2: the model's scores contain NaN"):
        evaluator.evaluate_parts(model, parts, "block 2", workers=workers, worth=1)
