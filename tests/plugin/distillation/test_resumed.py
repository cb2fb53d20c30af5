"""Losses that draw, learn a scale or know the student's lists: a resumed stage ends as the whole one."""

import pytest

from recbole_ccd.plugin.distillation import DistillationLoss, TeacherDistillation
from recbole_ccd.registry import registered
from recbole_ccd.utils.seeding import seed_stage
from tests.conftest import few
from tests.model.small_models import small_model
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of
from tests.plugin.stages import stage_trainer
from tests.trainer.test_training_state import same, saved_after, trained

LOSSES = sorted(registered(DistillationLoss.kind))
KEYS = {"epochs": 4, "eval_step": 4, "learning_rate": 0.01, "uninteresting_redraw": 3}
KEYS |= {
    "student_generation_train_batch_size": 600,
    "distill_draws": 4,
    "distill_propose_depth": 10,
    "distill_item_weight": 0.3,
}


@pytest.fixture
def make_stage(make_config, tiny_stream):
    """Makes a stage 1 that learns by some losses."""

    def make(name, losses, **keys):
        block = tiny_stream[0]
        seed_stage(1, True, name)
        config, model = small_model(make_config, name, block, distill_loss=losses, **KEYS, **keys)
        plugin = TeacherDistillation(rankings_of(block, fixed_teacher(block)))
        return stage_trainer(config, model, block, "student_generation", plugin)

    return make


@pytest.mark.parametrize("which", few(["all", *LOSSES], "all"))
@pytest.mark.parametrize("name", few(["BPR", "NeuMF"], "BPR"))
def test_a_resumed_stage_is_the_whole_one(make_stage, name, which):
    losses = LOSSES if which == "all" else which
    whole = trained(make_stage(name, losses))
    # in the middle between two redraws, and before one
    for epochs in (2,) if which == "all" else (2, 3):
        state = saved_after(make_stage(name, losses), epochs)
        assert same(trained(make_stage(name, losses).restore(state)), whole), epochs


def test_the_scale_of_logits_is_learned_and_goes_on(make_stage):
    def scale(trainer):
        return [value.item() for value in trainer.plugins[0].state_dict()["logits"].values()]

    trainer = make_stage("BPR", "logits", distill_user_weight=0.5)
    assert scale(trainer) == [0.0, 1.0]
    trained(trainer)
    learned = scale(trainer)
    assert abs(learned[0]) > 1e-3 and abs(learned[1] - 1) > 1e-3
    state = saved_after(make_stage("BPR", "logits", distill_user_weight=0.5), 2)
    resumed = make_stage("BPR", "logits", distill_user_weight=0.5).restore(state)
    trained(resumed)
    assert scale(resumed) == learned
