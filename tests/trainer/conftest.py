"""What several tests of trainers start from."""

import pytest
from recbole_ccd.trainer.replay import ReplaySource

from tests.model.small_models import small_model


@pytest.fixture
def source_of(make_config, tiny_stream):
    """Makes a frozen source of block 0."""

    def make(name="BPR", n_draws=3, seed=0, block=0):
        return ReplaySource(
            f"{name}{seed}", small_model(make_config, name, tiny_stream[block], seed)[1], n_draws
        )

    return make
