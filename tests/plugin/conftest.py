"""What several tests of plugins start from."""

import pytest

from tests.plugin.stages import frozen_source


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Whatever a trainer leaves lying about lies here."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source_of(make_config, tiny_stream):
    """Makes a frozen source of block 0."""

    def make(name="BPR", n_draws=3, seed=0, block=0):
        return frozen_source(make_config, tiny_stream[block], name, n_draws, seed)

    return make
