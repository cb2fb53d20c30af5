"""A process follows one stream at a time, as RecBole's models draw from generators that it has once."""

import threading

import pytest

from recbole_ccd import RunError, compare, create_strategy, resume, run_ccd, tune, update
from recbole_ccd.model import growth
from recbole_ccd.strategy import stage_runner
from recbole_ccd.utils.seeding import exclusive
from tests.conftest import SMALL, SMALL_CCD

KEYS = {**SMALL, **SMALL_CCD, "model": "BPR", "dataset": "tiny", "strategy": "static", "base": "plain"}
KEYS |= {"block_ratios": [0.6, 0.4]}


@pytest.fixture
def keys(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {**KEYS, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "run")}


@pytest.fixture
def another_run():
    """A thread in which a run is under way."""
    load_manifest, over = threading.Event(), threading.Event()

    def run():
        with exclusive():
            load_manifest.set()
            over.wait()

    thread = threading.Thread(target=run)
    thread.start()
    load_manifest.wait()
    yield
    over.set()
    thread.join()


ENTRIES = {
    "run_ccd": lambda keys: run_ccd(config_dict=keys),
    "compare": lambda keys: compare(config_dict={**keys, "seed": [1, 2]}),
    "resume": lambda keys: resume(keys["run_dir"]),
    "tune": lambda keys: tune("my.hyper", config_dict=keys),
    "update": lambda keys: update(keys["run_dir"]),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_second_run_in_another_thread_is_refused(entry, keys, another_run, tmp_path):
    with pytest.raises(RunError, match="another run is under way in this process.*; wait for its end, or"):
        ENTRIES[entry](keys)
    assert not (tmp_path / "run").exists()


def test_so_is_a_strategy_that_is_run_by_itself(make_config, tiny_stream, another_run):
    strategy = create_strategy(make_config(model="BPR", strategy="static", base="plain"))
    for begin in (strategy.run, strategy.check, strategy.prepare_next):
        with pytest.raises(RunError, match="another run is under way"):
            begin(tiny_stream)


def test_a_run_has_the_result_of_its_seed_whatever_is_begun_beside_it(keys, monkeypatch):
    def result(**more):
        return run_ccd(config_dict={**keys, **more}).to_dict()["metrics"]

    expected, refused = result(run_dir="exclusive"), []

    def second():
        try:
            result(run_dir="second", seed=7)
        except RunError as error:
            refused.append(error)

    def build(*given):
        """Between the seeding of the stage and the drawing of its weights another thread has its turn."""
        thread = threading.Thread(target=second)
        if threading.current_thread() is threading.main_thread():
            thread.start()
            thread.join()
        return growth.build(*given)

    monkeypatch.setattr(stage_runner, "fitted", build)
    assert result(run_dir="first") == expected
    assert refused


def test_nothing_is_held_after_the_end_or_an_error(keys):
    with pytest.raises(RunError):
        resume("nowhere")
    done = []
    thread = threading.Thread(target=lambda: done.append(run_ccd(config_dict=keys)))
    thread.start()
    thread.join()
    assert done
    # a comparison's runs are of one thread
    compare(config_dict={**keys, "run_dir": "both", "seed": [1, 2]})
