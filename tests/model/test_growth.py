import pytest
import torch

from recbole_ccd.model.growth import build, check_growable, copy_prefix, grow
from recbole_ccd.model.lightgcn import normalized_adjacency
from recbole_ccd.utils.errors import ModelError
from tests.model.small_models import SMALL_MODELS, all_scores, small_model, state_of


def corner(tensor, shape):
    return tensor[tuple(slice(0, size) for size in shape)]


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_growth_keeps_what_was_learned_and_scores_all_that_is_known(tiny_stream, make_config, name):
    config, model = small_model(make_config, name, tiny_stream[0])
    for block in (tiny_stream[1], tiny_stream[2]):
        before = state_of(model)
        grown = grow(model, config, block)
        after = grown.state_dict()
        sizes = {model.n_users: block.n_users, model.n_items: block.n_items}
        assert set(after) == set(before)
        for key, old in before.items():
            assert torch.equal(model.state_dict()[key], old), key
            assert torch.equal(corner(after[key], old.shape), old), key
            assert after[key].shape == tuple(sizes.get(size, size) for size in old.shape), key
        shapes = [tuple(value.shape) for value in after.values()]
        assert any(block.n_items in shape for shape in shapes)
        scores = all_scores(grown)
        assert scores.shape == (block.n_users, block.n_items)
        assert torch.isfinite(scores).all()
        model = grown


@pytest.mark.parametrize("name", ["BPR", "NeuMF", "ENMF"])
def test_without_a_graph_old_users_score_old_items_as_before(tiny_stream, make_config, name):
    config, model = small_model(make_config, name, tiny_stream[0])
    before = all_scores(model)
    after = all_scores(grow(model, config, tiny_stream[1]))
    torch.testing.assert_close(after[: len(before), : before.shape[1]], before)


def test_the_grown_model_shares_no_weight_with_the_old_one(tiny_stream, make_config):
    config, model = small_model(make_config, "BPR", tiny_stream[0])
    grown, before = grow(model, config, tiny_stream[1]), state_of(model)
    with torch.no_grad():
        grown.user_embedding.weight.fill_(7.0)
    assert torch.equal(model.user_embedding.weight, before["user_embedding.weight"])


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_a_grown_graph_model_propagates_over_the_configured_graph(tiny_stream, make_config, graph):
    config, model = small_model(make_config, "LightGCN", tiny_stream[0], graph=graph)
    block = tiny_stream[1]
    grown = grow(model, config, block)
    matrix = block.train_matrix if graph == "block" else block.train_so_far
    assert torch.equal(grown.norm_adj_matrix.to_dense(), normalized_adjacency(matrix).to_dense())


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_a_grown_auto_encoder_predicts_from_the_configured_rows(tiny_stream, make_config, graph):
    config, model = small_model(make_config, "MultiVAE", tiny_stream[0], graph=graph)
    block = tiny_stream[1]
    grown = grow(model, config, block)
    matrix = block.train_matrix if graph == "block" else block.train_so_far
    rows = grown.get_rating_matrix(torch.arange(block.n_users))
    assert rows.tolist() == matrix.toarray().tolist()
    assert block.train_matrix.nnz < block.train_so_far.nnz


def test_new_rows_are_random_when_initialisation_is_switched_off(tiny_stream, make_config):
    config, model = small_model(make_config, "BPR", tiny_stream[0])
    block = tiny_stream[1]
    torch.manual_seed(5)
    fresh = build(config, block).user_embedding.weight[model.n_users :]
    torch.manual_seed(5)
    config["new_entity_initialization"] = "random"
    assert torch.equal(grow(model, config, block).user_embedding.weight[model.n_users :], fresh)
    config["new_entity_initialization"] = "two_hop"
    torch.manual_seed(5)
    assert not torch.equal(grow(model, config, block).user_embedding.weight[model.n_users :], fresh)


def test_growth_reads_the_kind_and_size_of_the_initialisation_from_the_configuration(
    tiny_stream, make_config
):
    block = tiny_stream[1]

    def new_rows(**keys):
        config, model = small_model(make_config, "BPR", tiny_stream[0], **keys)
        return grow(model, config, block).user_embedding.weight[model.n_users :]

    one, two = new_rows(new_entity_initialization="one_hop"), new_rows(new_entity_initialization="two_hop")
    few = new_rows(new_entity_initialization="two_hop", n_popular_neighbors=1)
    user = block.n_old_users
    items = [i for i in block.train_matrix[user].indices if i < block.n_old_items]
    old_items = small_model(make_config, "BPR", tiny_stream[0])[1].item_embedding.weight
    torch.testing.assert_close(one[0], old_items[items].mean(dim=0))
    assert not torch.allclose(one, two) and not torch.allclose(two, few)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Pop", "has nothing to grow by gradient steps"),
        ("ItemKNN", "has nothing to grow by gradient steps"),
        ("EASE", "has nothing to grow by gradient steps"),
        ("NCEPLRec", "has nothing to grow by gradient steps"),
        ("NCL", "has a training loop of its own"),
        ("RaCT", "has a training loop of its own"),
        ("NAIS", "has a training loop of its own"),
        ("DiffRec", "has a training loop of its own"),
        ("LDiffRec", "has a training loop of its own"),
        ("SpectralCF", "has parameters that are not per id"),
        ("LINE", "has parameters that are not per id"),
        ("NNCF", "has parameters that are not per id"),
        ("GCMC", "has parameters that are not per id"),
    ],
)
def test_models_that_cannot_follow_a_stream_are_refused(make_config, name, why):
    with pytest.raises(ModelError, match=f"model: {name} {why}.*as teacher take LightGCN"):
        check_growable(make_config(name), "teacher")


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_models_that_can_follow_a_stream_are_not_refused(make_config, name):
    check_growable(make_config(name), "student")


def test_the_prefix_is_copied_in_every_dimension():
    target = {"a": torch.zeros(3, 4), "b": torch.zeros(2)}
    copy_prefix(target, {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
    assert target["a"].tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 0, 0]]
    assert target["b"].tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(3, 2), (4,), (2, 3, 4), (4, 2)])
def test_a_tensor_that_has_shrunk_or_turned_is_an_error(shape):
    with pytest.raises(ModelError, match=r"'w' went from \(3, 3\) to \("):
        copy_prefix({"w": torch.zeros(shape)}, {"w": torch.ones(3, 3)})


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_predictions_of_old_users_survive_a_change_of_graph(tiny_stream, make_config, graph):
    keys = {"graph": graph, "growth": "predictions", "n_layers": 2}
    config, model = small_model(make_config, "LightGCN", tiny_stream[0], **keys)
    before = all_scores(model)
    grown = grow(model, config, tiny_stream[1])
    torch.testing.assert_close(corner(all_scores(grown), before.shape), before, rtol=1e-4, atol=1e-5)
    plain = grow(model, make_config("LightGCN", **{**keys, "growth": "embeddings"}), tiny_stream[1])
    assert not torch.allclose(corner(all_scores(plain), before.shape), before, rtol=1e-2, atol=1e-2)


def test_an_odd_number_of_layers_cannot_keep_predictions(make_config):
    config = make_config("LightGCN", growth="predictions", n_layers=1)
    with pytest.raises(ModelError, match="n_layers is 1 .* even"):
        check_growable(config, "student")
