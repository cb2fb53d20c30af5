"""A block that arrives in pieces: what is validated on, and what is masked there."""

from itertools import pairwise

import pytest

from recbole_ccd.data.splitting import TRAIN, VALID
from tests.data.test_stream import masked_and_wanted, of_users, pairs


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("mask", ["block", "all"])
def test_a_piece_masks_no_more_than_has_arrived(tiny_stream, make_config, number, mask):
    base, block = tiny_stream[0], tiny_stream[1]
    pieces = block.parts(3)
    arrived = [piece.train for piece in pieces[: number + 1]]
    own, of_base = pieces[number].valid_loaders(make_config(mask_history=mask))
    everything = [base.train, *arrived]
    for loader, exclusive, wanted in ((own, arrived, pieces[number]), (of_base, [base.train], base)):
        masked, positive = masked_and_wanted(loader)
        assert masked == of_users(everything if mask == "all" else exclusive, loader)
        assert positive == set(pairs(wanted.valid))
        assert loader.dataset.item_num == pieces[number].n_items


def test_a_piece_validates_on_nothing_that_comes_after_it(tiny_stream):
    block = tiny_stream[1]
    pieces = block.parts(3)
    for piece, following in pairwise(pieces):
        assert max(piece._rows[VALID], default=-1) < following._rows[TRAIN].min()
    # and the last one on all that can be validated on
    assert pieces[-1]._rows[VALID].tolist() == block._rows[VALID].tolist()


@pytest.mark.parametrize("name", ["ENMF", "MultiVAE"])
def test_what_has_arrived_is_the_history_of_models_that_read_rows(tiny_stream, make_config, name):
    block = tiny_stream[1]
    config, (first, second) = make_config(name, train_neg_sample_args=None), block.parts(2)
    assert pairs(first.model_data(config)) == pairs(first.train)
    assert pairs(second.model_data(config)) == pairs(first.train) + pairs(second.train)
    assert pairs(block.model_data(config)) == pairs(block.train)


def test_pieces_validate_on_the_block_alone_when_told_so(tiny_stream, make_config):
    for piece in tiny_stream[1].parts(3):
        (loader,) = piece.valid_loaders(make_config(valid_blocks="current", mask_history="all"))
        assert masked_and_wanted(loader)[1] == set(pairs(piece.valid))
