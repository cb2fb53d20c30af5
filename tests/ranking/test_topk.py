"""Streamed top-k over items and over users against plain sorting."""

import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.ranking import mask_rows, top_k, top_lists, users_at_a_time
from recbole_ccd.ranking.highest import highest, highest_as_topk
from recbole_ccd.ranking.topk import top_scored


def top_users(score, users, n_items, k, exclude=None, batch_size=512):
    """The second half of the pair."""
    return top_lists(score, users, n_items, 3, k, exclude, batch_size)[1]


def scorer(table):
    return lambda users: table[users]


def pairs(shape, *entries):
    rows, cols = zip(*entries, strict=True)
    return csr_matrix(([1.0] * len(entries), (rows, cols)), shape=shape)


def naive_best(scores, k, banned):
    """Ids above 0 by falling score, without the banned ones, padded with 0."""
    ids = [i for i in range(1, len(scores)) if i not in banned]
    ids = sorted(ids, key=lambda i: -scores[i])[:k]
    return ids + [0] * (k - len(ids))


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(21, 13, generator=generator)
    seen = (torch.rand(21, 13, generator=generator) < 0.4).numpy()
    return table, seen


def test_by_hand():
    table = torch.tensor([[9.0, 9, 9, 9, 9], [9.0, 1, 4, 3, 2], [9.0, 4, 1, 2, 3]])
    exclude = pairs((3, 5), (1, 2), (2, 1), (2, 3), (2, 4))
    users = torch.tensor([2, 1])
    assert top_k(scorer(table), users, 2).tolist() == [[1, 4], [2, 3]]
    # User 1 loses item 2; user 2 is left with item 2 alone.
    assert top_k(scorer(table), users, 2, exclude).tolist() == [[2, 0], [3, 4]]
    # Item 1 prefers user 2, item 2 user 1, item 3 user 1, item 4 user 2.
    assert top_users(scorer(table), users, 5, 1).tolist() == [[0], [2], [1], [1], [2]]
    assert top_users(scorer(table), users, 5, 3, exclude).tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [2, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
    ]


@pytest.mark.parametrize("batch_size", [1, 4, 512])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_top_k_equals_naive(case, batch_size, k):
    table, seen = case
    users = torch.tensor([3, 20, 1, 7, 8, 2])
    result = top_k(scorer(table), users, k, csr_matrix(seen), batch_size)
    expected = [naive_best(table[u].tolist(), k, set(seen[u].nonzero()[0])) for u in users.tolist()]
    assert result.tolist() == expected


@pytest.mark.parametrize("batch_size", [1, 4, 512])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_top_users_equals_naive(case, batch_size, k):
    table, seen = case
    users = torch.tensor([3, 20, 1, 7, 8, 2, 0, 11])
    result = top_users(scorer(table), users, 13, k, csr_matrix(seen), batch_size)
    for item in range(1, 13):
        banned = set(seen[:, item].nonzero()[0]) | set(range(21)) - set(users.tolist())
        assert result[item].tolist() == naive_best(table[:, item].tolist(), k, banned)
    assert result[0].tolist() == [0] * k


def test_exclusion_of_a_prefix(case):
    table, seen = case
    users = torch.tensor([2, 5, 19])
    result = top_k(scorer(table), users, 4, csr_matrix(seen[:6, :8]))
    for row, user in zip(result.tolist(), users.tolist(), strict=True):
        banned = set(seen[user, :8].nonzero()[0]) if user < 6 else set()
        assert row == naive_best(table[user].tolist(), 4, banned)


def test_ties_give_distinct_candidates():
    result = top_k(scorer(torch.zeros(3, 8)), torch.tensor([1, 2]), 7)
    assert result.sort(1).values.tolist() == [[1, 2, 3, 4, 5, 6, 7]] * 2


def test_no_users_and_no_places():
    none = torch.zeros(0, dtype=torch.int64)
    score = scorer(torch.zeros(3, 5))
    assert top_k(score, none, 3).shape == (0, 3)
    assert top_k(score, torch.tensor([1]), 0).shape == (1, 0)
    assert top_users(score, none, 5, 2).tolist() == [[0, 0]] * 5


def test_lists_carry_no_gradient():
    table = torch.randn(3, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert not top_k(scorer(table), torch.tensor([1, 2]), 2).requires_grad


def test_mask_rows_touches_only_the_entries(case):
    table, seen = case
    users = torch.tensor([4, 9, 4, 20])
    scores = table[users]
    mask_rows(scores, users, csr_matrix(seen[:20]), 7.0)
    for row, user in zip(scores, users.tolist(), strict=True):
        for item in range(13):
            expected = 7.0 if user < 20 and seen[user, item] else table[user, item].item()
            assert row[item].item() == expected


def test_columns_that_the_scores_lack_are_ignored():
    scores = torch.zeros(2, 4)
    mask_rows(scores, torch.tensor([1, 0]), csr_matrix(([1.0, 1.0, 1.0], ([1, 1, 0], [2, 5, 4]))), 3.0)
    assert scores.tolist() == [[0, 0, 3, 0], [0, 0, 0, 0]]


def test_arguments_are_checked():
    score = scorer(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="negative"):
        top_k(score, torch.tensor([1]), -1)
    with pytest.raises(ValueError, match="users"):
        mask_rows(torch.zeros(3, 5), torch.tensor([1]), csr_matrix((3, 5)), 0.0)


def test_top_lists_gives_the_items_of_top_k_too():
    table = torch.randn(6, 9, generator=torch.Generator().manual_seed(4))
    users, seen = torch.arange(6), csr_matrix(([1.0, 1.0], ([1, 4], [3, 8])), shape=(6, 9))
    items, _ = top_lists(scorer(table), users, 9, 4, 2, seen, batch_size=4)
    assert torch.equal(items[1:], top_k(scorer(table), users, 4, seen)[1:])
    assert items[0].tolist() == [0] * 4


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_best_users_do_not_hang_on_the_batches(batch_size):
    table = torch.randn(80, 23, generator=torch.Generator().manual_seed(6))
    users = torch.arange(80)
    expected = table.clone()
    expected[0] = expected[:, 0] = -torch.inf
    best = expected.T.topk(5, dim=1).indices
    best[0] = 0
    assert torch.equal(top_lists(scorer(table), users, 23, 3, 5, batch_size=batch_size)[1], best)


def test_a_batch_of_users_is_smaller_where_items_are_many():
    few, many = users_at_a_time(1000), users_at_a_time(100_000)
    assert few == 100 * many or abs(few / many - 100) < 5
    assert users_at_a_time(10**9) == 1


@pytest.mark.parametrize(("n", "k"), [(1000, 1), (1003, 7), (999, 15), (1000, 16), (64, 1), (5, 5), (40, 0)])
def test_the_highest_of_long_rows_are_those_of_torch(n, k):
    scores = torch.randn(9, n, generator=torch.Generator().manual_seed(n))
    scores[3, 5:] = -torch.inf
    scores[4] = -torch.inf
    values, columns = highest(scores, k)
    assert torch.equal(values, torch.topk(scores, k, dim=1).values)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())


@pytest.mark.parametrize("batch_size", [1, 4, 512])
def test_top_scored_gives_the_scores_of_the_items(case, batch_size):
    table, seen = case
    users = torch.tensor([3, 20, 7])
    ids, scores = top_scored(scorer(table), users, 15, csr_matrix(seen.astype(float)), batch_size)
    assert torch.equal(ids, top_k(scorer(table), users, 15, csr_matrix(seen.astype(float)), batch_size))
    for user, items, values in zip(users.tolist(), ids, scores, strict=True):
        there = items > 0
        assert torch.equal(values[there], table[user][items[there]])
        assert values[~there].eq(-torch.inf).all() and not there.all()


@pytest.mark.parametrize("levels", [3, 40, 10**6])
@pytest.mark.parametrize("k", [0, 1, 5, 20])
def test_highest_as_topk_chooses_among_equal_scores_as_torch_does(levels, k):
    generator = torch.Generator().manual_seed(k)
    # whole rows of equal scores, a few ties, hardly any
    scores = torch.randint(levels, (50, 5000), generator=generator).float()
    scores[torch.rand(50, 5000, generator=generator) < 0.1] = -torch.inf
    scores[0, 40:] = -torch.inf
    values, columns = highest_as_topk(scores, k)
    expected = torch.topk(scores, k, dim=1)
    assert torch.equal(values, expected.values) and torch.equal(columns, expected.indices)


def test_highest_as_topk_of_all_columns():
    scores = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(highest_as_topk(scores, 7)[1], torch.topk(scores, 7, dim=1).indices)
