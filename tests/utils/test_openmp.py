"""How torch's threads wait is decided before torch is there, by the user or else by the program."""

import os
import subprocess
import sys

import pytest

from recbole_ccd.utils import openmp as threads
from recbole_ccd.utils.openmp import waiting_settings, yield_to_other_programs

CODE = """
import os, sys
from recbole_ccd.cli import main
assert "torch" not in sys.modules
assert main(["--dataset=no-such", "--data_path=."]) == 2
assert "torch" in sys.modules
print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.fixture
def unset(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, f"{threads._DEFAULT} None"),
        pytest.param({"GOMP_SPINCOUNT": "7"}, "7 None", marks=pytest.mark.slow),
        pytest.param({"OMP_WAIT_POLICY": "passive"}, "None passive", marks=pytest.mark.slow),
    ],
)
def test_the_program_decides_unless_the_user_has(given, expected, unset, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **given}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [expected], done.stderr


def test_workers_elsewhere_are_given_the_same(unset, monkeypatch):
    assert waiting_settings() == {}
    # undone after the test
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    yield_to_other_programs()
    assert waiting_settings() == {"GOMP_SPINCOUNT": threads._DEFAULT}
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    yield_to_other_programs()
    assert waiting_settings() == {"GOMP_SPINCOUNT": threads._DEFAULT, "OMP_WAIT_POLICY": "active"}
