"""A block that learns earlier interactions again."""

from collections import Counter

import numpy as np
import pytest

from recbole_ccd.data.splitting import TRAIN
from tests.data.test_stream import masked_and_wanted, pairs


@pytest.fixture
def earlier(tiny_stream):
    """Every third train row of the blocks before block 2."""
    return np.concatenate(tiny_stream[2].earlier_train_rows)[::3]


@pytest.fixture
def mixed(tiny_stream, earlier):
    return tiny_stream[2].with_earlier(earlier)


def rows_of(stream, rows):
    feat = stream.dataset.inter_feat
    return list(zip(feat["user_id"][rows].tolist(), feat["item_id"][rows].tolist(), strict=True))


def nonzeros(matrix):
    return set(zip(*(ids.tolist() for ids in matrix.nonzero()), strict=True))


def test_earlier_rows_are_the_train_parts_before(tiny_stream):
    assert tiny_stream[0].earlier_train_rows == []
    for part, block in zip(tiny_stream[2].earlier_train_rows, tiny_stream, strict=False):
        assert rows_of(tiny_stream, part) == pairs(block.train)


def test_it_trains_on_the_earlier_rows_and_its_own(tiny_stream, earlier, mixed):
    block = tiny_stream[2]
    assert pairs(mixed.train) == rows_of(tiny_stream, earlier) + pairs(block.train)
    assert pairs(mixed.valid) == pairs(block.valid) and pairs(mixed.test) == pairs(block.test)
    for name in ("index", "previous", "n_users", "n_items", "n_old_users", "n_old_items"):
        assert getattr(mixed, name) == getattr(block, name)
    assert len(mixed.train) == len(earlier) + len(block.train) > len(block.train)


def test_matrices_hold_the_earlier_rows(tiny_stream, earlier, mixed):
    block, added = tiny_stream[2], set(rows_of(tiny_stream, earlier))
    assert nonzeros(mixed.train_matrix) == added | set(pairs(block.train))
    assert nonzeros(mixed.recent_train_matrix) == nonzeros(block.recent_train_matrix) | added
    assert (mixed.train_so_far != block.train_so_far).nnz == 0
    for matrix in (mixed.train_matrix, mixed.recent_train_matrix):
        assert set(matrix.data) == {1.0} and matrix.shape == (block.n_users, block.n_items)


def test_the_loader_visits_them_and_their_items_are_no_negatives(tiny_stream, earlier, mixed, make_config):
    config = make_config("BPR", train_neg_sample_args={"sample_num": 3, "dynamic": False})
    visited, negatives = Counter(), set()
    for batch in mixed.train_loader(config, seed=1):
        users = batch["user_id"].tolist()
        visited.update(zip(users, batch["item_id"].tolist(), strict=True))
        negatives |= set(zip(users, batch["neg_item_id"].tolist(), strict=True))
    wanted = Counter(rows_of(tiny_stream, earlier) + pairs(tiny_stream[2].train))
    assert visited == Counter({pair: 3 * times for pair, times in wanted.items()})
    assert not negatives & set(wanted)


def test_models_are_built_on_them(tiny_stream, mixed, make_config):
    block = tiny_stream[2]
    assert pairs(mixed.model_data(make_config(graph="block"))) == pairs(mixed.train)
    whole = make_config(graph="cumulative")
    # the graph of all blocks so far holds each interaction once, added or not
    assert pairs(mixed.model_data(whole)) == pairs(block.model_data(whole))
    assert pairs(mixed.model_data(make_config("ENMF", dropout_prob=0.1))) == pairs(mixed.train)


@pytest.mark.parametrize("mask", ["block", "all"])
def test_what_is_measured_stays_as_it_was(tiny_stream, mixed, make_config, mask):
    config, block = make_config(mask_history=mask), tiny_stream[2]
    for one, other in zip(mixed.valid_loaders(config), block.valid_loaders(config), strict=True):
        assert masked_and_wanted(one) == masked_and_wanted(other)
    assert masked_and_wanted(mixed.measured_loader(config)) == masked_and_wanted(
        block.measured_loader(config)
    )


def test_without_earlier_rows_it_is_the_block(tiny_stream):
    block = tiny_stream[1]
    same = block.with_earlier(np.zeros(0, dtype=np.int64))
    assert pairs(same.train) == pairs(block.train) and (same.train_matrix != block.train_matrix).nnz == 0


def test_only_what_has_been_trained_on_can_be_learned_again(tiny_stream):
    parts = tiny_stream.dataset.part_of_row
    blocks = tiny_stream.dataset.block_of_row
    own, later, held_out = (
        np.flatnonzero(rows)[:1]
        for rows in (
            (blocks == 1) & (parts == TRAIN),
            (blocks == 2) & (parts == TRAIN),
            (blocks == 0) & (parts != TRAIN),
        )
    )
    for rows in (own, later, held_out):
        with pytest.raises(ValueError, match="block 1 can only learn again"):
            tiny_stream[1].with_earlier(rows)
    with pytest.raises(ValueError, match="block 0 can only learn again"):
        tiny_stream[0].with_earlier(own)
