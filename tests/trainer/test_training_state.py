"""A stage that is taken up between two epochs ends as if nothing had happened, bit for bit."""

import pytest
import torch

from recbole_ccd.checkpoint.serialization import deserialize, serialize
from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.distillation import PreviousTeacherDistillation
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import ProxyGuidedReplay
from recbole_ccd.trainer.training_state import RESUMABLE
from recbole_ccd.utils.seeding import generator_states, seed_stage, set_generator_states
from tests.conftest import few
from tests.model.small_models import SMALL_MODELS, small_model, state_of
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of
from tests.plugin.stages import frozen_source, stage_trainer

EPOCHS = 4


class Ended(Exception):
    """The process ends here."""


def make(make_config, stream, name, stage="base", block=0, **keys):
    """A trainer, all drawn from the same seed."""
    settings = {"epochs": EPOCHS, "learning_rate": 0.01, "stopping_step": 10, "dropout_prob": 0.3, **keys}
    if "dropout_prob" not in make_config(name, **SMALL_MODELS[name]):
        settings.pop("dropout_prob")
    seed_stage(1, True, name)
    config, old = small_model(make_config, name, stream[0], **settings)
    model = grow(old, config, stream[block]) if block else old
    return stage_trainer(config, model, stream[block], stage, previous=old, seed=7)


def trained(trainer):
    trainer.run(show_progress=False)
    stopping = (trainer.epochs_run, trainer.cur_step, trainer.best_valid_score, trainer.best_valid_result)
    return state_of(trainer.model), stopping, dict(trainer.train_loss_dict), trainer.history()


def saved_after(trainer, epochs):
    """The state between two epochs, as it is read back from a file, others having drawn in the meantime."""
    kept = []

    def between():
        if trainer.epochs_run == epochs:
            kept.append({name: value.clone() for name, value in serialize(trainer.state_dict()).items()})
            raise Ended

    trainer.restore(None, between)
    with pytest.raises(Ended):
        trainer.run(show_progress=False)
    torch.rand(3)
    return deserialize(kept[0])


def same(one, other):
    assert one[0].keys() == other[0].keys()
    return all(value.equal(other[0][name]) for name, value in one[0].items()) and one[1:] == other[1:]


@pytest.fixture(scope="module")
def whole(make_config, tiny_stream, tmp_path_factory):
    """What an uninterrupted stage of a model gives, trained once for all places of interruption."""
    finished = {}

    def run(name, **keys):
        if repr((name, keys)) not in finished:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("whole"))
                finished[repr((name, keys))] = trained(make(make_config, tiny_stream, name, **keys))
        return finished[repr((name, keys))]

    return run


@pytest.mark.parametrize(
    "name", few([name for name in RESUMABLE if name in SMALL_MODELS], "LightGCN", "NeuMF", "MultiVAE")
)
def test_every_model_goes_on_as_if_nothing_had_happened(make_config, tiny_stream, whole, name):
    def going_on(epochs):
        looked, state = [], saved_after(make(make_config, tiny_stream, name, eval_step=2), epochs)
        trainer = make(make_config, tiny_stream, name, eval_step=2)
        return trainer.restore(state, lambda: looked.append(trainer.epochs_run)), looked

    # after one that was validated and one that was not
    for epochs in (2, 3):
        trainer, looked = going_on(epochs)
        assert same(trained(trainer), whole(name, eval_step=2))
        assert looked == list(range(epochs + 1, EPOCHS))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RESUMABLE if name in SMALL_MODELS])
def test_so_does_one_that_is_validated_after_every_epoch(make_config, tiny_stream, whole, name):
    state = saved_after(make(make_config, tiny_stream, name), 2)
    assert same(trained(make(make_config, tiny_stream, name).restore(state)), whole(name))


@pytest.mark.parametrize("learner", ["adam", "adamw", "sgd", "adagrad", "rmsprop"])
def test_so_does_every_optimizer(make_config, tiny_stream, learner):
    keys = {"learner": learner, "weight_decay": 0.01, "clip_grad_norm": {"max_norm": 1.0}}
    keys |= {"epochs": 3, "metrics": ["Recall"]}
    whole = trained(make(make_config, tiny_stream, "BPR", **keys))
    state = saved_after(make(make_config, tiny_stream, "BPR", **keys), 2)
    trainer = make(make_config, tiny_stream, "BPR", **keys)
    assert same(trained(trainer.restore(state)), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LightGCN", "NeuMF"])
def test_so_does_one_with_dynamic_negatives(make_config, tiny_stream, whole, name):
    keys = {"train_neg_sample_args": {"dynamic": True, "candidate_num": 4}}
    state = saved_after(make(make_config, tiny_stream, name, **keys), 2)
    resumed = trained(make(make_config, tiny_stream, name, **keys).restore(state))
    assert same(resumed, whole(name, **keys)) and not same(resumed, whole(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", few(["LightGCN", "MultiVAE", "RecVAE", "NeuMF"], "LightGCN", "MultiVAE"))
def test_so_does_an_update_with_plugins_of_every_kind(make_config, tiny_stream, name):
    keys = {"replay_redraw": 2, "uninteresting_redraw": 2, "piw": True, "lwc_kd_anchors": 5}
    keys |= {"regularizer": ["lwc_kd", "output_kl", "pair_kl"], "distill_loss": ["rrd", "cd"]}
    keys |= {"update_distill_users": "all", "teacher_update_distill": 1.0}

    def updating():
        trainer = make(make_config, tiny_stream, name, "teacher_update", block=1, **keys)
        replay = ProxyGuidedReplay("teacher", [frozen_source(make_config, tiny_stream[0])])
        trainer.add(replay, *chosen_regularizers(trainer.config, trainer.model))
        if name in ("LightGCN", "NeuMF"):
            rankings = rankings_of(tiny_stream[0], fixed_teacher(tiny_stream[0]))
            trainer.add(PreviousTeacherDistillation("teacher", rankings))
        return trainer

    whole = trained(updating())
    # in the middle between two draws, and before one
    for epochs in (1, 2):
        state = saved_after(updating(), epochs)
        assert same(trained(updating().restore(state)), whole), epochs


def test_the_state_is_that_of_the_moment(make_config, tiny_stream):
    trainer = make(make_config, tiny_stream, "MultiVAE")
    state = saved_after(trainer, 2)
    assert state["epochs"] == 2 and list(state["training"]["stopping"]["train_loss_dict"]) == [0, 1]
    assert list(state["history"]["losses"]) == [0, 1] and len(state["history"]["scores"]) == 2
    assert state["training"]["counters"]["update"] == trainer.model.update > 0


def test_models_that_may_keep_more_are_told_apart(make_config, tiny_stream):
    trainer = make(make_config, tiny_stream, "BPR")
    assert trainer.is_resumable
    trainer.config.final_config_dict["model"] = "LINE"
    assert not trainer.is_resumable


def test_global_generators_go_back(make_config):
    import random

    import numpy as np

    def draw():
        return torch.rand(2).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0, 1)

    draw()
    states = deserialize(serialize(generator_states()))
    first = draw()
    draw()
    set_generator_states(states)
    assert draw() == first
