"""ADER's distillation on stored interactions: of what, how much, and for whom."""

import math

import pytest
import torch

from recbole_ccd.model.growth import grow
from recbole_ccd.model.history import use_history
from recbole_ccd.plugin.replay import ADERReplay, ReservoirReplay
from tests.model.small_models import all_scores, scatter, small_model
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound


@pytest.fixture
def make_ader(make_config, tiny_stream):
    """Makes the scheme in block 1, for a model that has moved."""

    def make(name="BPR", **keys):
        keys = {"reservoir_size": 40, "ader_weight": 0.7, **keys}
        config, frozen = small_model(make_config, name, tiny_stream[0], **keys)
        live = grow(frozen, config, tiny_stream[1]).eval()
        scatter(live, seed=1)
        return bound(ADERReplay("student"), config, tiny_stream[1], frozen, live)

    return make


def drawn(plugin):
    """The exemplars that the next batch is going to draw."""
    state, n = plugin._generator.get_state(), len(plugin._pairs[0])
    places = torch.randint(n, (plugin.config["ader_exemplars"],), generator=plugin._generator)
    plugin._generator.set_state(state)
    return tuple(ids[places] for ids in plugin._pairs)


def factor(plugin):
    block = plugin.block
    return math.sqrt((block.n_old_items - 1) / (block.n_items - 1) * 40 / len(block.train))


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_answers_about_old_items_are_kept_by_loops(make_ader, name):
    plugin = make_ader(name, ader_exemplars=7)
    users, _ = drawn(plugin)
    (loss,) = plugin.batch_losses(batch_of(plugin.block))
    old, new = all_scores(plugin._frozen), all_scores(plugin.model)
    terms = []
    for user in users.tolist():
        p, q = (scores[user, 1 : old.shape[1]].softmax(dim=0) for scores in (old, new))
        terms.append((p * (p / q).log()).sum().item())
    assert loss.item() == pytest.approx(0.7 * factor(plugin) * sum(terms) / 7, rel=2e-3)
    loss.backward()
    assert all(value.grad is None for value in plugin._frozen.parameters())
    assert plugin.model.user_embedding.weight.grad.abs().sum() > 0


def test_models_of_pairs_keep_their_scores_of_the_pairs(make_ader):
    plugin = make_ader("NeuMF", ader_adaptive=False)
    users, items = drawn(plugin)
    (loss,) = plugin.batch_losses(batch_of(plugin.block))
    y, s = (torch.sigmoid(all_scores(model)[users, items]) for model in (plugin._frozen, plugin.model))
    expected = (y * (y / s).log() + (1 - y) * ((1 - y) / (1 - s)).log()).mean()
    torch.testing.assert_close(loss.detach(), 0.7 * expected, atol=1e-5, rtol=1e-4)


def test_an_auto_encoder_reads_what_it_read_and_what_it_learns(make_ader):
    plugin = make_ader("MultiVAE")
    users, _ = drawn(plugin)
    matrices = plugin.block.before.train_matrix, plugin.block.train_matrix
    use_history(plugin.model, matrices[1])
    (loss,) = plugin.batch_losses(batch_of(plugin.block))
    old, now = (torch.from_numpy(matrix.toarray()) for matrix in matrices)
    users = [user for user in users.tolist() if old[user].any() and now[user].any()]
    p = plugin._frozen(old[users])[0][:, 1:].softmax(dim=1)
    q = plugin.model(now[users])[0][:, 1 : old.shape[1]].softmax(dim=1)
    expected = (p * (p / q).log()).sum(dim=1).mean()
    torch.testing.assert_close(loss, 0.7 * factor(plugin) * expected, atol=1e-5, rtol=1e-4)


def test_exemplars_are_the_reservoir_and_without_any_there_is_no_term(make_ader):
    plugin = make_ader()
    rows = ReservoirReplay.rows(plugin.block, plugin.config)
    users, items = plugin.block.pairs_of(rows)
    held = plugin.block.before.train_matrix.toarray() > 0
    assert len(rows) == 40 and held[users, items].all()
    assert [ids.tolist() for ids in plugin._pairs] == [users.tolist(), items.tolist()]
    for keys in ({"reservoir_size": 0}, {"reservoir_size": 0, "ader_adaptive": False}, {"ader_weight": 0.0}):
        assert make_ader(**keys).batch_losses(batch_of(plugin.block)) == ()


def test_a_stage_without_a_past_is_refused(make_config, tiny_stream):
    config, model = small_model(make_config, "BPR", tiny_stream[1])
    with pytest.raises(ValueError, match="there is none"):
        bound(ADERReplay("student"), config, tiny_stream[1], None, model)
