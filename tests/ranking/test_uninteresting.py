"""The sampler of uninteresting columns: sizes, uniformity, stability."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.data.sparse import csr_rows
from recbole_ccd.ranking import UninterestingSampler, uninteresting


def sampler(n_columns, n_rows, n_samples, seed=1):
    return UninterestingSampler(n_columns, n_rows, n_samples, torch.Generator().manual_seed(seed))


def ineligible_of(pairs, shape):
    """Pairs (row, column) as a matrix, each once."""
    rows, columns = zip(*sorted(set(pairs)), strict=True) if pairs else ((), ())
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def random_ineligible(n_rows, n_columns, n_pairs, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, n_rows, n_pairs), rng.integers(0, n_columns, n_pairs)
    return ineligible_of(list(zip(rows.tolist(), columns.tolist(), strict=True)), (n_rows, n_columns))


def mask_of(subject, rows, ineligible=None):
    nothing = csr_matrix((subject.n_rows, subject.n_columns), dtype=np.float32)
    windows = subject.windows(
        torch.tensor(rows, dtype=torch.int64), nothing if ineligible is None else ineligible
    )
    return windows.mask(subject.n_columns)


def naive_mask(subject, rows, ineligible):
    """Walk the circle from the place of each row's group and take what is eligible."""
    state, taken = subject.state_dict(), ineligible.toarray() > 0
    circle = state["columns"].tolist()
    result = torch.zeros(len(rows), subject.n_columns, dtype=torch.bool)
    for b, row in enumerate(rows):
        start = state["starts"][state["groups"][row]].item()
        walk = circle[start:] + circle[:start]
        result[b, [c for c in walk if not taken[row, c]][: subject.n_samples]] = True
    return result


@pytest.mark.parametrize("n_samples", [0, 1, 5, 12, 18, 19, 20, None])
@pytest.mark.parametrize("n_pairs", [0, 60, 300, 700])
def test_equals_the_walk_around_the_circle(n_samples, n_pairs):
    for seed in range(5):
        subject, ineligible = sampler(21, 40, n_samples, seed), random_ineligible(40, 21, n_pairs, seed)
        rows = np.random.default_rng(seed).permutation(40)[:16].tolist()
        assert torch.equal(mask_of(subject, rows, ineligible), naive_mask(subject, rows, ineligible))


@pytest.mark.parametrize("n_samples", [0, 3, 200, 399, 1000, None])
def test_sizes_and_exclusions(n_samples):
    ineligible = random_ineligible(90, 400, 9000, seed=2)
    mask = mask_of(sampler(400, 90, n_samples), list(range(90)), ineligible)
    taken = ineligible.toarray() > 0
    eligible = 399 - taken[:, 1:].sum(axis=1)
    assert mask.sum(1).tolist() == [int(e) if n_samples is None else min(n_samples, int(e)) for e in eligible]
    assert not (mask.numpy() & taken).any() and not mask[:, 0].any()


def test_sizes_and_exclusions_on_a_large_catalogue():
    ineligible = random_ineligible(100, 40_000, 8000, seed=2)
    mask = mask_of(sampler(40_000, 100, 30_000), list(range(64)), ineligible)
    assert mask.sum(1).tolist() == [30_000] * 64
    assert not (mask.numpy() & (ineligible.toarray()[:64] > 0)).any() and not mask[:, 0].any()


def test_fewer_eligible_than_wanted_takes_all():
    mask = mask_of(sampler(6, 2, 4), [1], ineligible_of([(1, 2), (1, 5)], (2, 6)))
    assert mask.tolist() == [[False, True, False, True, True, False]]


def test_everything_ineligible():
    mask = mask_of(sampler(4, 2, 2), [1, 0], ineligible_of([(1, 1), (1, 2), (1, 3)], (2, 4)))
    assert mask.sum(1).tolist() == [0, 2]


def test_a_pair_with_the_padding_bars_nothing():
    subject = sampler(12, 3, 5)
    with_padding = ineligible_of([(1, 0), (1, 3)], (3, 12))
    without = ineligible_of([(1, 3)], (3, 12))
    assert torch.equal(mask_of(subject, [1], with_padding), mask_of(subject, [1], without))


@pytest.mark.parametrize("barred", [[], [3, 7, 8], [1, 2, 4, 5, 6, 9, 11]])
def test_a_rows_sample_is_uniform_over_seeds(barred):
    n_columns, n_samples, trials = 12, 3, 800
    ineligible = ineligible_of([(2, column) for column in barred], (5, n_columns))
    masks = torch.cat([mask_of(sampler(n_columns, 5, n_samples, s), [2], ineligible) for s in range(trials)])
    eligible = [c for c in range(1, n_columns) if c not in barred]
    drawn = masks[:, eligible].double()
    assert drawn.sum() == masks.sum() == n_samples * trials
    share = n_samples / len(eligible)
    assert (drawn.mean(0) - share).abs().max() < 5 * (share * (1 - share) / trials) ** 0.5
    # Any two of them come together equally often: it is a uniform subset.
    together = share * (n_samples - 1) / (len(eligible) - 1)
    upper = torch.triu_indices(len(eligible), len(eligible), 1)
    observed = (drawn.T @ drawn / trials)[upper[0], upper[1]]
    assert (observed - together).abs().max() < 5 * (together * (1 - together) / trials) ** 0.5


def test_a_rows_sample_is_uniform_over_redraws():
    subject, trials = sampler(9, 1, 2, seed=4), 800
    counts = torch.zeros(9)
    for _ in range(trials):
        counts += mask_of(subject, [0])[0]
        subject.redraw()
    assert (counts[1:] / trials - 0.25).abs().max() < 5 * (0.25 * 0.75 / trials) ** 0.5


def test_not_all_rows_share_one_sample():
    mask = mask_of(sampler(200, 60, 50), list(range(60)))
    assert 1 < len({tuple(line.tolist()) for line in mask}) < 60


def test_stable_until_redraw_in_any_batch():
    subject, ineligible = sampler(200, 50, 80), random_ineligible(50, 200, 400, seed=3)
    whole = mask_of(subject, list(range(50)), ineligible)
    assert torch.equal(mask_of(subject, list(range(50)), ineligible), whole)
    assert torch.equal(mask_of(subject, [31, 4, 31], ineligible), whole[[31, 4, 31]])
    subject.redraw()
    assert (mask_of(subject, list(range(50)), ineligible) != whole).any(dim=1).all()


def test_equal_seeds_draw_equally():
    one, same, other = (mask_of(sampler(100, 9, 30, seed), list(range(9))) for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_barred_column_is_replaced_and_the_others_stay():
    subject = sampler(200, 3, 80)
    before = mask_of(subject, [2])[0]
    victim = before.nonzero()[5].item()
    after = mask_of(subject, [2], ineligible_of([(2, victim)], (3, 200)))[0]
    assert (before & ~after).nonzero().flatten().tolist() == [victim]
    assert (after & ~before).sum() == 1


def test_rows_beyond_the_matrix_have_nothing_barred():
    subject, small = sampler(20, 10, 8), random_ineligible(4, 20, 50, seed=5)
    grown = csr_matrix((small.data, small.indices, np.pad(small.indptr, (0, 6), mode="edge")), shape=(10, 20))
    rows = [9, 2, 4, 3]
    assert torch.equal(mask_of(subject, rows, small), mask_of(subject, rows, grown))
    assert mask_of(subject, rows, small).sum(1).tolist() == [8] * 4


def test_windows_point_out_what_is_barred_in_order():
    subject, ineligible = sampler(50, 30, 20), random_ineligible(30, 50, 300, seed=6)
    rows = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    windows = subject.windows(rows, ineligible)
    assert len(windows.barred_rows) and (windows.barred_rows.diff() >= 0).all()
    assert (windows.barred_places < windows.ends[windows.barred_rows]).all()
    assert sum(size for size, _ in windows.tiles) == 30
    assert sorted(windows.order.tolist()) == list(range(30)) != windows.order.tolist()
    counts = torch.bincount(windows.barred_rows, minlength=30)
    # a window is as long as it need be: 20 columns besides those barred
    assert torch.equal(windows.ends - counts, torch.full((30,), 20))


def test_state_restores_the_sample_and_the_redraws():
    subject, ineligible = sampler(100, 20, 30, seed=1), random_ineligible(20, 100, 200, seed=7)
    state, rows = subject.state_dict(), list(range(20))
    first = subject.windows(torch.arange(20), ineligible)
    subject.redraw()
    second = mask_of(subject, rows, ineligible)
    other = sampler(100, 20, 30, seed=9)
    assert not torch.equal(mask_of(other, rows, ineligible), first.mask(100))
    other.load_state_dict(state)
    restored = other.windows(torch.arange(20), ineligible)
    assert restored.tiles == first.tiles
    for field in ("columns", "order", "ends", "barred_rows", "barred_places"):
        assert torch.equal(getattr(restored, field), getattr(first, field)), field
    other.redraw()
    assert torch.equal(mask_of(other, rows, ineligible), second)


def test_a_state_is_not_changed_by_later_redraws():
    subject = sampler(100, 20, 30)
    state = subject.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    subject.redraw()
    subject.load_state_dict(state)
    subject.redraw()
    assert all(torch.equal(state[key], kept[key]) for key in kept)


@pytest.mark.parametrize(("n_columns", "n_rows"), [(6, 2), (5, 3)])
def test_a_state_of_another_size_is_refused(n_columns, n_rows):
    with pytest.raises(ValueError, match="state"):
        sampler(5, 2, 1).load_state_dict(sampler(n_columns, n_rows, 1).state_dict())


@pytest.mark.parametrize(("n_columns", "n_rows", "n_samples"), [(5, 2, -1), (0, 2, 1), (5, 0, 1)])
def test_impossible_sizes_are_refused(n_columns, n_rows, n_samples):
    with pytest.raises(ValueError, match="draw"):
        sampler(n_columns, n_rows, n_samples)


@pytest.mark.parametrize("n_samples", [0, 1, 3, None])
def test_the_smallest_catalogues(n_samples):
    assert mask_of(sampler(1, 3, n_samples), [0, 2]).tolist() == [[False], [False]]
    drawn = [[False, n_samples != 0]] * 2
    assert mask_of(sampler(2, 3, n_samples), [0, 2]).tolist() == drawn
    barred = ineligible_of([(2, 1)], (3, 2))
    assert mask_of(sampler(2, 3, n_samples), [0, 2], barred).tolist() == [drawn[0], [False, False]]


def test_empty_batch():
    assert mask_of(sampler(5, 2, 2), [], ineligible_of([(1, 2)], (2, 5))).shape == (0, 5)


@pytest.mark.parametrize("at_a_time", [3, 1000])
def test_windows_are_measured_once_for_each_set_of_pairs(monkeypatch, at_a_time):
    monkeypatch.setattr(uninteresting, "_MEASURED", at_a_time)
    subject, rows = sampler(60, 20, 25, seed=2), list(range(20))
    for seed in (8, 9):
        ineligible = random_ineligible(20, 60, 150, seed=seed)
        mask = mask_of(subject, rows, ineligible)
        assert not (mask.numpy() & (ineligible.toarray() > 0)).any() and (mask.sum(1) == 25).all()
        with monkeypatch.context() as patch:
            patch.setattr(uninteresting, "csr_rows", only_of_windows(ineligible))
            assert torch.equal(mask_of(subject, rows[5:9], ineligible), mask[5:9])


def only_of_windows(ineligible):
    def rows_of(matrix, rows):
        assert matrix is not ineligible, "the pairs have been looked at before"
        return csr_rows(matrix, rows)

    return rows_of
