"""In which optimizer steps replayed pairs are learned: their own, or those of the block's interactions."""

import math

import pytest
import torch

from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.replay import ProxyGuidedReplay
from recbole_ccd.plugin.replay import steps as steps_module
from tests.model.small_models import all_scores, small_model
from tests.plugin.stages import stage_trainer


@pytest.fixture
def make_joint(make_config, tiny_stream, source_of):
    """Makes the trainer of an epoch of an update on block 1, with pairs shared out over its batches."""

    def make(name="BPR", role="student", sources=None, **keys):
        keys = {"train_batch_size": 20, "epochs": 1, f"{role}_replay_batch_size": "joint"} | keys
        config, old = small_model(make_config, name, tiny_stream[0], **keys)
        model = grow(old, config, tiny_stream[1])
        replay = ProxyGuidedReplay(role, [source_of(seed=1)] if sources is None else sources)
        return stage_trainer(config, model, tiny_stream[1], f"{role}_update", replay, previous=old)

    return make


@pytest.fixture
def learned(monkeypatch):
    """The pairs of each loss of replay that is computed."""
    seen, score, loss = [], steps_module.score_pairs, steps_module.replay_loss

    def scored(model, users, items):
        seen.append((users, items))
        return score(model, users, items)

    def lost(scores, labels):
        seen[-1] = (*seen[-1], labels)
        return loss(scores, labels)

    monkeypatch.setattr(steps_module, "score_pairs", scored)
    monkeypatch.setattr(steps_module, "replay_loss", lost)
    return seen


def counted_steps(trainer):
    """A list that grows with every step of the trainer's optimizer."""
    steps = []
    trainer.optimizer.register_step_post_hook(lambda *given: steps.append(1))
    return steps


def triples(parts):
    users, items, labels = (torch.cat(column).tolist() for column in zip(*parts, strict=True))
    return sorted(zip(users, items, labels, strict=True))


# one interaction a row of a batch; an interaction and its negatives in two rows; a user a row
@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "ENMF"])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_an_epoch_learns_each_pair_once_in_the_steps_of_its_batches(make_joint, learned, name, role):
    trainer = make_joint(name, role)
    steps = counted_steps(trainer)
    trainer.run(False)
    pairs = trainer.plugins[0].state_dict()["pairs"]
    assert len(steps) == len(learned) > 1
    assert triples(learned) == triples([pairs])
    sizes = [len(users) for users, *_ in learned]
    assert max(sizes) - min(sizes) <= 1


def test_the_shares_add_up_to_the_annealed_cross_entropy(make_joint):
    trainer = make_joint(student_replay_weight=0.8, student_replay_decay=4)
    plugin = trainer.plugins[0]
    plugin.before_epoch(0)
    plugin.before_epoch(3)
    users, items, labels = plugin.state_dict()["pairs"]
    p = torch.sigmoid(all_scores(trainer.model)[users, items])
    loss = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum()
    found = [term for _ in range(9) for term in plugin.batch_losses(None)]
    expected = 0.8 * math.exp(-3 / 4) / 20 * loss
    torch.testing.assert_close(sum(found), expected, atol=1e-5, rtol=1e-5)
    assert not list(plugin.after_epoch(3)) and not plugin.batch_losses(None)


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_there_may_be_fewer_pairs_than_batches(make_joint, source_of, learned, name):
    trainer = make_joint(name, train_batch_size=2)
    users = torch.tensor([1, 2])
    trainer.plugins[0]._draws.draw = lambda live, epoch: (users, users + 1, torch.tensor([0.5, 0.25]))
    trainer.run(False)
    assert len(learned) > 2 and triples(learned) == [(1, 2, 0.5), (2, 3, 0.25)]


@pytest.mark.parametrize("keys", [{"student_replay_weight": 0.0}, {"sources": []}])
def test_without_weight_or_pairs_joint_steps_are_those_of_the_block_alone(make_joint, keys):
    trainer, plain = make_joint(**keys), make_joint(**keys)
    plain.plugins.clear()
    for each in (trainer, plain):
        torch.manual_seed(0)
        each.run(False)
    states = [each.model.state_dict() for each in (trainer, plain)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_an_auto_encoder_replays_in_its_rows_whatever_the_steps(make_joint):
    trainer, other = make_joint("MultiVAE", "teacher"), make_joint("MultiVAE", "teacher")
    other.plugins[0]._steps._size = None
    for each in (trainer, other):
        torch.manual_seed(0)
        each.run(False)
    states = [each.model.state_dict() for each in (trainer, other)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_auto_makes_as_many_steps_of_its_own_as_the_block_takes(make_joint, learned):
    # whose batches are users, of whom there are fewer than interactions
    trainer = make_joint("ENMF", student_replay_batch_size="auto")
    steps = counted_steps(trainer)
    trainer.run(False)
    assert len(learned) > 1 and len(steps) == 2 * len(learned)


def test_a_step_that_moves_nothing_is_followed_by_others(make_joint, learned):
    trainer = make_joint("LightGCN", learner="sgd", student_update_learning_rate=1e-12)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run(False)
    assert len(learned) > 1
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
