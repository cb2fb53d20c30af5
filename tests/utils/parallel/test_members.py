"""Members of a teacher that are trained elsewhere: the same bits, kept as they arrive."""

import pickle

import pytest
import torch

from recbole_ccd.checkpoint import RunDirectory
from recbole_ccd.experiment.run import execute, strategy_in
from recbole_ccd.quick_start import create_stream, resume
from recbole_ccd.strategy.stage import StageName, StageResult, StageTask
from recbole_ccd.trainer import LossError
from recbole_ccd.utils.signals import Interrupted, InterruptHandler
from tests.checkpoint.cases import assert_same_run
from tests.conftest import few
from tests.strategy.runs import teachers
from tests.utils.parallel.elsewhere import Elsewhere

THREE = {**teachers("LightGCN", "MultiVAE", "BPR"), "block_ratios": [0.6, 0.4]}
CASES = {
    "distill_each_block": {**teachers("LightGCN", "BPR"), "strategy": "distill_each_block"},
    "distill": {**THREE, "strategy": "distill"},
    "fine_tune": {**THREE, "strategy": "fine_tune"},
    "more members": teachers("RecVAE", "NGCF", "SGL", "NeuMF", "DMF", "ENMF"),
    "predictions": {**THREE, "growth": "predictions", "n_layers": 2, "update_distill_teacher": "previous"},
    "reminded": {**THREE, "teacher_update_distill": 0.5, "distill_item_weight": 0.01},
}


def run_of(config, run_dir, workers=None, stop=None):
    """A strategy that has run in a directory."""
    strategy = strategy_in(RunDirectory.create(run_dir).path, config)
    strategy.run_state.workers = workers or strategy.run_state.workers
    execute(strategy, create_stream(config), stop)
    return strategy


@pytest.fixture(scope="module")
def sequential(make_config, tmp_path_factory):
    """A run of CCD with three members, in this process."""
    folder = tmp_path_factory.mktemp("sequential") / "run"
    run_of(make_config(**THREE), folder)
    return folder


@pytest.mark.slow
def test_members_trained_elsewhere_are_the_same(sequential, make_config, tmp_path):
    workers = Elsewhere()
    run_of(make_config(**THREE), tmp_path / "run", workers)
    # in both blocks, the last one first
    assert workers.done == [2, 1, 0] * 2
    assert_same_run(sequential, tmp_path / "run")
    assert not list((tmp_path / "run" / "tensorboard").glob("*member*"))


@pytest.mark.parametrize("case", few(CASES))
def test_so_they_are_under_other_strategies_and_settings(case, make_config, tmp_path):
    run_of(make_config(**CASES[case]), tmp_path / "one")
    run_of(make_config(**CASES[case]), tmp_path / "other", Elsewhere())
    assert_same_run(tmp_path / "one", tmp_path / "other")


class Soon(InterruptHandler):
    """Wants the run to end when so many tasks have been begun."""

    def __init__(self, workers, tasks):
        super().__init__()
        self._workers, self._tasks = workers, tasks

    def now(self):
        if len(self._workers.done) >= self._tasks:
            raise Interrupted(2)


@pytest.mark.slow
def test_what_has_arrived_is_not_trained_again(sequential, make_config, tmp_path):
    workers, folder = Elsewhere(), tmp_path / "run"
    with pytest.raises(Interrupted):
        # two of block 1's three
        run_of(make_config(**THREE), folder, workers, Soon(workers, 5))
    assert workers.done == [2, 1, 0, 2, 1]
    # by this process alone
    resume(folder)
    log = (folder / "run.log").read_text(encoding="utf-8")
    for member, name in ((1, "MultiVAE"), (2, "BPR")):
        assert f"block 1 teacher_update member {member} ({name}): finished before" in log
    assert "block 1 teacher_update member 0 (LightGCN): finished before" not in log
    assert_same_run(sequential, folder)


def test_a_loss_that_is_no_number_is_told_as_ever(make_config, tmp_path):
    config = make_config(**THREE, teacher_update_learning_rate=1e30)
    strategy = strategy_in(RunDirectory.create(tmp_path / "run").path, config)
    strategy.run_state.workers = Elsewhere()
    with pytest.raises(LossError) as told:
        execute(strategy, create_stream(config))
    assert strategy.run_state.doing == "block 1 teacher_update member 2 (BPR)"
    start, end = str(told.value).split("; ")
    assert start.startswith(f"{strategy.run_state.doing}: the training loss became ")
    assert end.startswith("lower teacher_update_learning_rate and start anew (last good checkpoint: ")


def test_no_other_process_writes_into_the_run_directory(make_config):
    config = make_config(run_dir="here")
    task = StageTask(StageName("base", 0, "BPR", 0), config, checkpoints=object(), stop=object())
    sent = pickle.loads(pickle.dumps(task))
    assert (sent.name, sent.checkpoints, sent.stop) == (task.name, None, None)
    assert sent.config["run_dir"] is None and config["run_dir"] == "here"


def test_numbers_and_weights_come_back():
    result = StageResult({"epochs": 2}, {"weight": torch.ones(3)}, torch.nn.Linear(2, 2))
    came = pickle.loads(pickle.dumps(result))
    assert came.model is None and came.record == {"epochs": 2} and came.state["weight"].equal(torch.ones(3))
