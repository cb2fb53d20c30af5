"""Graph models on a part of their graph: as if they had been built on it, with the same weights."""

import pytest
import torch

from recbole_ccd.data.block import reads_graph
from recbole_ccd.model.graph_part import drawn_pairs, graph_of, without, without_pairs
from recbole_ccd.model.scoring import required_factors
from recbole_ccd.utils.seeding import torch_generator
from tests.model.small_models import small_model, state_of


@pytest.mark.parametrize("name", ["LightGCN", "NGCF"])
def test_it_is_the_model_built_on_that_part(make_config, tiny_stream, name):
    block, keys = tiny_stream[0], {"message_dropout": 0.0} if name == "NGCF" else {}
    _, whole = small_model(make_config, name, block, **keys)
    graph, before = graph_of(whole), required_factors(whole)
    assert ((graph > 0) != (block.train_matrix > 0)).nnz == 0
    piece = block.parts(2)[0].train_matrix.copy()
    piece.resize(graph.shape)
    part = without(whole, without_pairs(graph, piece))
    assert ((graph_of(part) > 0) != (piece > 0)).nnz == 0
    _, built = small_model(make_config, name, block.parts(2)[0], **keys)
    built.load_state_dict(
        {key: value[: len(built.state_dict()[key])] for key, value in state_of(whole).items()}
    )
    for found, other, old in zip(
        required_factors(part), required_factors(built), required_factors(whole), strict=True
    ):
        torch.testing.assert_close(found[: len(other)], other)
        assert not torch.allclose(found, old)
    assert all(torch.equal(*pair) for pair in zip(before, required_factors(whole), strict=True))
    required_factors(part)[0].sum().backward()
    assert whole.user_embedding.weight.grad is not None
    assert without(whole, drawn_pairs(graph, 0.0, torch_generator(1))) is whole


def test_a_pair_that_counts_twice_goes_on_to(make_config, tiny_stream):
    _, whole = small_model(make_config, "SGL", tiny_stream[0], n_layers=1)
    graph = graph_of(whole)
    dropped = drawn_pairs(graph, 0.3, torch_generator(1))
    left = torch.from_numpy(without_pairs(graph, dropped).toarray())
    assert (graph.data > 1).any() and (left > 1).any()
    scale = (left.sum(1) + 1e-7)[:, None].rsqrt() * (left.sum(0) + 1e-7)[None].rsqrt()
    ego = whole.user_embedding.weight, whole.item_embedding.weight
    users, _ = required_factors(without(whole, dropped))
    torch.testing.assert_close(users, (ego[0] + (left * scale) @ ego[1]) / 2)


def test_the_graph_is_normalised_anew(make_config, tiny_stream):
    _, model = small_model(make_config, "LightGCN", tiny_stream[0], n_layers=1)
    graph = graph_of(model)
    dropped = drawn_pairs(graph, 0.3, torch_generator(1))
    left = without_pairs(graph, dropped)
    assert dropped.nnz == round(0.3 * graph.nnz) and left.nnz + dropped.nnz == graph.nnz
    users, items = required_factors(without(model, dropped))
    dense = torch.from_numpy(left.toarray())
    scale = dense.sum(1).clamp(min=1)[:, None].rsqrt() * dense.sum(0).clamp(min=1)[None].rsqrt()
    ego = model.user_embedding.weight, model.item_embedding.weight
    torch.testing.assert_close(users, (ego[0] + (dense * scale) @ ego[1]) / 2)
    torch.testing.assert_close(items, (ego[1] + (dense * scale).T @ ego[0]) / 2)


def test_draws_are_of_their_seed(make_config, tiny_stream):
    graph = tiny_stream[0].train_matrix
    one, other, third = (drawn_pairs(graph, 0.2, torch_generator(seed)) for seed in (1, 1, 2))
    assert (one != other).nnz == 0 and (one != third).nnz > 0
    assert without_pairs(graph, drawn_pairs(graph, 0.0, torch_generator(1))).nnz == graph.nnz
    assert without_pairs(graph, drawn_pairs(graph, 1.0, torch_generator(1))).nnz == 0


def test_who_reads_a_graph(make_config):
    known = {name: reads_graph(make_config(name).model_class) for name in ("LightGCN", "SGL", "BPR", "NeuMF")}
    assert known == {"LightGCN": True, "SGL": True, "BPR": False, "NeuMF": False}
