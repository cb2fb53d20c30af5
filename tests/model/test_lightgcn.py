import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
from scipy.sparse import coo_matrix

from recbole_ccd.model.lightgcn import LightGCN, normalized_adjacency
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


@pytest.fixture(scope="module", params=[1, 3])
def twins(request, tiny_stream, make_config):
    """Ours and RecBole's, with the same weights on the same block."""
    config, ours = small_model(make_config, "LightGCN", tiny_stream[0], n_layers=request.param)
    theirs = RecBoleLightGCN(config, tiny_stream[0].model_data(config))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_it_is_ours_that_the_configuration_builds(twins):
    assert type(twins[0]) is LightGCN and type(twins[1]) is RecBoleLightGCN


def test_forward_equals_recboles(twins):
    for ours, theirs in zip(twins[0](), twins[1](), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_loss_and_gradients_equal_recboles(twins, tiny_stream):
    generator = torch.Generator().manual_seed(3)

    def draw(n):
        return torch.randint(1, n, (64,), generator=generator)

    block = tiny_stream[0]
    batch = Interaction(
        {"user_id": draw(block.n_users), "item_id": draw(block.n_items), "neg_item_id": draw(block.n_items)}
    )
    gradients, losses = [], []
    for model in twins:
        model.zero_grad()
        losses.append(model.calculate_loss(batch))
        losses[-1].backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=0)
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.abs().max() > 1e-4
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


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
