"""Passes over all pairs in tiles against whole rows."""

from functools import partial

import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.ranking import tiles, top_k, top_lists, users_at_a_time
from recbole_ccd.ranking.ensemble import ShallowEnsemble, ensemble_scores
from recbole_ccd.ranking.tiles import ROWS, InnerProducts, Part
from recbole_ccd.ranking.topk import candidates, top_scored
from recbole_ccd.utils.parallel.workers import Sequential

N_USERS, N_ITEMS = 90, 5000


@pytest.fixture(autouse=True)
def small_catalogues_in_tiles(monkeypatch):
    """5,000 items make three tiles, the last one short."""
    monkeypatch.setattr(tiles, "_WORTH", 4000)
    monkeypatch.setattr(tiles, "_SAMPLE", 300)


def products(levels: int | None, seed: int = 0) -> InnerProducts:
    """Vectors of whole numbers, whose products are exact; few ``levels`` make equal scores, None few."""
    generator = torch.Generator().manual_seed(seed)
    high = levels or 400_000
    users = torch.randint(-3, 4, (N_USERS, 6), generator=generator).float()
    items = torch.randint(-high, high + 1, (N_ITEMS, 6), generator=generator).float()
    return InnerProducts(users, items)


def some_pairs(per_user: int = 40, seed: int = 1) -> csr_matrix:
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, N_ITEMS, (N_USERS, per_user), generator=generator)
    users = torch.arange(N_USERS).repeat_interleave(per_user)
    matrix = csr_matrix((torch.ones(len(users)).numpy(), (users.numpy(), items.flatten().numpy())))
    matrix.sort_indices()
    return matrix


def by_rows(score):
    return lambda users: score(users)


def same_lists(scores, ours, theirs):
    """Two lists per row hold the same scores in the same order; 0 is nobody."""
    for found in (ours, theirs):
        found = [row[row > 0] for row in found]
        assert all(len(torch.unique(row)) == len(row) for row in found)
    scores = scores.clone()
    scores[:, 0] = -torch.inf
    assert torch.equal(scores.gather(1, ours), scores.gather(1, theirs))


@pytest.mark.parametrize("levels", [2, 30, None])
@pytest.mark.parametrize("k", [1, 20, 70])
def test_scored_lists_are_those_of_torch_on_whole_rows(levels, k):
    score, users = products(levels), torch.arange(N_USERS)
    assert score.in_tiles(k)
    items, values = top_scored(score, users, k, some_pairs(), ROWS)
    whole = candidates(by_rows(score), users, some_pairs())
    best = torch.topk(whole, k, dim=1)
    assert torch.equal(values, best.values)
    assert torch.equal(items, best.indices)


@pytest.mark.parametrize("levels", [2, None])
def test_lists_are_those_of_whole_rows(levels):
    score, users = products(levels), torch.arange(N_USERS)
    ours, theirs = (top_k(one, users, 30, some_pairs()) for one in (score, by_rows(score)))
    same_lists(candidates(by_rows(score), users, some_pairs()), ours, theirs)


def test_bounds_that_are_too_high_cost_time_and_nothing_else():
    stride, k = N_ITEMS // 300, 20
    vectors = torch.zeros(N_ITEMS, 1)
    vectors[:, 0] = -torch.arange(N_ITEMS).float()
    # a few of those that the bounds are estimated on, and nothing else, score high
    vectors[stride : 12 * stride : stride, 0] = torch.arange(11).float() + 1
    score = InnerProducts(torch.ones(3, 1), vectors)
    expected = torch.topk(candidates(by_rows(score), torch.arange(3), None), k, dim=1).indices
    assert torch.equal(top_scored(score, torch.arange(3), k)[0], expected)


def test_users_with_fewer_candidates_than_places():
    score, users = products(None), torch.arange(N_USERS)
    all_but = torch.ones(N_USERS, N_ITEMS)
    all_but[:, [7, 2047, 2048, 4999]] = 0
    items, values = top_scored(score, users, 6, csr_matrix(all_but.numpy()))
    assert all(set(row[:4].tolist()) == {7, 2047, 2048, 4999} for row in items)
    assert not items[:, 4:].any() and (values[:, 4:] == -torch.inf).all()


def test_parts_mask_for_themselves_alone():
    score, users = products(None), torch.arange(N_USERS)
    best = torch.topk(score(users)[:, 1:], 1, dim=1).indices.squeeze(1) + 1
    few = torch.tensor([4, 50, 51])
    nothing = (torch.zeros(0, dtype=torch.int64),) * 2
    parts = [
        Part(few, (torch.arange(3), best[few])),
        Part(None, nothing),
        Part(None, (torch.arange(N_USERS), best), is_last=True),
    ]
    some, whole, masked = score.best(users, 5, parts, as_topk=True)
    assert torch.equal(whole[1][:, 0], best)
    assert torch.equal(some[1], masked[1][few])
    assert torch.equal(masked[1][:, 0], whole[1][:, 1])


def test_what_goes_by_tiles(monkeypatch):
    score = products(None)
    assert users_at_a_time(N_ITEMS, score) == ROWS and users_at_a_time(N_ITEMS) != ROWS
    assert users_at_a_time(N_ITEMS, by_rows(score)) == users_at_a_time(N_ITEMS)
    # what is going to be scored by whole rows is scored few rows at a time
    assert users_at_a_time(N_ITEMS, score, N_ITEMS // 10) == users_at_a_time(N_ITEMS)
    deep = ShallowEnsemble([score], 0.05, N_ITEMS // 10)
    assert users_at_a_time(N_ITEMS, deep, 5) == users_at_a_time(N_ITEMS)
    assert users_at_a_time(N_ITEMS, ShallowEnsemble([score], 0.05, 60), 5) == ROWS
    assert not score.in_tiles(N_ITEMS // 10)
    assert not score.up_to(3000).in_tiles(1)
    score.users[3, 2] = torch.nan
    assert not score.in_tiles(1)


@pytest.mark.parametrize("n_members", [1, 2, 3])
def test_entries_of_an_ensemble_are_its_scores(n_members):
    members = [products(None, seed) for seed in range(n_members)]
    ensemble = ShallowEnsemble(members, 0.05, 60)
    users, seen = torch.arange(N_USERS), some_pairs()
    rows, columns = (torch.from_numpy(part).long() for part in seen.nonzero())
    scores, items = ensemble.listed(users, (rows, columns))
    dense = ensemble_scores((score(users) for score in members), 0.05, 60)
    assert torch.equal(ensemble(users), dense)
    dense[rows, columns] = -torch.inf
    found = torch.full_like(dense, -torch.inf)
    kept = scores > -torch.inf
    place = users[:, None].expand_as(items)[kept]
    assert len(torch.unique(place * N_ITEMS + items[kept])) == int(kept.sum())
    found[place, items[kept]] = scores[kept]
    assert torch.equal(found, dense)


@pytest.mark.parametrize("kind", ["one model", "ensemble"])
@pytest.mark.parametrize("batch_size", [90, 33, 7])
@pytest.mark.parametrize("k_users", [0, 4])
def test_lists_of_users_and_items(kind, batch_size, k_users):
    members = [products(None, seed) for seed in range(2)]
    score = members[0] if kind == "one model" else ShallowEnsemble(members, 0.05, 60)
    find = partial(
        top_lists,
        users=torch.arange(N_USERS),
        n_items=N_ITEMS,
        k_items=20,
        k_users=k_users,
        exclude=some_pairs(),
    )
    ours = find(score, batch_size=batch_size)
    theirs = find(by_rows(score))
    whole = candidates(by_rows(score), torch.arange(N_USERS), some_pairs())
    whole[0] = -torch.inf
    same_lists(whole, ours[0], theirs[0])
    same_lists(whole.T, ours[1], theirs[1])


@pytest.mark.parametrize("kind", ["one model", "ensemble"])
def test_shared_or_not_the_lists_are_the_same(kind):
    class Several(Sequential):
        at_once = 3

    members = [products(None, seed) for seed in range(2)]
    score = members[0] if kind == "one model" else ShallowEnsemble(members, 0.05, 60)
    find = partial(top_lists, score, torch.arange(N_USERS), N_ITEMS, 20, 4, some_pairs(), 8)
    alone, shared = find(), find(workers=Several(), worth=1)
    assert all(torch.equal(*pair) for pair in zip(alone, shared, strict=True))
