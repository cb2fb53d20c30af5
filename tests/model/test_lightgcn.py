import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
from scipy.sparse import coo_matrix

from recbole_ccd.compat import with_todays_scipy
from recbole_ccd.model import lightgcn
from recbole_ccd.model.duplicate import duplicate
from recbole_ccd.model.lightgcn import LightGCN, normalized_adjacency, propagate
from recbole_ccd.model.scoring import clear_cache, score_rows
from tests.model.small_models import scatter, small_model


def test_normalised_graph_by_hand():
    # user 1 has items 1 and 2, user 2 has item 2 twice
    pairs = coo_matrix((np.ones(4), ([1, 1, 2, 2], [1, 2, 2, 2])), shape=(3, 3))
    graph = normalized_adjacency(pairs).to_dense()
    half = 0.5**0.5
    expected = torch.zeros(6, 6)
    expected[1, 4] = expected[4, 1] = half
    expected[1, 5] = expected[5, 1] = 0.5
    expected[2, 5] = expected[5, 2] = half
    torch.testing.assert_close(graph, expected)
    assert pairs.data.tolist() == [1, 1, 1, 1]


def test_normalised_graph_equals_the_dense_formula():
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 12, 60), rng.integers(0, 9, 60)
    matrix = coo_matrix((rng.random(60) + 0.5, (users, items)), shape=(12, 9))
    dense = np.zeros((21, 21))
    dense[users, 12 + items] = dense[12 + items, users] = 1
    degree = dense.sum(axis=1)
    scale = np.diag(np.divide(1, np.sqrt(degree), out=np.zeros(21), where=degree > 0))
    graph = normalized_adjacency(matrix)
    assert graph.layout == torch.sparse_csr and graph.dtype == torch.float32
    np.testing.assert_allclose(graph.to_dense().numpy(), scale @ dense @ scale, atol=1e-6)


class Theirs(RecBoleLightGCN):
    """RecBole's, whose graph any version of scipy can build."""

    get_norm_adj_mat = with_todays_scipy(RecBoleLightGCN.get_norm_adj_mat)


@pytest.fixture(scope="module", params=[1, 3])
def twins(request, tiny_stream, make_config):
    """Ours and RecBole's, with the same weights on the same block."""
    config, ours = small_model(make_config, "LightGCN", tiny_stream[0], n_layers=request.param)
    theirs = Theirs(config, tiny_stream[0].model_data(config))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_it_is_ours_that_the_configuration_builds(twins):
    assert type(twins[0]) is LightGCN and type(twins[1]) is Theirs


def test_forward_equals_recboles(twins):
    for ours, theirs in zip(twins[0](), twins[1](), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def draw_batch(block, size=64, seed=3):
    """Users, items and negatives at random; with 64 of them some are repeated."""
    generator = torch.Generator().manual_seed(seed)
    users, items, negatives = (
        torch.randint(1, n, (size,), generator=generator)
        for n in (block.n_users, block.n_items, block.n_items)
    )
    assert len(users.unique()) < size and len(torch.cat([items, negatives]).unique()) < 2 * size
    return Interaction({"user_id": users, "item_id": items, "neg_item_id": negatives})


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in model.parameters()]


def assert_losses_equal(ours, theirs, batch):
    (our_loss, our_gradients), (loss, gradients) = (loss_and_gradients(m, batch) for m in (ours, theirs))
    torch.testing.assert_close(our_loss.sum(), loss.sum(), atol=1e-6, rtol=1e-6)
    for one, other in zip(our_gradients, gradients, strict=True):
        assert other.abs().max() > 1e-4
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    return our_loss, our_gradients


def test_loss_and_gradients_equal_recboles(twins, tiny_stream):
    assert_losses_equal(*twins, draw_batch(tiny_stream[0]))


@pytest.mark.parametrize(
    "keys", [{"reg_weight": 0}, {"reg_weight": 0.5}, {"reg_weight": 0.5, "require_pow": True}]
)
def test_the_regularised_loss_equals_recboles(tiny_stream, make_config, keys):
    block, batch = tiny_stream[0], draw_batch(tiny_stream[0])
    config, ours = small_model(make_config, "LightGCN", block, **keys)
    theirs = Theirs(config, block.model_data(config))
    theirs.load_state_dict(ours.state_dict())
    assert ours.reg_weight == keys["reg_weight"] and ours.require_pow is keys.get("require_pow", False)
    loss, _ = assert_losses_equal(ours, theirs, batch)
    _, plain = small_model(make_config, "LightGCN", block, reg_weight=0)
    difference = loss - plain.calculate_loss(batch)
    assert difference > 0.1 if keys["reg_weight"] else difference == 0


def test_one_pair_repeated_all_over_the_batch(twins):
    ones = torch.ones(5, dtype=torch.int64)
    assert_losses_equal(
        *twins, Interaction({"user_id": ones, "item_id": 2 * ones, "neg_item_id": 2 * ones + ones})
    )


@pytest.fixture
def threads():
    """Sets the number of threads and restores it."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_repetition_is_bit_identical_on_any_number_of_threads(twins, tiny_stream, threads):
    batch = draw_batch(tiny_stream[0], size=500)
    results = []
    for n_threads in (1, 1, 2):
        threads(n_threads)
        results.append(loss_and_gradients(twins[0], batch))
    for loss, gradients in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert all(torch.equal(a, b) for a, b in zip(gradients, results[0][1], strict=True))


def test_propagate_equals_the_dense_product():
    rng = np.random.default_rng(4)
    # users 0, 13, 14 and item 0 have no interaction
    users, items = rng.integers(1, 13, 70), rng.integers(1, 9, 70)
    graph = normalized_adjacency(coo_matrix((np.ones(70), (users, items)), shape=(15, 9)))
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(4))
    before = x.clone()
    product = propagate(graph, x)
    torch.testing.assert_close(product, graph.to_dense() @ x, atol=1e-6, rtol=1e-5)
    assert torch.equal(x, before) and not product[[0, 13, 14, 15]].any() and product[1:13].any(dim=1).all()


def test_propagate_without_any_interaction_is_zero():
    graph = normalized_adjacency(coo_matrix((3, 4), dtype=np.float32))
    assert torch.equal(propagate(graph, torch.ones(7, 2)), torch.zeros(7, 2))


def test_rows_equal_forward_and_the_weights(twins):
    model = twins[0]
    users, items, others = torch.tensor([4, 1, 4, 0]), torch.tensor([2, 2, 7]), torch.tensor([0])
    all_users, all_items = model()
    final, own = model.rows(users, items, others)
    for got, expected in zip(final, (all_users[users], all_items[items], all_items[others]), strict=True):
        assert torch.equal(got, expected)
    weights = model.user_embedding.weight, model.item_embedding.weight
    for got, expected in zip(own, (weights[0][users], weights[1][items], weights[1][others]), strict=True):
        assert torch.equal(got, expected)
    ((exclusive,), (own_alone,)) = model.rows(users)
    assert torch.equal(exclusive, final[0]) and torch.equal(own_alone, own[0])


@pytest.mark.parametrize("outputs", [("final",), ("own",), ("final", "own")])
def test_gradients_of_rows_equal_dense_autograd(twins, outputs):
    model = twins[0]
    generator = torch.Generator().manual_seed(5)
    users, items, others = (
        torch.randint(n, (40,), generator=generator) for n in (model.n_users, model.n_items, model.n_items)
    )
    weights = {name: [torch.randn(40, 8, generator=generator) for _ in range(3)] for name in ("final", "own")}

    def loss_of(final, own):
        rows = {"final": final, "own": own}
        return sum((r * w).sum() for name in outputs for r, w in zip(rows[name], weights[name], strict=True))

    parameters = [model.user_embedding.weight, model.item_embedding.weight]
    gradients = torch.autograd.grad(loss_of(*model.rows(users, items, others)), parameters)
    twins_of = [p.detach().clone().requires_grad_() for p in parameters]
    graph, layers = model.norm_adj_matrix.to_dense(), [torch.cat(twins_of)]
    for _ in range(model.n_layers):
        layers.append(graph @ layers[-1])
    nodes = users, items + model.n_users, others + model.n_users
    mean = torch.stack(layers).mean(0)
    expected = torch.autograd.grad(
        loss_of([mean[ids] for ids in nodes], [layers[0][ids] for ids in nodes]), twins_of
    )
    for got, wanted in zip(gradients, expected, strict=True):
        assert wanted.abs().max() > 0.1
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_gradients_of_layers_equal_dense_autograd(twins):
    model = twins[0]
    parameters = [model.user_embedding.weight, model.item_embedding.weight]
    factor = torch.randn(model.n_users + model.n_items, 8, generator=torch.Generator().manual_seed(6))
    gradients = torch.autograd.grad((model.layers()[-1] * factor).sum(), parameters)
    # the powers of the graph are symmetric
    expected = torch.linalg.matrix_power(model.norm_adj_matrix.to_dense(), model.n_layers) @ factor
    torch.testing.assert_close(torch.cat(gradients), expected, atol=1e-6, rtol=1e-5)


def test_gradients_add_up_over_two_calls_of_rows(twins):
    model = twins[0]
    parameters = [model.user_embedding.weight, model.item_embedding.weight]
    users, items = torch.tensor([1, 2, 2]), torch.tensor([3, 3, 5])

    def loss():
        (user, item), _ = model.rows(users, items)
        return (user * item).sum()

    once, twice = torch.autograd.grad(loss(), parameters), torch.autograd.grad(loss() + loss(), parameters)
    for one, two in zip(once, twice, strict=True):
        torch.testing.assert_close(two, 2 * one)


def test_layers_are_the_powers_of_the_graph(twins):
    model = twins[0]
    graph, ego = model.norm_adj_matrix.to_dense(), model.get_ego_embeddings()
    layers = model.layers()
    assert len(layers) == model.n_layers + 1
    for layer in layers:
        torch.testing.assert_close(layer, ego, atol=1e-6, rtol=0)
        ego = graph @ ego


@pytest.mark.parametrize("mode", [True, False])
def test_a_change_of_mode_drops_the_cache(tiny_stream, make_config, mode):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0])
    with torch.no_grad():
        score_rows(model, torch.tensor([1]))
    assert model.restore_user_e is not None and model.restore_item_e is not None
    assert model.train(mode) is model and model.training is mode
    assert model.restore_user_e is None and model.restore_item_e is None


def test_predictions_are_right_after_the_weights_change(tiny_stream, make_config):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0])
    users = torch.arange(model.n_users)
    with torch.no_grad():
        old = score_rows(model, users)
        scatter(model, seed=9)
        user_vectors, item_vectors = model()
        assert torch.equal(score_rows(model, users), old)
        clear_cache(model)
        torch.testing.assert_close(score_rows(model, users), user_vectors @ item_vectors.T)


@pytest.mark.parametrize("size", [8, 40])
def test_a_loss_after_a_prediction_by_the_same_weights_needs_no_propagation(
    tiny_stream, make_config, monkeypatch, size
):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0], embedding_size=size)
    batch, asked = draw_batch(tiny_stream[0]), []
    loss, gradients = loss_and_gradients(model, batch)
    with torch.no_grad():
        model.predict(batch)
    monkeypatch.setattr(lightgcn, "propagate_to", lambda *_: asked.append("some rows"))
    again, same = loss_and_gradients(model, batch)
    assert torch.equal(loss, again) and not asked
    assert all(torch.equal(*pair) for pair in zip(gradients, same, strict=True))
    scatter(model, seed=9)
    with pytest.raises(AttributeError):
        model.calculate_loss(batch)
    assert asked


@pytest.mark.parametrize("change", ["weights", "graph"])
def test_what_a_prediction_has_left_is_not_read_after_a_change(tiny_stream, make_config, change):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0])
    batch = draw_batch(tiny_stream[0])
    before = model.calculate_loss(batch)
    with torch.no_grad():
        model.predict(batch)
    if change == "weights":
        # as a fused optimizer writes: no counter tells
        model.item_embedding.weight.data += 1.0
    else:
        model.norm_adj_matrix = normalized_adjacency(
            tiny_stream[1].train_matrix[: model.n_users, : model.n_items]
        )
    found = model.calculate_loss(batch)
    assert torch.equal(found, model.calculate_loss(batch)) and not torch.equal(found, before)


def test_a_prediction_with_gradients_leaves_nothing(tiny_stream, make_config):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0])
    batch = draw_batch(tiny_stream[0])
    scores = model.predict(batch)
    assert scores.requires_grad and model._known is None
    with torch.no_grad():
        assert torch.equal(model.predict(batch), scores)
    model.train()
    assert model._known is None


def read_by_all(model, batch):
    """What several parts of a loss read in a step: some rows twice, layers, and all final embeddings."""
    users, items = batch["user_id"], batch["item_id"]
    (user, item), (own, _) = model.rows(users, items)
    layer, (everyone, _) = model.layers(1)[1], model()
    again = model.rows(items % model.n_users, users % model.n_items)[0][0]
    parts = (user * item, own, layer, everyone, again)
    return sum((part * torch.arange(part.numel()).reshape(part.shape).cos()).sum() for part in parts)


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("size", [8, 40])
def test_a_shared_propagation_gives_the_same_values_and_gradients(
    tiny_stream, make_config, monkeypatch, size, predicted
):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0], embedding_size=size)
    batch = draw_batch(tiny_stream[0])

    made, product = [], lightgcn.propagate

    def value_and_gradients():
        value = read_by_all(model, batch)
        return value, torch.autograd.grad(value, (model.user_embedding.weight, model.item_embedding.weight))

    monkeypatch.setattr(lightgcn, "propagate", lambda *given: made.append(1) or product(*given))
    for seed in (1, 2):
        scatter(model, seed=seed)
        model.shares_propagation = False
        expected, gradients = value_and_gradients()
        model.shares_propagation = True
        if predicted:
            with torch.no_grad():
                model.predict(batch)
        made.clear()
        found, shared = value_and_gradients()
        # there and back; a prediction has been there
        assert len(made) == model.n_layers * (1 if predicted else 2)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        for gradient, other in zip(gradients, shared, strict=True):
            torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-5)


def test_what_a_step_shares_is_neither_copied_nor_kept(tiny_stream, make_config):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0])
    model.shares_propagation = True
    model.calculate_loss(draw_batch(tiny_stream[0]))
    assert model._shared is not None and duplicate(model)._shared is None
    with torch.no_grad():
        assert not model()[0].requires_grad
    model.eval()
    assert model._shared is None
