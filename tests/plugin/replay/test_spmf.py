"""SPMF's replay: what is drawn, how often, and what is made of it."""

from copy import copy

import numpy as np
import pytest
import torch

from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.replay import ReservoirReplay, SPMFReplay
from recbole_ccd.utils.seeding import derive_seed
from tests.model.small_models import all_scores, small_model, state_of
from tests.plugin.stages import bound, stage_trainer


@pytest.fixture
def make_spmf(make_config, tiny_stream):
    """Makes the trainer of an update on block 1 with the scheme, and the scheme."""

    def make(name="BPR", **keys):
        keys = {"reservoir_size": 60, **keys}
        config, old = small_model(make_config, name, tiny_stream[0], **keys)
        torch.manual_seed(5)
        model, plugin = grow(old, config, tiny_stream[1]), SPMFReplay("student")
        return stage_trainer(config, model, tiny_stream[1], "student_update", plugin, previous=old), plugin

    return make


def stored(plugin):
    users, items = plugin.block.pairs_of(ReservoirReplay.rows(plugin.block, plugin.config))
    return list(zip(users.tolist(), items.tolist(), strict=True))


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "MultiVAE"])
def test_the_reservoir_is_ranked_by_the_current_model(make_spmf, name, monkeypatch):
    monkeypatch.setattr("recbole_ccd.plugin.replay.spmf.users_at_a_time", lambda n_items: 7)
    _, plugin = make_spmf(name)
    places = plugin._places()
    scores = all_scores(plugin.model)[plugin._users, plugin._items]
    assert sorted(places.tolist()) == list(range(1, 61))
    assert (scores[places.argsort()].diff() <= 1e-6).all()
    assert sorted(zip(plugin._users.tolist(), plugin._items.tolist(), strict=True)) == sorted(stored(plugin))


def test_the_lower_it_ranks_the_more_often_it_is_drawn(make_spmf):
    # of three the middle one has rank 2: exp(2 * 2 / 3) / (exp(2 / 3) + exp(4 / 3) + exp(2)) = .288921
    _, plugin = make_spmf(reservoir_size=3, spmf_draws=1, spmf_sharpness=2.0)
    places, counts = plugin._places().long(), torch.zeros(3)
    for epoch in range(800):
        plugin.before_epoch(epoch)
        counts[places[plugin._drawn] - 1] += 1
    weights = torch.tensor([1.0, 2.0, 3.0]).mul(2 / 3).exp()
    expected = weights / weights.sum()
    assert expected.tolist() == pytest.approx([0.148337, 0.288921, 0.562742], abs=1e-5)
    assert (counts / 800).tolist() == pytest.approx(expected.tolist(), abs=0.05)


def test_draws_hang_on_seed_and_epoch_and_there_are_as_many_as_wanted(make_spmf):
    _, plugin = make_spmf(spmf_draws=20)
    found = []
    for epoch in (0, 1, 0):
        plugin.before_epoch(epoch)
        found.append(plugin._drawn.tolist())
    assert found[0] == found[2] != found[1] and len(set(found[0])) == 20
    _, plugin = make_spmf()
    plugin.before_epoch(0)
    assert sorted(plugin._drawn.tolist()) == list(range(60))


def test_the_pass_is_steps_down_the_ranking_loss(make_spmf):
    keys = {"learner": "sgd", "learning_rate": 0.5, "weight_decay": 0.0, "train_batch_size": 100}
    trainer, plugin = make_spmf(**keys)
    plugin.before_epoch(0)
    before, noted = state_of(trainer.model), []
    for entry in plugin.after_epoch(0):
        for batch in entry.batches:
            loss = entry.loss(batch)
            noted.append(loss.item())
            trainer.step(loss)
    tables = [before[f"{who}_embedding.weight"].clone().requires_grad_() for who in ("user", "item")]
    sampler, users, items = _negatives(plugin)
    positive, negative = ((tables[0][users] * tables[1][ids]).sum(dim=1) for ids in (items, sampler))
    expected = -torch.log(torch.sigmoid(positive - negative)).sum() / 100
    assert noted == [pytest.approx(expected.item(), rel=1e-5)]
    expected.backward()
    for who, own in zip(("user", "item"), tables, strict=True):
        now = trainer.model.state_dict()[f"{who}_embedding.weight"]
        torch.testing.assert_close(now, own.detach() - 0.5 * own.grad, atol=1e-6, rtol=0)


def _negatives(plugin):
    """The negatives of epoch 0, which neither block nor reservoir has."""
    users, items = plugin._users[plugin._drawn], plugin._items[plugin._drawn]
    sampler = NegativeSampler(plugin._positives, seed=derive_seed(plugin.seed, "negatives", 0))
    negatives = sampler.sample_by_key_ids(users.numpy(), 1)
    barred = plugin.block.train_matrix.toarray() > 0
    barred[tuple(np.array(stored(plugin)).T)] = True
    assert not barred[users, negatives].any()
    return negatives, users, items


def test_an_auto_encoder_reads_what_is_drawn(make_spmf):
    trainer, plugin = make_spmf("MultiVAE", spmf_draws=20)
    plugin.before_epoch(0)
    rows = trainer._training_rows().toarray()
    expected = plugin.block.train_matrix.toarray()
    for place in plugin._drawn.tolist():
        expected[plugin._users[place], plugin._items[place]] = 1.0
    assert (rows == expected).all() and rows.sum() > plugin.block.train_matrix.sum()
    assert list(plugin.after_epoch(0)) == []
    visited = {user for user, _ in stored(plugin)} | set(plugin.block.train_matrix.nonzero()[0].tolist())
    assert plugin.visited_users().tolist() == sorted(visited)


def test_whoever_has_had_everything_is_left_out(make_spmf):
    _, plugin = make_spmf()
    user = stored(plugin)[0][0]
    matrix = plugin.block.train_matrix.tolil()
    matrix[user, 1:] = 1.0
    block = copy(plugin.block)
    # a cached property
    vars(block)["train_matrix"] = matrix.tocsr()
    full = bound(SPMFReplay("student"), plugin.config, block, None, plugin.model)
    assert user in plugin._users and user not in full._users and 0 < len(full._users) < 60
    full.before_epoch(0)
    assert len(list(full.after_epoch(0))) == 1
