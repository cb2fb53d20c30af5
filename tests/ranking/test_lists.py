"""Lists of a pass that several workers share: those of one process, whichever of equal scores it takes."""

from functools import partial

import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix

from recbole_ccd.ranking import top_lists
from tests.utils.parallel.elsewhere import Elsewhere

N_USERS, N_ITEMS = 900, 37


def look_up(table, users):
    return table[users].clone()


def table_of(levels, seed=0):
    """Scores of so few levels that most are equal to others; 0 levels are scores that differ."""
    generator = torch.Generator().manual_seed(seed)
    if not levels:
        return torch.randn(N_USERS, N_ITEMS, generator=generator)
    return torch.randint(levels, (N_USERS, N_ITEMS), generator=generator).float()


def both_lists(table, k_users, batch_size, workers, exclude=None):
    users = torch.arange(N_USERS)
    score = partial(look_up, table)
    arguments = (score, users, N_ITEMS, 5, k_users, exclude, batch_size)
    return top_lists(*arguments), top_lists(*arguments, workers=workers, worth=1)


@pytest.mark.parametrize("levels", [0, 2, 7, 200])
@pytest.mark.parametrize(("at_once", "batch_size"), [(2, 50), (5, 17), (3, 64)])
def test_shared_or_not_the_lists_are_the_same(levels, at_once, batch_size):
    seen = random_matrix(N_USERS, N_ITEMS, 0.1, "csr", random_state=1)
    workers = Elsewhere(at_once)
    one, other = both_lists(table_of(levels), 8, batch_size, workers, seen)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert sorted(workers.done) == list(range(at_once))


def test_so_are_they_when_ever_better_users_come():
    """All scores of a batch are among the best, which no worker sends."""
    table = torch.arange(N_USERS).float()[:, None].expand(-1, N_ITEMS).div(3, rounding_mode="floor")
    # without bad users at the beginning nobody would be asked
    table = torch.cat([table[:400].flip(0), table[400:]]).contiguous()
    workers = Elsewhere(3)
    one, other = both_lists(table, 30, 20, workers)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert len(workers.done) == 3


def test_what_has_been_seen_can_lead_the_lists():
    # users 1 and 2, items 1..4; user 1 has seen item 4, user 2 items 1 and 3
    table = torch.tensor([[9.0, 9, 9, 9, 9], [0, 4, 3, 2, 1], [0, 1, 2, 3, 4]])
    seen = csr_matrix(([1.0, 1.0, 1.0], ([1, 2, 2], [4, 1, 3])), shape=(3, 5))
    score, users = partial(look_up, table), torch.arange(3)
    items, raters = top_lists(score, users, 5, 3, 1, seen, seen_first=True)
    assert items[1].tolist() == [4, 1, 2]
    assert sorted(items[2, :2].tolist()) == [1, 3] and items[2, 2] == 4
    # items 1 and 3 belong to user 2, item 4 to user 1; nobody has seen item 2, which user 1 ranks higher
    assert raters[1:, 0].tolist() == [2, 1, 2, 1] and items[0].tolist() == [0, 0, 0]
    outside, _ = top_lists(score, users, 5, 3, 1, seen)
    assert outside[1].tolist() == [1, 2, 3] and outside[2].tolist() == [4, 2, 0]


def test_shared_or_not_what_has_been_seen_leads():
    seen = random_matrix(N_USERS, N_ITEMS, 0.1, "csr", random_state=1)
    arguments = (partial(look_up, table_of(0)), torch.arange(N_USERS), N_ITEMS, 5, 8, seen, 17)
    workers = Elsewhere(3)
    one = top_lists(*arguments, seen_first=True)
    other = top_lists(*arguments, workers=workers, worth=1, seen_first=True)
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and len(workers.done) == 3


def test_users_lists_alone_are_shared_from_the_start():
    workers = Elsewhere(2)
    one, other = both_lists(table_of(4), 0, 50, workers)
    assert torch.equal(one[0], other[0]) and one[1].shape == other[1].shape == (N_ITEMS, 0)
    assert len(workers.done) == 2


def test_a_short_pass_is_not_shared():
    workers, users = Elsewhere(2), torch.arange(N_USERS)
    top_lists(partial(look_up, table_of(0)), users, N_ITEMS, 5, 8, batch_size=50, workers=workers)
    assert workers.done == []
