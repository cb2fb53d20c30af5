"""Streams in files, runs on their first blocks, and runs on all of them to hold updates against."""

import shutil
from itertools import pairwise

import pytest

from recbole_ccd import run_ccd
from tests.conftest import SMALL, SMALL_CCD, tiny_rows
from tests.strategy.runs import teachers, triples, write_files

KEYS = {
    **SMALL,
    **SMALL_CCD,
    **teachers("LightGCN"),
    "model": "LightGCN",
    "load_col": {"inter": ["user_id", "item_id"]},
    "metric_decimal_place": 15,
    "checkpoint_every": 1,
    "prepare_update": True,
}
CUTS = (0, 1000, 1600, 2100, 2600)


def block_rows():
    """The rows of the tiny stream in four blocks, without times."""
    rows = [row[:2] for row in tiny_rows()]
    return [rows[start:end] for start, end in pairwise(CUTS)]


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with the data sets ``whole`` (a file per block) and ``parted`` (three per block)."""
    folder = tmp_path_factory.mktemp("blocks")
    rows = block_rows()
    write_files(folder, "whole", {f"b{k}": block for k, block in enumerate(rows)})
    write_files(folder, "parted", triples(rows))
    return folder


def suffixes(dataset, n_blocks):
    """What ``benchmark_filename`` names of the first blocks."""
    parts = [".train", ".valid", ".test"] if dataset == "parted" else [""]
    return [f"b{k}{part}" for k in range(n_blocks) for part in parts]


@pytest.fixture(scope="session")
def new_block(files):
    """The file, or the files, of a block."""

    def of(k, dataset="whole"):
        wanted = suffixes(dataset, k + 1)[-3 if dataset == "parted" else -1 :]
        return [files / dataset / f"{dataset}.{suffix}.inter" for suffix in wanted]

    return of


@pytest.fixture(scope="session")
def run_on(files, tmp_path_factory):
    """Makes a run on the first blocks, once for each set of settings, and returns its directory."""
    made = {}

    def run(n_blocks, dataset="whole", **keys):
        wanted = (n_blocks, dataset, *sorted((key, repr(value)) for key, value in keys.items()))
        if wanted not in made:
            made[wanted] = folder = tmp_path_factory.mktemp("runs") / "run"
            data = {"dataset": dataset, "data_path": str(files), "run_dir": str(folder)}
            named = {"benchmark_filename": suffixes(dataset, n_blocks), "block_ratios": None}
            run_ccd(config_dict={**KEYS, **keys, **data, **named})
        return made[wanted]

    return run


@pytest.fixture
def copy_of(run_on, tmp_path):
    """A run on the first blocks, to be updated."""

    def copy(n_blocks, dataset="whole", to="run", **keys):
        folder = tmp_path / to
        shutil.copytree(run_on(n_blocks, dataset, **keys), folder)
        return folder

    return copy
