"""No hot path makes a tensor on the CPU where it computes on another device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.device.paths import PATHS, RESUMED, RUNS
from tests.device.second_device import can_be

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.skipif(not can_be(), reason="this torch lets no device be made in Python")


def faults_of(*names):
    """The fault of each path, by default of all but the longest, in a process of their own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.device.paths", *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def faults():
    return faults_of()


@pytest.mark.parametrize("name", [*PATHS, *RUNS])
def test_on_a_second_device(faults, name):
    assert not faults[name], faults[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_resumed_on_a_second_device(name):
    fault = faults_of(name)[name]
    assert not fault, fault
