"""Models are built to check them once per run, however a run is begun."""

import pytest

from recbole_ccd import compare, create_strategy, create_stream, run_ccd
from recbole_ccd.utils.errors import ModelError
from tests.conftest import SMALL, SMALL_CCD
from tests.strategy.runs import STRATEGIES, put_in_place_of

KEYS = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {}, "block_ratios": [0.6, 0.4]}


@pytest.fixture
def settings(tiny_folder, tmp_path, monkeypatch):
    """Settings of quick runs, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return {**KEYS, "data_path": str(tiny_folder), "strategy": "static", "base": "plain"}


@pytest.fixture
def checked(monkeypatch):
    """The seed of each stream that models are checked on, and whether a run directory is there by then."""
    seen = []

    class Counting(STRATEGIES["static"]):
        def check_models(self, stream):
            directory = self.run_state.run_directory
            seen.append((stream.config["seed"], directory is not None and directory.path.exists()))
            super().check_models(stream)

    put_in_place_of(monkeypatch, "static", Counting)
    return seen


def test_a_run_is_checked_once_and_before_it_has_a_directory(settings, checked):
    run_ccd("BPR", "tiny", config_dict=settings)
    assert checked == [(2020, False)]


def test_so_is_each_run_of_a_comparison(settings, checked, tmp_path):
    compare("BPR", "tiny", config_dict={**settings, "seed": [1, 2], "run_dir": "top"})
    assert checked == [(2, False), (1, False)]
    # what trains writes nothing elsewhere
    assert {path.name for path in tmp_path.iterdir()} == {"top"}


def test_python_users_are_checked_whether_they_ask_or_not(make_config, checked):
    config = make_config("BPR", strategy="static", base="plain", block_ratios=[0.6, 0.4])
    stream = create_stream(config)
    for asks in (False, True):
        strategy = create_strategy(config)
        for _ in range(2 * asks):
            strategy.check(stream)
        strategy.run(stream)
    assert checked == [(2020, False)] * 2


def test_streams_of_one_configuration_are_equal_and_others_are_not(make_config, checked):
    config = make_config("BPR", strategy="static", base="plain")
    strategy = create_strategy(config)
    for stream in (create_stream(config), create_stream(config)):
        strategy.check(stream)
    assert len(checked) == 1
    strategy.check(create_stream(make_config("BPR", seed=7)))
    assert [seed for seed, _ in checked] == [2020, 7]


def test_what_was_refused_is_refused_again(make_config, tiny_stream):
    strategy = create_strategy(make_config("MultiVAE", strategy="static"))
    for begin in (strategy.check, strategy.check, strategy.run):
        with pytest.raises(ModelError, match="no user and item embeddings"):
            begin(tiny_stream)
