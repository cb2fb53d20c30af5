import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.model import scoring
from recbole_ccd.model.scoring import (
    clear_cache,
    factors,
    has_factors,
    is_autoencoder,
    score_pairs,
    score_rows,
)
from tests.model.small_models import SMALL_MODELS, scatter, small_model

INNER_PRODUCT = ["BPR", "LightGCN", "NGCF", "SGL", "ENMF"]
# score_pairs leaves out the sigmoid that predict has
SIGMOID_PAIRS = ["NeuMF", "DMF"]


@pytest.fixture(params=SMALL_MODELS)
def model(request, tiny_stream, make_config):
    return small_model(make_config, request.param, tiny_stream[0])[1]


def pairs(model, n=50):
    generator = torch.Generator().manual_seed(1)
    users, items = (
        torch.randint(1, high, (n,), generator=generator) for high in (model.n_users, model.n_items)
    )
    return users, items


def name_of(model):
    return type(model).__name__


def test_rows_are_those_of_full_sort_predict(model):
    users = torch.tensor([3, 1, 3, 7])
    with torch.no_grad():
        rows = score_rows(model, users)
        if name_of(model) == "NeuMF":
            items = torch.arange(model.n_items)
            expected = torch.stack([model(u.expand(len(items)), items) for u in users])
        else:
            expected = model.full_sort_predict(Interaction({"user_id": users})).view(4, model.n_items)
    assert rows.shape == (4, model.n_items)
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(rows[0], rows[1]) and torch.equal(rows[0], rows[2])


def test_pairs_are_those_of_predict(model):
    users, items = pairs(model)
    with torch.no_grad():
        scores = score_pairs(model, users, items)
        expected = model.predict(Interaction({"user_id": users, "item_id": items}))
    assert scores.shape == (50,)
    scores = torch.sigmoid(scores) if name_of(model) in SIGMOID_PAIRS else scores
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_factors_multiply_to_the_scores_or_are_none(model):
    vectors = factors(model)
    assert has_factors(type(model)) == (name_of(model) in INNER_PRODUCT) == (vectors is not None)
    if vectors is not None:
        users = torch.arange(model.n_users)
        with torch.no_grad():
            expected = model.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)
        torch.testing.assert_close(vectors[0] @ vectors[1].T, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("what", ["rows", "pairs"])
def test_gradients_reach_the_weights_past_any_cache(model, what):
    users, items = pairs(model)
    if name_of(model) != "DMF":
        # graph models would answer from what they keep here; DMF does, as RecBole made it
        with torch.no_grad():
            score_rows(model, users)
    scores = (
        score_rows(model, users)[torch.arange(50), items]
        if what == "rows"
        else score_pairs(model, users, items)
    )
    scores.sum().backward()
    reached = [p for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(reached) >= 2


@pytest.mark.parametrize("name", ["LightGCN", "SGL", "NGCF"])
def test_the_ego_layer_is_the_parameters_themselves(tiny_stream, make_config, name):
    _, model = small_model(make_config, name, tiny_stream[0])
    users, items = factors(model, "ego")
    assert users is model.user_embedding.weight and items is model.item_embedding.weight
    assert not torch.equal(factors(model)[0], users)


def test_rows_of_a_model_of_pairs_do_not_depend_on_the_batching(tiny_stream, make_config, monkeypatch):
    _, model = small_model(make_config, "NeuMF", tiny_stream[0])
    users = torch.arange(model.n_users)
    with torch.no_grad():
        whole = score_rows(model, users)
        # room for one user and a half
        monkeypatch.setattr(scoring, "PAIR_BATCH", model.n_items * 3 // 2)
        torch.testing.assert_close(score_rows(model, users), whole)


@pytest.mark.parametrize(
    ("name", "cache"), [("LightGCN", "restore_item_e"), ("SGL", "restore_item_e"), ("DMF", "i_embedding")]
)
def test_clearing_the_cache_makes_predictions_new(tiny_stream, make_config, name, cache):
    _, model = small_model(make_config, name, tiny_stream[0])
    users = torch.arange(1, model.n_users)
    with torch.no_grad():
        old = score_rows(model, users)
        assert getattr(model, cache) is not None
        scatter(model, seed=4)
        clear_cache(model)
        assert getattr(model, cache) is None
        assert not torch.allclose(score_rows(model, users), old)


def test_what_a_traditional_model_fitted_is_no_cache(tiny_stream, make_config):
    config = make_config("Pop")
    model = config.model_class(config, tiny_stream[0].train)
    fitted = {name: getattr(model, name) for name in model.other_parameter_name}
    clear_cache(model)
    assert fitted and all(getattr(model, name) is value for name, value in fitted.items())


def test_auto_encoders_are_recognised(tiny_stream, make_config):
    readers = [
        name for name in SMALL_MODELS if is_autoencoder(small_model(make_config, name, tiny_stream[0])[1])
    ]
    assert readers == ["MultiVAE", "RecVAE", "CDAE"]
