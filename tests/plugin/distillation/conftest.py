"""Losses by themselves, and stages that distil by them, on a fixed teacher's lists."""

import pytest

from recbole_ccd.plugin.distillation import DistillationLoss
from recbole_ccd.registry import registered
from tests.model.small_models import small_model
from tests.plugin.distillation.rankings import distilling, fixed_teacher, rankings_of


@pytest.fixture
def make_distillation(make_config, tiny_stream):
    """Makes a stage 1 on block 0 with a loss and a fixed teacher's lists."""

    def make(loss, name="BPR", short=(4,), **keys):
        settings = {"distill_loss": loss, "distill_user_weight": 0.5, **keys}
        return distilling(make_config, tiny_stream[0], name, short, **settings)

    return make


@pytest.fixture
def make_loss(make_config, tiny_stream):
    """Makes a loss by itself, on the lists of block 0."""

    def make(loss, name="BPR", short=(4,), **keys):
        block = tiny_stream[0]
        config, model = small_model(make_config, name, block, **keys)
        rankings = rankings_of(block, fixed_teacher(block), short=short)
        kind = registered(DistillationLoss.kind)[loss]
        made = kind(config, model, rankings, block.train_matrix, seed=3)
        made.before_epoch(0)
        return made

    return make
