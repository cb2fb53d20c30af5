"""Who does the tasks: what strategies know of them, without Ray."""

import os
import signal
import subprocess
import sys
from unittest.mock import patch

import pytest

from recbole_ccd.checkpoint.compatibility import FREE_KEYS
from recbole_ccd.config import DERIVED_KEYS, conditions
from recbole_ccd.quick_start import run_ccd
from recbole_ccd.utils.errors import ConfigError, RunError
from recbole_ccd.utils.parallel import Sequential, workers_of
from recbole_ccd.utils.parallel.cluster import ray_module


def power(base, exponent):
    return base**exponent


def test_one_after_the_other_each_when_it_is_asked_for():
    load_manifest = []
    results = Sequential().each(power, 2, [1, 2, 3], load_manifest.append)
    assert load_manifest == []
    assert next(results) == (0, 2) and load_manifest == [0]
    assert list(results) == [(1, 4), (2, 8)] and load_manifest == [0, 1, 2]


def test_without_the_key_this_process_does_all(make_config):
    workers = workers_of(make_config())
    assert isinstance(workers, Sequential) and workers.at_once == 1
    with workers as entered:
        assert entered is workers


def test_the_keys_change_no_result():
    assert {"parallel", "parallel_workers"} <= FREE_KEYS


def test_without_ray_it_cannot_be_chosen(make_config, monkeypatch):
    find = conditions.importlib.util.find_spec
    without = {"ray": None}
    monkeypatch.setattr(
        conditions.importlib.util,
        "find_spec",
        lambda name, *package: without[name] if name in without else find(name, *package),
    )
    with pytest.raises(ConfigError, match="parallel is 'ray' .*; give ~, or ray if that is installed"):
        make_config(parallel="ray")


def test_a_ray_that_cannot_be_imported_is_told_in_one_line():
    # None among the modules makes every import of it fail
    with patch.dict(sys.modules, {"ray": None}), pytest.raises(ConfigError, match="; install it, or") as told:
        ray_module()
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_the_package_does_without_ray():
    program = (
        "import sys; sys.modules['ray'] = None; import recbole_ccd.quick_start, recbole_ccd.utils.parallel; "
        "print('ray' in {name.partition('.')[0] for name, found in sys.modules.items() if found})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout == "False\n", done.stderr


def test_an_address_where_nobody_is_ends_the_run_before_it_has_a_folder(make_config, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    before = signal.getsignal(signal.SIGTERM)
    settings = make_config(parallel="ray", run_dir=str(tmp_path / "run")).to_dict()
    given = {key: value for key, value in settings.items() if key not in DERIVED_KEYS}
    with pytest.raises(RunError, match="RAY_ADDRESS is '127.0.0.1:1', where no Ray cluster can be used"):
        run_ccd(config_dict=given)
    assert os.listdir(tmp_path) == []
    # Ray listens to it as soon as it is imported
    assert signal.getsignal(signal.SIGTERM) is before
