"""Divergences of outputs: of auto-encoders on rows, of models that only score pairs on pairs."""

from copy import copy

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.model.growth import grow
from recbole_ccd.model.history import padded, use_history
from recbole_ccd.plugin.regularization import OutputKLRegularizer, PairKLRegularizer, chosen_regularizers
from tests.model.small_models import scatter, small_model, state_of
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound, past_and_present


def only(config, block, frozen, live):
    """The one regularizer that fits a model, bound."""
    config["regularizer"] = ["lwc_kd", "output_kl", "pair_kl"]
    (plugin,) = chosen_regularizers(config, live)
    return bound(plugin, config, block, frozen, live)


def of_earlier_items(frozen_scores, live_scores, rows):
    """The mean divergence by a loop: of each user over the items of the row alone."""
    terms = []
    for old, new, row in zip(frozen_scores, live_scores, rows, strict=True):
        items = row.nonzero().squeeze(1)
        p, q = old[items].softmax(dim=0), new[items].softmax(dim=0)
        terms.append((p * (p / q).log()).sum())
    return torch.stack(terms).mean()


def dense(matrix):
    return torch.from_numpy(matrix.toarray())


@pytest.mark.parametrize("name", ["MultiVAE", "RecVAE", "CDAE"])
def test_it_is_zero_as_long_as_the_member_says_the_same(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name)
    plugin = only(config, tiny_stream[1], frozen, live)
    assert type(plugin) is OutputKLRegularizer and plugin.parameters() == []
    # the live member reads what the frozen one does
    live.history_item_id, live.history_item_value = padded(tiny_stream[0].train_matrix, live.device)
    (loss,) = plugin.batch_losses(batch_of(tiny_stream[1]))
    assert abs(loss.item()) < 1e-6
    use_history(live, tiny_stream[1].train_matrix)
    rows = live.get_rating_matrix(torch.tensor([3]))
    scatter(live, seed=1)
    (loss,) = plugin.batch_losses(batch_of(tiny_stream[1]))
    loss.backward()
    assert loss.item() > 1e-3
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in live.parameters())
    assert all(p.grad is None for p in frozen.parameters())
    assert torch.equal(live.get_rating_matrix(torch.tensor([3])), rows)


def test_it_is_the_divergence_over_earlier_items_of_what_is_read_then_and_now(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "MultiVAE", output_kl_weight=0.3)
    scatter(live, seed=1)
    # the row that is learned, with a replayed pair
    now = tiny_stream[1].train_matrix.tolil()
    now[7, 2] = 0.1
    use_history(live, now.tocsr())
    plugin = bound(OutputKLRegularizer(), config, tiny_stream[1], frozen, live)
    (loss,) = plugin.batch_losses(batch_of(tiny_stream[1]))
    users = [3, 7, 20]
    old, new = dense(tiny_stream[0].train_matrix)[users], dense(now.tocsr())[users]
    assert (new.sum(dim=1) > 0).all() and not torch.equal(old, new[:, : old.shape[1]])
    expected = of_earlier_items(frozen(old)[0], live(new)[0], old)
    torch.testing.assert_close(loss, 0.3 * expected, atol=1e-6, rtol=1e-4)
    # what happens to other items does not matter
    with torch.no_grad():
        never = [item for item in range(1, frozen.n_items) if not old[:, item].any()]
        live.decoder[-1].bias[never] += 3.0
    assert len(never) > 3
    torch.testing.assert_close(plugin.batch_losses(batch_of(tiny_stream[1]))[0], loss, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_it_is_of_the_items_that_the_past_was_predicted_from(make_config, tiny_stream, graph):
    # a block before in which most users do not occur
    block, before = copy(tiny_stream[2]), tiny_stream[1].parts(60)[0]
    block.previous = before
    config, frozen = small_model(make_config, "MultiVAE", before, output_kl_weight=1.0, graph=graph)
    live = grow(frozen, config, block).eval()
    scatter(live, seed=1)
    now = block.train_matrix.tolil()
    now[7] = 0
    now = now.tocsr()
    use_history(live, now)
    users = torch.arange(1, before.n_users)
    batch = Interaction({"user_id": users})
    (loss,) = bound(OutputKLRegularizer(), config, block, frozen, live).batch_losses(batch)
    rows = before.train_so_far if graph == "cumulative" else before.train_matrix
    kept = np.flatnonzero((rows.getnnz(axis=1) > 0) & (now.getnnz(axis=1)[: before.n_users] > 0))
    # one has nothing to read now, and with the block's graph others had nothing then
    assert (0 < len(kept) < len(users) - 1) if graph == "block" else len(kept) == len(users) - 1
    old, new = dense(rows[kept]), dense(now[kept])
    expected = of_earlier_items(frozen(old)[0], live(new)[0], old)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-4)


def test_outputs_of_cdae_are_held_before_their_sigmoid(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "CDAE", output_kl_weight=1.0)
    scatter(live, seed=1)
    use_history(live, tiny_stream[1].train_matrix)
    (loss,) = bound(OutputKLRegularizer(), config, tiny_stream[1], frozen, live).batch_losses(
        batch_of(tiny_stream[1])
    )
    users = torch.tensor([3, 7, 20])
    old, new = (dense(tiny_stream[k].train_matrix)[users] for k in (0, 1))
    expected = of_earlier_items(frozen(old, users), live(new, users), old)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-4)


def test_users_who_have_nothing_to_read_now_are_left_out(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "MultiVAE", output_kl_weight=1.0)
    scatter(live, seed=1)
    now = tiny_stream[1].train_matrix.tolil()
    now[7] = 0
    use_history(live, now.tocsr())
    plugin = bound(OutputKLRegularizer(), config, tiny_stream[1], frozen, live)
    (loss,) = plugin.batch_losses(batch_of(tiny_stream[1]))
    old, new = dense(tiny_stream[0].train_matrix)[[3, 20]], dense(now.tocsr())[[3, 20]]
    torch.testing.assert_close(
        loss, of_earlier_items(frozen(old)[0], live(new)[0], old), atol=1e-6, rtol=1e-4
    )
    (loss,) = plugin.batch_losses(Interaction({"user_id": torch.tensor([7])}))
    assert loss.item() == 0.0


@pytest.mark.slow
def test_pairs_held_are_no_more_than_a_batch_and_drawn_as_before(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "NeuMF", pair_kl_weight=1.0)
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
    config, frozen, live = past_and_present(make_config, tiny_stream, name, pair_kl_weight=0.3)
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
