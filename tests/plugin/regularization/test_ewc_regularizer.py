"""Elastic weight consolidation: what is held, how firmly, and of which models."""

import pytest
import torch

import recbole_ccd.plugin.regularization.ewc as ewc_module
from recbole_ccd.data.sparse import binary_matrix
from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.regularization import EWCRegularizer
from tests.model.small_models import scatter, small_model
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound, past_and_present


@pytest.fixture
def make_ewc(make_config, tiny_stream):
    """Makes the regularizer in block 2, of a model of block 1 and its grown copy."""

    def make(name="BPR", seed=0, **keys):
        config, frozen = small_model(make_config, name, tiny_stream[1], **keys)
        live = grow(frozen, config, tiny_stream[2]).eval()
        return bound(EWCRegularizer(), config, tiny_stream[2], frozen, live, seed)

    return make


def importances(plugin):
    names = (name for name, _ in plugin.frozen.named_parameters())
    return dict(zip(names, plugin._importances, strict=True))


def test_what_matters_is_what_gradients_say_by_loops(make_ewc, monkeypatch):
    monkeypatch.setattr(ewc_module, "_AT_A_TIME", 1)
    noted, samples = [], EWCRegularizer._samples

    def note(plugin, block, *args):
        noted.append((block.index, samples(plugin, block, *args)))
        return noted[-1][1]

    monkeypatch.setattr(EWCRegularizer, "_samples", note)
    plugin = make_ewc(ewc_sample=6, ewc_decay=0.5)
    users, items = (plugin.frozen.user_embedding.weight, plugin.frozen.item_embedding.weight)
    by_user, by_item = torch.zeros_like(users), torch.zeros_like(items)
    assert [index for index, _ in noted] == [1, 0]
    for (index, triples), share in zip(noted, (1.0, 0.5), strict=True):
        block = plugin.block.before if index else plugin.block.before.before
        held = binary_matrix(block.train).toarray() > 0
        for u, i, j in zip(*(column.tolist() for column in triples), strict=True):
            assert held[u, i] and not held[u, j] and 0 < j < block.n_items
            error = torch.sigmoid(users[u] @ (items[j] - items[i]))
            by_user[u] += share / 6 * (error * (items[i] - items[j])) ** 2
            by_item[i] += share / 6 * (error * users[u]) ** 2
            by_item[j] += share / 6 * (error * users[u]) ** 2
    found = importances(plugin)
    torch.testing.assert_close(found["user_embedding.weight"], by_user.detach())
    torch.testing.assert_close(found["item_embedding.weight"], by_item.detach())


def test_a_decay_of_0_looks_at_the_block_before_alone(make_ewc):
    last, both = (importances(make_ewc(ewc_decay=decay)) for decay in (0.0, 1.0))
    table = "item_embedding.weight"
    assert (both[table] >= last[table]).all() and both[table].sum() > 1.3 * last[table].sum()
    again, other = (importances(make_ewc(ewc_decay=1.0, seed=seed)) for seed in (0, 1))
    assert torch.equal(both[table], again[table]) and not torch.equal(both[table], other[table])


def test_many_at_a_time_are_as_good_as_one_by_one(make_ewc, monkeypatch):
    keys = {"ewc_sample": 100, "ewc_decay": 0.0}
    several = importances(make_ewc("LightGCN", **keys))
    monkeypatch.setattr(ewc_module, "_AT_A_TIME", 1)
    for name, exact in importances(make_ewc("LightGCN", **keys)).items():
        assert several[name].sum() == pytest.approx(exact.sum().item(), rel=0.25)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "DMF", "ENMF", "MultiVAE", "CDAE"])
def test_every_model_is_held_by_all_of_its_parameters(make_ewc, name):
    plugin = make_ewc(name, ewc_weight=3.0, ewc_sample=50)
    read = getattr(plugin.frozen, "history_item_id", None)
    assert plugin.batch_losses(batch_of(plugin.block))[0].item() == 0.0
    found = importances(plugin)
    assert all(values.isfinite().all() and (values >= 0).all() for values in found.values())
    assert sum(values.sum() > 0 for values in found.values()) >= 2
    assert getattr(plugin.frozen, "history_item_id", None) is read
    scatter(plugin.live, seed=1)
    (loss,) = plugin.batch_losses(batch_of(plugin.block))
    live = dict(plugin.live.named_parameters())
    expected = 0.0
    for key, old in plugin.frozen.named_parameters():
        now = live[key][tuple(map(slice, old.shape))]
        expected = expected + 1.5 * (found[key] * (now - old.detach()) ** 2).sum()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(value.grad is None for value in plugin.frozen.parameters())


def test_predictions_that_were_kept_are_where_it_begins(make_config, tiny_stream):
    keys = {"growth": "predictions", "n_layers": 2, "ewc_sample": 50}
    config, frozen, live = past_and_present(make_config, tiny_stream, "LightGCN", **keys)
    assert not torch.equal(live.user_embedding.weight[: frozen.n_users], frozen.user_embedding.weight)
    plugin = bound(EWCRegularizer(), config, tiny_stream[1], frozen, live)
    assert plugin.batch_losses(batch_of(tiny_stream[1]))[0].item() == 0.0
