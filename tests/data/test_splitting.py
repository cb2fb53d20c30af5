import numpy as np
import pytest

from recbole_ccd.data.splitting import (
    DROPPED,
    TEST,
    TRAIN,
    VALID,
    SplitRule,
    blocks_by_boundary,
    boundaries_by_ratio,
    raw_time,
    split_parts,
)

SHARES = SplitRule((0.8, 0.1, 0.1))


def test_ratios_cut_the_time_line_not_the_file():
    times = np.array([9.0, 1, 5, 3, 7, 2, 8, 4, 6, 10])
    blocks = blocks_by_boundary(times, boundaries_by_ratio(times, [0.5, 0.3, 0.2]))
    assert blocks[times <= 5].tolist() == [0] * 5
    assert blocks[(times > 5) & (times <= 8)].tolist() == [1] * 3
    assert blocks[times > 8].tolist() == [2] * 2


def test_rows_of_one_moment_stay_in_one_block():
    times = np.array([1.0, 2, 2, 2, 2, 3])
    blocks = blocks_by_boundary(times, boundaries_by_ratio(times, [0.5, 0.5]))  # the cut falls among the 2s
    assert len(set(blocks[times == 2])) == 1


def test_a_row_at_a_boundary_belongs_to_the_later_block():
    assert blocks_by_boundary(np.array([0.0, 9.9, 10, 10.1]), [10]).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (12.5, 12.5),
        ("1970-01-02", 86400.0),
        ("1970-01-01 01:00:00", 3600.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
    ],
)
def test_dates_are_seconds_since_1970_utc(moment, seconds):
    assert raw_time(moment) == seconds


def test_a_user_gives_a_tenth_each_to_test_and_valid():
    users = np.repeat([1, 2], [30, 4])
    items = np.zeros(34, dtype=int)  # one item, so that nothing is dropped
    parts = split_parts(users, items, SHARES, np.random.default_rng(0))
    # 30 rows: floor(3) each; 4 rows: max(floor(0.4), 1) each
    assert [np.sum(parts[users == 1] == p) for p in (TRAIN, VALID, TEST)] == [24, 3, 3]
    assert [np.sum(parts[users == 2] == p) for p in (TRAIN, VALID, TEST)] == [2, 1, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_users_with_fewer_than_three_rows_only_train(n):
    parts = split_parts(np.zeros(n, dtype=int), np.arange(n), SHARES, np.random.default_rng(0))
    assert parts.tolist() == [TRAIN] * n


def test_held_out_items_without_a_train_row_are_dropped_with_their_user():
    # every item occurs once, so whatever is held out has no train row: both parts of the user go
    parts = split_parts(np.zeros(10, dtype=int), np.arange(10), SHARES, np.random.default_rng(0))
    assert sorted(parts.tolist()) == [DROPPED, DROPPED] + [TRAIN] * 8


def test_every_user_with_valid_has_test_and_every_held_out_item_is_trained():
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 40, 400), rng.integers(0, 60, 400)
    parts = split_parts(users, items, SHARES, rng)
    assert set(users[parts == VALID]) == set(users[parts == TEST]) != set()
    assert set(items[(parts == VALID) | (parts == TEST)]) <= set(items[parts == TRAIN])


def test_the_split_is_random_but_reproducible():
    users, items = np.zeros(100, dtype=int), np.zeros(100, dtype=int)
    one, same, other = (split_parts(users, items, SHARES, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


def test_a_zero_ratio_gives_an_empty_part():
    parts = split_parts(
        np.zeros(20, dtype=int), np.zeros(20, dtype=int), SplitRule((0.9, 0.0, 0.1)), np.random.default_rng(0)
    )
    assert VALID not in parts and np.sum(parts == TEST) == 2
