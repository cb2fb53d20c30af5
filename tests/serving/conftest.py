"""Finished runs to serve from."""

import shutil

import pytest

from recbole_ccd import load_student, run_ccd
from tests.conftest import SMALL, SMALL_CCD

PRECISE = {"metric_decimal_place": 15, "topk": [5, 10]}


@pytest.fixture(scope="session")
def run_of(tiny_folder, tmp_path_factory):
    """Makes a run on the tiny stream, once for each set of settings, and returns its directory."""
    made = {}

    def run(**keys):
        wanted = tuple(sorted((key, repr(value)) for key, value in keys.items()))
        if wanted not in made:
            folder = tmp_path_factory.mktemp("served") / "run"
            common = {**SMALL, **SMALL_CCD, **PRECISE, "dataset": "tiny", "data_path": str(tiny_folder)}
            run_ccd(config_dict={**common, "run_dir": str(folder), **keys})
            made[wanted] = folder
        return made[wanted]

    return run


@pytest.fixture(scope="session")
def run_dir(run_of):
    """A run of CCD; not to be written to."""
    return run_of(model="LightGCN", teacher_models=["BPR", "MultiVAE"])


@pytest.fixture
def copied(run_dir, tmp_path):
    """The same, to be spoilt."""
    return shutil.copytree(run_dir, tmp_path / "copied")


@pytest.fixture
def served(run_dir):
    """Its student."""
    return load_student(run_dir)
