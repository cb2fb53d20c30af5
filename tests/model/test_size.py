"""What counts as the size of a model, parameters or not."""

import numpy as np
import pytest
from torch import nn

from recbole_ccd.model.growth import build
from recbole_ccd.model.size import FITTED, size_of


@pytest.fixture
def built(make_config, tiny_stream):
    """A model of the base block, fitted as far as its constructor does it, and the block."""
    return lambda model, **keys: (build(make_config(model, **keys), tiny_stream[0]), tiny_stream[0])


def test_parameters_frozen_ones_too_and_bytes_of_the_state():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    # 6 + 2 of the layer, 2 + 2 of the normalisation; its two statistics and a count of 8 bytes besides
    assert size_of(model) == {"parameters": 12, "bytes": 4 * (12 + 4) + 8}


def test_ease_is_a_matrix_of_items(built):
    model, block = built("EASE")
    assert size_of(model) == {"parameters": block.n_items**2, "bytes": model.item_similarity.nbytes}


@pytest.mark.parametrize(("method", "side"), [("item", "n_items"), ("user", "n_users")])
def test_item_knn_is_its_neighbours(built, method, side):
    model, block = built("ItemKNN", k=5, knn_method=method)
    size, entries = size_of(model), np.count_nonzero(model.w.toarray())
    assert size["parameters"] == entries and 0 < entries <= 5 * getattr(block, side)
    # float32 values with int32 columns, and where each row begins
    assert size["bytes"] == 8 * entries + 4 * (getattr(block, side) + 1)


def test_slim_keeps_what_is_not_zero(built):
    model, block = built("SLIMElastic")
    assert (
        size_of(model)["parameters"] == np.count_nonzero(model.item_similarity.toarray()) < block.n_items**2
    )


def test_factors_counts_and_nothing(built):
    model, block = built("NCEPLRec", rank=4)
    assert size_of(model)["parameters"] == 4 * (block.n_users + block.n_items)
    model, block = built("ADMMSLIM")
    assert size_of(model)["parameters"] == block.n_items**2 + block.n_items
    model, block = built("Pop")
    assert size_of(model)["parameters"] == block.n_items
    assert size_of(built("Random")[0]) == {"parameters": 0, "bytes": 0}


def test_every_model_without_steps_is_known(make_config):
    from tests.strategy.test_full_batch import WITHOUT_STEPS

    assert sorted(FITTED) == WITHOUT_STEPS
