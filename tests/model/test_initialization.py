from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import nn

from recbole_ccd.model import initialization
from recbole_ccd.model.initialization import (
    embedding_tables,
    initialize_new_entities,
    start_of_new_users,
)
from tests.model.small_models import small_model, state_of


def arrival(pairs, n_users, n_items, n_old_users, n_old_items):
    """What initialisation reads of a block."""
    users, items = np.array(pairs).T
    matrix = csr_matrix((np.ones(len(pairs), dtype=np.float32), (users, items)), shape=(n_users, n_items))
    matrix.data[:] = 1.0
    return SimpleNamespace(
        train_matrix=matrix,
        n_users=n_users,
        n_items=n_items,
        n_old_users=n_old_users,
        n_old_items=n_old_items,
    )


def tables(users, items):
    model = nn.Module()
    model.user_embedding = nn.Embedding.from_pretrained(torch.tensor(users))
    model.item_embedding = nn.Embedding.from_pretrained(torch.tensor(items))
    return model


# users 1, 2, 3 and items 1, 2, 3 are known; users 4, 5 and item 4 arrive
PAIRS = [(1, 1), (1, 2), (2, 1), (3, 2), (3, 4), (4, 1), (4, 4), (5, 4)]


def by_hand(n_popular, two_hop=True):
    nan = [float("nan")] * 2
    model = tables(
        [[9.0, 9.0], [2.0, 0.0], [0.0, 4.0], [6.0, 2.0], nan, nan],
        [[9.0, 9.0], [1.0, 1.0], [3.0, 5.0], [7.0, 7.0], nan],
    )
    before = state_of(model)
    initialize_new_entities(model, arrival(PAIRS, 6, 5, 4, 4), n_popular, two_hop)
    users, items = model.user_embedding.weight, model.item_embedding.weight
    assert torch.equal(users[:4], before["user_embedding.weight"][:4])
    assert torch.equal(items[:4], before["item_embedding.weight"][:4])
    return users[4:].tolist(), items[4:].tolist()


def test_both_terms_by_hand():
    users, items = by_hand(n_popular=2)
    # user 4: half of item 1, plus half the mean of users 1 and 3, who share items and have two rows each
    assert users[0] == [0.5 + 2.0, 0.5 + 0.5]
    # user 5: no earlier item, so a first term of zero; user 3 shares item 4, user 1 fills up as most active
    assert users[1] == [2.0, 0.5]
    # item 4: half of user 3, plus half the mean of items 1 (shared by user 4) and 2 (shared by user 3)
    assert items[0] == [3.0 + 1.0, 1.0 + 1.5]


def test_ties_in_activity_go_to_the_lower_id():
    # of users 1 and 3, both with two rows, user 1 is taken; user 5 shares with user 3 alone
    users, _ = by_hand(n_popular=1)
    assert users == [[0.5 + 1.0, 0.5 + 0.0], [3.0, 1.0]]


def test_no_more_neighbours_than_earlier_ids():
    users, items = by_hand(n_popular=20)
    third = 1 / 3
    expected = [[0.5 + 4 * third, 0.5 + 1.0], [4 * third, 1.0]]
    np.testing.assert_allclose(users, expected, rtol=1e-6)
    np.testing.assert_allclose(items, [[3 + 11 / 6, 1 + 13 / 6]], rtol=1e-6)


def test_one_hop_is_the_mean_over_earlier_neighbours_alone():
    users, items = by_hand(n_popular=2, two_hop=False)
    assert users == [[1.0, 1.0], [0.0, 0.0]]
    assert items == [[6.0, 2.0]]


def naive(matrix, n_old, n_old_other, own, other, n_popular):
    """New rows by loops over the dense matrix."""
    activity = matrix.sum(axis=1)
    rows = []
    for new in range(n_old, len(matrix)):
        known = [j for j in range(1, n_old_other) if matrix[new, j]]
        first = np.mean([other[j] for j in known], axis=0) if known else np.zeros(own.shape[1])
        by_activity = sorted(range(1, n_old), key=lambda v: (-activity[v], v))
        sharers = [v for v in by_activity if (matrix[v] * matrix[new]).any()]
        chosen = (sharers + [v for v in by_activity if v not in sharers])[:n_popular]
        rows.append(0.5 * first + 0.5 * np.mean([own[v] for v in chosen], axis=0))
    return np.array(rows)


@pytest.mark.parametrize(("n_popular", "tile"), [(3, 2048), (7, 4), (100, 2048)])
def test_equal_to_a_loop_on_random_data(monkeypatch, n_popular, tile):
    monkeypatch.setattr(initialization, "ROW_TILE", tile)
    rng = np.random.default_rng(n_popular)
    pairs = [(u, i) for u in range(1, 40) for i in range(1, 30) if rng.random() < 0.08]
    block = arrival(pairs, 40, 30, 25, 18)
    users, items = (rng.normal(size=(n, 4)).astype(np.float32) for n in (40, 30))
    dense = block.train_matrix.toarray()
    expected_users = naive(dense, 25, 18, users, items, n_popular)
    expected_items = naive(dense.T, 18, 25, items, users, n_popular)
    # nothing of a new entity may be read
    users[25:], items[18:] = np.nan, np.nan
    model = tables(users.tolist(), items.tolist())
    initialize_new_entities(model, block, n_popular)
    np.testing.assert_allclose(model.user_embedding.weight[25:].numpy(), expected_users, atol=1e-6)
    np.testing.assert_allclose(model.item_embedding.weight[18:].numpy(), expected_items, atol=1e-6)


def test_tables_that_differ_in_user_and_item_belong_together(tiny_stream, make_config):
    block = tiny_stream[0]
    _, model = small_model(make_config, "NeuMF", block)
    assert embedding_tables(model, block.n_users, block.n_items) == [
        (model.user_mf_embedding, model.item_mf_embedding),
        (model.user_mlp_embedding, model.item_mlp_embedding),
    ]
    assert embedding_tables(model, block.n_users + 1, block.n_items) == []


def test_every_pair_of_tables_is_initialised(tiny_stream, make_config):
    block = tiny_stream[1]
    _, model = small_model(make_config, "NeuMF", block)
    before = state_of(model)
    initialize_new_entities(model, block)
    for name, old, n_old in (("mf", before, block.n_old_users), ("mlp", before, block.n_old_users)):
        key = f"user_{name}_embedding.weight"
        assert torch.equal(model.state_dict()[key][:n_old], old[key][:n_old])
        assert (model.state_dict()[key][n_old:] != old[key][n_old:]).any(dim=1).all()


@pytest.mark.parametrize("name", ["MultiVAE", "CDAE", "DMF"])
def test_models_without_pairs_of_tables_are_left_alone(tiny_stream, make_config, name):
    _, model = small_model(make_config, name, tiny_stream[1])
    before = state_of(model)
    initialize_new_entities(model, tiny_stream[1])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_users_who_join_a_block_start_as_new_users_do():
    users = torch.tensor([[9.0, 9.0], [2.0, 0.0], [0.0, 4.0], [6.0, 2.0]])
    items = torch.tensor([[9.0, 9.0], [1.0, 1.0], [3.0, 5.0], [7.0, 7.0]])
    # users 4 and 5 join; item 4 is not known
    joined = arrival(PAIRS, 6, 5, 4, 4).train_matrix[:, :4].tocsr()
    # user 4: half of item 1, plus half the mean of users 1 and 2, who share it; user 5 has nothing to share,
    # and the most active ones stand in
    assert start_of_new_users(joined, users, items, 2).tolist() == [[0.5 + 0.5, 0.5 + 1.0], [0.5, 1.0]]
    assert start_of_new_users(joined, users, items, 2, two_hop=False).tolist() == [[1.0, 1.0], [0.0, 0.0]]
