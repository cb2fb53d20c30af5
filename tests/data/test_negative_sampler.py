import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.utils.errors import DataError


def matrix(pairs, shape):
    rows, cols = zip(*pairs, strict=True)
    return csr_matrix((np.ones(len(pairs), dtype=np.float32), (rows, cols)), shape=shape)


def test_negatives_are_known_and_neither_positive_nor_excluded():
    positives = matrix([(1, 1), (1, 2), (2, 3)], (3, 8))
    sampler = NegativeSampler(positives, exclude=matrix([(1, 3), (2, 7)], (3, 8)), seed=1)
    users = np.repeat([1, 2], 2000)
    drawn = sampler.sample_by_user_ids(users, None, 1).numpy()
    assert set(drawn[users == 1]) == {4, 5, 6, 7}
    assert set(drawn[users == 2]) == {1, 2, 4, 5, 6}


def test_uniform_draws_are_uniform():
    sampler = NegativeSampler(matrix([(1, 1)], (2, 6)), seed=3)
    counts = np.bincount(sampler.sample_by_user_ids(np.ones(40_000, dtype=int), None, 1).numpy(), minlength=6)
    assert counts[:2].sum() == 0
    # 10 000 expected for each of 4 items, standard deviation 87
    assert np.abs(counts[2:] - 10_000).max() < 5 * 87


def test_popularity_draws_follow_the_counts():
    # item 2 has three users, item 3 one, item 1 is user 1's positive; user 1 draws 2 and 3 as 3 : 1
    positives = matrix([(1, 1), (2, 2), (3, 2), (4, 2), (2, 3)], (5, 6))
    sampler = NegativeSampler(positives, distribution="popularity", seed=3)
    counts = np.bincount(sampler.sample_by_user_ids(np.ones(40_000, dtype=int), None, 1).numpy(), minlength=6)
    assert counts[[0, 1, 4, 5]].sum() == 0
    assert abs(counts[2] - 30_000) < 5 * 87


def test_several_negatives_come_in_recboles_order():
    positives = matrix([(1, 1), (2, 4)], (3, 5))
    drawn = NegativeSampler(positives, seed=0).sample_by_user_ids(np.array([1, 2]), None, 50).numpy()
    assert 1 not in drawn[::2] and 4 not in drawn[1::2] and len(drawn) == 100


def test_a_user_starved_by_exclusion_keeps_only_positives_out():
    positives = matrix([(1, 1)], (2, 4))
    sampler = NegativeSampler(positives, exclude=matrix([(1, 2), (1, 3)], (2, 4)), seed=0)
    assert set(sampler.sample_by_user_ids(np.ones(200, dtype=int), None, 1).numpy()) == {2, 3}


def test_a_user_with_every_item_is_an_error_that_names_the_remedy():
    with pytest.raises(DataError, match="user id 1 .* all 2 items .* user_inter_num_interval"):
        NegativeSampler(matrix([(1, 1), (1, 2)], (2, 3)))


def test_exclusion_of_a_smaller_prefix_is_fine():
    sampler = NegativeSampler(matrix([(1, 1)], (4, 6)), exclude=matrix([(1, 2)], (2, 3)), seed=0)
    assert set(sampler.sample_by_user_ids(np.ones(500, dtype=int), None, 1).numpy()) == {3, 4, 5}


def test_equal_seeds_draw_equally():
    positives = matrix([(1, 1)], (2, 50))
    users = np.ones(30, dtype=int)
    one, same, other = (
        NegativeSampler(positives, seed=s).sample_by_user_ids(users, None, 1).tolist() for s in (5, 5, 6)
    )
    assert one == same != other
