"""Divergences of outputs: of auto-encoders on rows, of models that only score pairs on pairs."""

from copy import copy

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.regularization import OutputKLRegularizer, PairKLRegularizer, chosen_regularizers
from tests.model.small_models import scatter, small_model, state_of
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound, past_and_present


def only(config, block, frozen, live):
    """The one regularizer that fits a model, bound."""
    config["regularizer"] = ["lwc_kd", "output_kl", "pair_kl"]
    (plugin,) = chosen_regularizers(config, live)
    return bound(plugin, config, block, frozen, live)


@pytest.mark.parametrize("name", ["MultiVAE", "RecVAE", "CDAE"])
def test_it_is_zero_until_the_member_changes(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name)
    plugin = only(config, tiny_stream[1], frozen, live)
    rows = live.get_rating_matrix(torch.tensor([3]))
    assert type(plugin) is OutputKLRegularizer and plugin.parameters() == []
    (loss,) = plugin.batch_losses(batch_of(tiny_stream[1]))
    assert abs(loss.item()) < 1e-6
    scatter(live, seed=1)
    (loss,) = plugin.batch_losses(batch_of(tiny_stream[1]))
    loss.backward()
    assert loss.item() > 1e-3
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in live.parameters())
    assert all(p.grad is None for p in frozen.parameters())
    assert torch.equal(live.get_rating_matrix(torch.tensor([3])), rows)


def test_it_is_the_divergence_on_earlier_rows(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "MultiVAE", output_kl_weight=0.3)
    scatter(live, seed=1)
    (loss,) = bound(OutputKLRegularizer(), config, tiny_stream[1], frozen, live).batch_losses(
        batch_of(tiny_stream[1])
    )
    rows = torch.from_numpy(tiny_stream[0].train_matrix.toarray())
    total = 0.0
    for user in (3, 7, 20):
        wide = torch.zeros(1, live.n_items)
        wide[0, : frozen.n_items] = rows[user]
        p = frozen(rows[user][None])[0][0, 1:].softmax(dim=0)
        q = live(wide)[0][0, 1 : frozen.n_items].softmax(dim=0)
        total += (p * (p / q).log()).sum()
    torch.testing.assert_close(loss, 0.3 * total / 3, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_it_reads_what_the_past_was_predicted_from(make_config, tiny_stream, graph):
    # a block before in which most users do not occur
    block, before = copy(tiny_stream[2]), tiny_stream[1].parts(60)[0]
    block.previous = before
    config, frozen = small_model(make_config, "MultiVAE", before, output_kl_weight=1.0, graph=graph)
    live = grow(frozen, config, block).eval()
    scatter(live, seed=1)
    users = torch.arange(1, before.n_users)
    batch = Interaction({"user_id": users})
    (loss,) = bound(OutputKLRegularizer(), config, block, frozen, live).batch_losses(batch)
    rows = before.train_so_far if graph == "cumulative" else before.train_matrix
    kept = np.flatnonzero(rows.getnnz(axis=1))
    # with the block's graph some have done nothing that the members could read
    assert (len(kept) < len(users)) == (graph == "block")
    old = torch.from_numpy(rows[kept].toarray())
    wide = torch.zeros(len(kept), live.n_items)
    wide[:, : frozen.n_items] = old
    p = frozen(old)[0][:, 1:].log_softmax(dim=1)
    q = live(wide)[0][:, 1 : frozen.n_items].log_softmax(dim=1)
    torch.testing.assert_close(loss, (p.exp() * (p - q)).sum(dim=1).mean(), atol=1e-6, rtol=1e-4)


def test_outputs_of_cdae_are_held_before_their_sigmoid(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "CDAE", output_kl_weight=1.0)
    scatter(live, seed=1)
    (loss,) = bound(OutputKLRegularizer(), config, tiny_stream[1], frozen, live).batch_losses(
        batch_of(tiny_stream[1])
    )
    users = torch.tensor([3, 7, 20])
    rows = torch.from_numpy(tiny_stream[0].train_matrix.toarray())[users]
    wide = torch.zeros(3, live.n_items)
    wide[:, : frozen.n_items] = rows
    p = frozen(rows, users)[:, 1:].log_softmax(dim=1)
    q = live(wide, users)[:, 1 : frozen.n_items].log_softmax(dim=1)
    torch.testing.assert_close(loss, (p.exp() * (p - q)).sum(dim=1).mean(), atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_pairs_held_are_no_more_than_a_batch_and_drawn_as_before(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "NeuMF", output_kl_weight=1.0)
    scatter(live, seed=1)
    block, batch = tiny_stream[1], batch_of(tiny_stream[1])
    whole = bound(PairKLRegularizer(), config, block, frozen, live).batch_losses(batch)[0].item()
    config["train_batch_size"] = 5
    plugin = bound(PairKLRegularizer(), config, block, frozen, live)
    state = plugin.state_dict()
    drawn = [plugin.batch_losses(batch)[0].item() for _ in range(800)]
    assert len(set(drawn)) > 100 and abs(sum(drawn) / len(drawn) - whole) < 0.1 * whole
    again = bound(PairKLRegularizer(), config, block, frozen, live, seed=1)
    again.load_state_dict(state)
    assert [again.batch_losses(batch)[0].item() for _ in range(3)] == drawn[:3]


@pytest.mark.parametrize("name", ["NeuMF", "DMF"])
def test_it_is_the_divergence_on_earlier_pairs(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name, output_kl_weight=0.3)
    plugin = only(config, tiny_stream[1], frozen, live)
    assert type(plugin) is PairKLRegularizer
    batch = batch_of(tiny_stream[1])
    if name == "NeuMF":
        assert abs(plugin.batch_losses(batch)[0].item()) < 1e-6
    scatter(live, seed=1)
    (loss,) = plugin.batch_losses(batch)
    terms = []
    for user in (3, 7, 20):
        for item in tiny_stream[0].train_matrix[user].indices:
            pair = torch.tensor([user]), torch.tensor([int(item)])
            p, q = torch.sigmoid(frozen(*pair)), torch.sigmoid(live(*pair))
            terms.append(p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())
    torch.testing.assert_close(loss, 0.3 * torch.cat(terms).mean(), atol=1e-6, rtol=1e-4)
    assert loss.item() > 0
    loss.backward()
    assert all(p.grad is None for p in frozen.parameters())


@pytest.mark.parametrize("name", ["BPR", "MultiVAE", "NeuMF"])
def test_a_batch_of_new_users_has_as_many_terms_and_they_are_zero(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name, piw=False)
    scatter(live, seed=1)
    block = tiny_stream[1]
    batch = Interaction(
        {"user_id": torch.tensor([block.n_users - 1]), "item_id": torch.tensor([block.n_items - 1])}
    )
    (loss,) = only(config, block, frozen, live).batch_losses(batch)
    assert loss.item() == 0.0


def test_the_frozen_member_keeps_its_weights_and_its_rows(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "MultiVAE")
    frozen.train()
    before, rows = state_of(frozen), frozen.get_rating_matrix(torch.arange(5))
    plugin = bound(OutputKLRegularizer(), config, tiny_stream[1], frozen, live)
    plugin.batch_losses(batch_of(tiny_stream[1]))
    assert not frozen.training
    assert torch.equal(frozen.get_rating_matrix(torch.arange(5)), rows)
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())
