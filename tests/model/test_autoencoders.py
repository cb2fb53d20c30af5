"""Sparse rows give what RecBole's dense ones give."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model import general_recommender
from torch.nn.functional import linear, normalize

from recbole_ccd.model import autoencoders
from recbole_ccd.model.autoencoders import MultiDAE, MultiVAE, first_layer, softmax_loss, sparse_rows
from recbole_ccd.model.growth import build, copy_prefix
from recbole_ccd.model.history import use_history
from recbole_ccd.model.pruning import pruned
from tests.model.small_models import small_model, state_of


@pytest.fixture
def wide(monkeypatch):
    """Lets every catalogue count as a wide one."""
    monkeypatch.setattr(autoencoders, "WIDE", 0)


def both(make_config, name, block, **keys):
    """Our model and RecBole's, with the same weights, which read the same rows."""
    config = make_config(name, mlp_hidden_size=[16], latent_dimension=8, **keys)
    ours = build(config, block)
    theirs = getattr(general_recommender, name)(config, block.train)
    theirs.load_state_dict(ours.state_dict())
    rows = block.train_matrix.copy()
    rows.data[::3] = 0.5
    for model in (ours, theirs):
        use_history(model, rows)
    return ours, theirs


@pytest.mark.parametrize("name", ["MultiVAE", "MultiDAE"])
def test_a_narrow_catalogue_has_recboles_bits(make_config, tiny_stream, name):
    ours, theirs = both(make_config, name, tiny_stream[1], dropout_prob=0.5)
    batch = Interaction({"user_id": torch.arange(0, 40), "item_id": torch.arange(40, 0, -1)})
    found = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(3)
        loss = model.calculate_loss(batch)
        loss.backward()
        gradients = [value.grad for value in model.parameters()]
        with torch.no_grad():
            scores = [model.eval().full_sort_predict(batch), model.predict(batch)]
        found.append([loss, *gradients, *scores])
    assert not ours.is_wide
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert all(value.is_contiguous() for value in ours.parameters())


@pytest.mark.parametrize("name", ["MultiVAE", "MultiDAE"])
def test_dense_rows_will_do_as_well(make_config, tiny_stream, name, wide):
    ours, theirs = both(make_config, name, tiny_stream[1])
    users = torch.arange(1, 30)
    with torch.no_grad():
        found = [model.eval()(model.get_rating_matrix(users)) for model in (ours, theirs)]
        sparse = ours(ours.sparse_rows_of(users))
    mine, other, third = (one if isinstance(one, tuple) else (one,) for one in (*found, sparse))
    for one, two, three in zip(mine, other, third, strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(three, two)


@pytest.mark.parametrize("name", ["MultiVAE", "MultiDAE"])
def test_loss_gradients_and_scores_are_recboles(make_config, tiny_stream, name, wide):
    ours, theirs = both(make_config, name, tiny_stream[1], dropout_prob=0.0)
    assert isinstance(ours, MultiVAE | MultiDAE)
    batch = Interaction({"user_id": torch.arange(0, 40)})
    losses = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(3)
        losses.append(model.calculate_loss(batch))
        losses[-1].backward()
    assert torch.allclose(*losses, rtol=1e-6)
    for (key, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine.grad, other.grad, rtol=1e-4, atol=1e-7), key
    with torch.no_grad():
        scores = [model.eval().full_sort_predict(batch) for model in (ours, theirs)]
    assert torch.allclose(*scores, rtol=1e-5, atol=1e-6)
    pairs = Interaction({"user_id": torch.arange(1, 9), "item_id": torch.arange(8, 0, -1)})
    with torch.no_grad():
        assert torch.allclose(ours.predict(pairs), theirs.predict(pairs), rtol=1e-5, atol=1e-6)


def test_dropout_has_the_distribution_of_recboles():
    torch.manual_seed(1)
    layer = torch.nn.Linear(6, 4)
    items, weights = torch.tensor([[1, 3, 5], [2, 0, 0]]), torch.tensor([[1.0, 0.5, 1.0], [1.0, 0.0, 0.0]])
    dense = torch.zeros(2, 6)
    dense[0, [1, 3, 5]], dense[1, 2] = torch.tensor([1.0, 0.5, 1.0]), 1.0
    rows = sparse_rows(items, weights)
    assert torch.allclose(first_layer(layer, rows, 0.3, False), layer(normalize(dense)), atol=1e-6)
    drawn = torch.stack([first_layer(layer, rows, 0.3, True) for _ in range(2000)])
    # each is one of the sums of what is left, as often as entries are left
    kept = normalize(dense)[0, [1, 3, 5]] / 0.7
    left = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    sums = linear(left * kept, layer.weight[:, [1, 3, 5]], layer.bias)
    which = torch.cdist(drawn[:, 0], sums).min(dim=1)
    assert which.values.max() < 1e-3
    chance = 0.7 ** left.sum(1) * 0.3 ** (3 - left.sum(1))
    share = torch.bincount(which.indices, minlength=8) / 2000
    assert (share - chance).abs().max() < 0.04


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_softmax_loss_is_that_of_dense_rows(scale):
    generator = torch.Generator().manual_seed(4)
    logits = (torch.randn(3, 7, generator=generator, dtype=torch.double) * scale).requires_grad_()
    items, weights = torch.tensor([[1, 3, 6], [2, 0, 0], [0, 0, 0]]), torch.zeros(3, 3, dtype=torch.double)
    weights[0], weights[1, 0] = torch.tensor([1.0, 0.5, 1.0]), 0.1
    rows, dense = sparse_rows(items, weights), torch.zeros(3, 7, dtype=torch.double)
    dense[0, items[0]], dense[1, 2] = weights[0], 0.1
    expected = -(logits.log_softmax(dim=1) * dense).sum(dim=1).mean()
    found = softmax_loss(logits, rows)
    torch.testing.assert_close(found, expected)
    # of a third of it, as a weighted term
    gradients = [torch.autograd.grad(one / 3, logits)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_users_without_rows_get_the_bias():
    layer = torch.nn.Linear(6, 4)
    rows = sparse_rows(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3))
    assert torch.equal(first_layer(layer, rows, 0.5, True), layer.bias.expand(2, 4))


def test_a_wide_model_is_pruned_as_a_narrow_one(make_config, tiny_stream, monkeypatch):
    copies = []
    for least in (0, 10**9):
        monkeypatch.setattr(autoencoders, "WIDE", least)
        _, model = small_model(make_config, "MultiVAE", tiny_stream[0])
        copies.append(state_of(pruned(model, 0.25)))
    assert all(torch.equal(copies[0][key], copies[1][key]) for key in copies[1])


def test_a_model_becomes_wide_as_it_grows(make_config, tiny_stream, monkeypatch):
    before, now = tiny_stream[0], tiny_stream[1]
    monkeypatch.setattr(autoencoders, "WIDE", now.n_items)
    assert before.n_items < now.n_items
    config, small = small_model(make_config, "MultiVAE", before)
    grown = build(config, now)
    copy_prefix(grown.state_dict(), small.state_dict())
    assert grown.is_wide and not small.is_wide
    weight, old = grown.encoder[0].weight, small.encoder[0].weight
    assert weight.t().is_contiguous() and torch.equal(weight[:, : before.n_items], old)


def test_weights_of_an_item_lie_together(make_config, tiny_stream, wide):
    _, model = small_model(make_config, "MultiVAE", tiny_stream[0])
    weight = model.encoder[0].weight
    assert weight.t().is_contiguous() and weight.shape[1] == tiny_stream[0].n_items
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    model.calculate_loss(Interaction({"user_id": torch.arange(1, 9)})).backward()
    optimizer.step()
    assert model.encoder[0].weight.t().is_contiguous()
