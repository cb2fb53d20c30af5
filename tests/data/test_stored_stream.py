"""What a run directory keeps of its stream is the stream."""

import numpy as np
import pytest
import torch

from recbole_ccd.data.interactions import Interactions
from recbole_ccd.data.splitting import TEST, TRAIN, VALID
from recbole_ccd.data.stored_stream import StoredStream


def rows_of(users, items, parts):
    return {
        "users": torch.tensor(users, dtype=torch.int32),
        "items": torch.tensor(items, dtype=torch.int32),
        "parts": torch.tensor(parts, dtype=torch.int8),
    }


def vocabulary_of(n_users, n_items):
    return {
        "users": ["[PAD]", *(f"u{n}" for n in range(1, n_users))],
        "items": ["[PAD]", *(f"i{n}" for n in range(1, n_items))],
    }


def test_interactions_of_arrivals():
    first, second = rows_of([1, 2, 1], [1, 2, 3], [0, 0, 2]), rows_of([3], [4], [0])
    third = rows_of([1, 4], [1, 1], [0, 1])
    joined = Interactions.joined([(0, first), (1, second), (1, third)])
    assert joined.n_blocks == 2 and len(joined) == 6
    assert joined.arrivals_of_rows().tolist() == [0, 0, 0, 1, 2, 2]
    assert joined.blocks_of_rows().tolist() == [0, 0, 0, 1, 1, 1]
    more = Interactions.joined([(0, first), (1, second)]).with_more(1, third)
    assert all(getattr(more, name).equal(getattr(joined, name)) for name in ("users", "items", "parts"))
    assert (more.ends.tolist(), more.blocks.tolist()) == ([3, 4, 6], [0, 1, 1])


@pytest.mark.parametrize("blocks", [[], [1], [0, 2], [0, 1, 0]])
def test_missing_blocks(blocks):
    with pytest.raises(ValueError, match="blocks are missing"):
        Interactions.joined([(k, rows_of([1], [1], [0])) for k in blocks])


def test_columns_of_different_lengths():
    with pytest.raises(ValueError, match="not of one length"):
        Interactions.joined([(0, {**rows_of([1], [1], [0]), "parts": torch.zeros(2, dtype=torch.int8)})])
    with pytest.raises(KeyError):
        Interactions.joined([(0, {"users": torch.ones(1)})])


def test_a_stream_is_found_again(tiny_stream, make_config):
    arrivals = [(block.index, tiny_stream.rows_of(block)) for block in tiny_stream]
    last = tiny_stream[len(tiny_stream) - 1]
    kept = StoredStream(make_config(), Interactions.joined(arrivals), tiny_stream.vocabulary(last))
    assert [repr(block) for block in kept] == [repr(block) for block in tiny_stream]
    for block, before in zip(kept, tiny_stream, strict=True):
        assert (block.n_old_users, block.n_old_items) == (before.n_old_users, before.n_old_items)
        assert kept.vocabulary(block) == tiny_stream.vocabulary(before)
        for name in ("train_matrix", "train_so_far", "recent_train_matrix"):
            assert (getattr(block, name) != getattr(before, name)).nnz == 0
        for part in ("train", "valid", "test"):
            here, there = getattr(block, part), getattr(before, part)
            for field in (here.uid_field, here.iid_field):
                assert here.inter_feat[field].equal(there.inter_feat[field])


@pytest.fixture
def parted(make_config):
    """Two blocks, the second of which came in two files; user 4 of the first is in its test part only."""
    first = rows_of([1, 2, 1, 2, 1], [1, 2, 3, 4, 5], [TRAIN, TRAIN, VALID, TEST, TRAIN])
    second = rows_of([3, 1, 2, 4], [1, 6, 6, 2], [TRAIN, TRAIN, VALID, TEST])
    third = rows_of([5, 2, 3], [7, 3, 7], [TRAIN, VALID, TEST])
    interactions = Interactions.joined([(0, first), (1, second), (1, third)])
    return StoredStream(make_config(), interactions, vocabulary_of(6, 8))


def pairs(data):
    return list(zip(*(data.inter_feat[f].tolist() for f in (data.uid_field, data.iid_field)), strict=True))


def test_files_of_a_block_are_pieces_of_it(parted):
    one, two = parted[1].parts(1)
    assert pairs(parted[1].train) == [(3, 1), (1, 6), (5, 7)]
    assert (pairs(one.train), pairs(two.train)) == ([(3, 1), (1, 6)], [(5, 7)])
    # of the second file nothing is known when the first one is learned
    assert (pairs(one.valid), pairs(two.valid)) == ([(2, 6)], [(2, 6), (2, 3)])
    assert (one.n_users, one.n_items) == (5, 7) and (two.n_users, two.n_items) == (6, 8)
    assert (two.n_old_users, two.n_old_items) == (5, 7)
    assert one.train_so_far.nnz == 5 and two.train_so_far.nnz == 6
    assert pairs(parted[1].test) == [(4, 2), (3, 7)] == pairs(two.test) and pairs(one.test) == [(4, 2)]
    assert parted[0].parts(1) == [parted[0]]


def test_the_first_file_alone_is_the_first_piece(parted, make_config):
    stored = parted.dataset._stored
    n = int(stored.ends[1])
    columns = (getattr(stored, name)[:n] for name in ("users", "items", "parts"))
    before = Interactions(*columns, stored.blocks[:2], stored.ends[:2])
    exclusive, piece = StoredStream(make_config(), before, vocabulary_of(5, 7))[1], parted[1].parts(1)[0]
    for part in ("train", "valid"):
        assert pairs(getattr(exclusive, part)) == pairs(getattr(piece, part))
    assert (exclusive.n_users, exclusive.n_items) == (piece.n_users, piece.n_items)
    assert (exclusive.recent_train_matrix != piece.recent_train_matrix).nnz == 0


def test_pieces_of_files(parted):
    assert [pairs(piece.train) for piece in parted[1].parts(2)] == [[(3, 1)], [(1, 6)], [(5, 7)]]
    assert np.all([piece.index == 1 for piece in parted[1].parts(2)])
