"""The sampler of uninteresting columns: sizes, uniformity, stability."""

import pytest
import torch

from recbole_ccd.ranking import UninterestingSampler


def sampler(n_columns, n_rows, n_samples, seed=1):
    return UninterestingSampler(n_columns, n_rows, n_samples, torch.Generator().manual_seed(seed))


def naive_mask(subject, rows, ineligible):
    """Walk the circle from each row's offset and take what is eligible."""
    state = subject.state_dict()
    length = subject.n_columns - 1
    column_at = {position: c + 1 for c, position in enumerate(state["positions"].tolist())}
    result = torch.zeros(len(rows), subject.n_columns, dtype=torch.bool)
    for b, row in enumerate(rows.tolist()):
        start = state["offsets"][row].item()
        circle = [column_at[(start + step) % length] for step in range(length)]
        result[b, [c for c in circle if (b, c) not in ineligible][: subject.n_samples]] = True
    return result


def random_pairs(n_batch, n_columns, n_pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(n_batch, (n_pairs,), generator=generator)
    return rows, torch.randint(n_columns, (n_pairs,), generator=generator)


NONE = torch.zeros(0, dtype=torch.int64)


@pytest.mark.parametrize("n_samples", [0, 1, 5, 12, 18, 19, 20, None])
@pytest.mark.parametrize("n_pairs", [0, 60, 300])
def test_equals_the_walk_around_the_circle(n_samples, n_pairs):
    for seed in range(5):
        subject = sampler(21, 40, n_samples, seed)
        rows = torch.randperm(40, generator=torch.Generator().manual_seed(seed))[:16]
        pairs = random_pairs(16, 21, n_pairs, seed)
        mask = subject.mask(rows, *pairs)
        assert torch.equal(
            mask, naive_mask(subject, rows, set(zip(*(p.tolist() for p in pairs), strict=True)))
        )


def test_sizes_and_exclusions_on_a_large_catalogue():
    rows = torch.arange(64)
    pairs = random_pairs(64, 40_000, 5000, 2)
    subject = sampler(40_000, 100, 30_000)
    mask = subject.mask(rows, *pairs)
    assert mask.sum(1).tolist() == [30_000] * 64
    assert not mask[pairs].any() and not mask[:, 0].any()


def test_fewer_eligible_than_wanted_takes_all():
    mask = sampler(6, 2, 4).mask(torch.tensor([1]), torch.tensor([0, 0, 0]), torch.tensor([2, 5, 5]))
    assert mask.tolist() == [[False, True, False, True, True, False]]


def test_everything_ineligible():
    mask = sampler(4, 2, 2).mask(torch.tensor([1]), torch.tensor([0, 0, 0]), torch.tensor([1, 2, 3]))
    assert not mask.any()


def test_uniform_over_the_eligible_columns():
    n_columns, n_samples, trials = 12, 4, 4000
    subject = sampler(n_columns, 1, n_samples)
    counts = torch.zeros(n_columns)
    pair_counts = torch.zeros(n_columns, n_columns)
    blocked = (torch.tensor([0, 0, 0]), torch.tensor([3, 7, 8]))
    for _ in range(trials):
        mask = subject.mask(torch.tensor([0]), *blocked)[0].float()
        counts += mask
        pair_counts += torch.outer(mask, mask)
        subject.redraw()
    eligible = [1, 2, 4, 5, 6, 9, 10, 11]
    share = n_samples / len(eligible)
    assert (counts[eligible] / trials - share).abs().max() < 5 * (share * (1 - share) / trials) ** 0.5
    assert counts.sum() == counts[eligible].sum() == n_samples * trials
    # Any two of them come together equally often, with probability 4/8 * 3/7: it is a uniform subset.
    together = share * (n_samples - 1) / (len(eligible) - 1)
    upper = torch.triu_indices(8, 8, 1)
    observed = pair_counts[eligible][:, eligible][upper[0], upper[1]] / trials
    assert (observed - together).abs().max() < 5 * (together * (1 - together) / trials) ** 0.5


def test_uniform_over_the_rows_of_one_draw():
    # With one permutation, the offsets of many rows still cover every column evenly.
    n_rows = 20_000
    mask = sampler(51, n_rows, 20).mask(torch.arange(n_rows), NONE, NONE)
    share = mask[:, 1:].float().mean(0)
    assert (share - 0.4).abs().max() < 5 * (0.4 * 0.6 / n_rows) ** 0.5


def test_stable_until_redraw_in_any_batch():
    subject = sampler(200, 50, 80)
    whole = subject.mask(torch.arange(50), NONE, NONE)
    assert torch.equal(subject.mask(torch.tensor([31, 4]), NONE, NONE), whole[[31, 4]])
    subject.redraw()
    assert not torch.equal(subject.mask(torch.arange(50), NONE, NONE), whole)


def test_a_blocked_column_is_replaced_and_the_others_stay():
    subject = sampler(200, 3, 80)
    before = subject.mask(torch.tensor([2]), NONE, NONE)[0]
    victim = before.nonzero()[5]
    after = subject.mask(torch.tensor([2]), torch.tensor([0]), victim)[0]
    assert (before & ~after).nonzero().view(-1).tolist() == victim.tolist()
    assert (after & ~before).sum() == 1


def test_state_restores_the_sample_and_the_redraws():
    subject = sampler(100, 20, 30, seed=1)
    state = subject.state_dict()
    rows = torch.arange(20)
    first = subject.mask(rows, NONE, NONE)
    subject.redraw()
    second = subject.mask(rows, NONE, NONE)
    other = sampler(100, 20, 30, seed=9)
    other.load_state_dict(state)
    assert torch.equal(other.mask(rows, NONE, NONE), first)
    other.redraw()
    assert torch.equal(other.mask(rows, NONE, NONE), second)


def test_edges_and_errors():
    assert not sampler(1, 1, 3).mask(torch.tensor([0]), NONE, NONE).any()
    assert sampler(5, 2, 2).mask(NONE, NONE, NONE).shape == (0, 5)
    with pytest.raises(ValueError, match="draw"):
        sampler(5, 2, -1)
    with pytest.raises(ValueError, match="state"):
        sampler(5, 2, 1).load_state_dict(sampler(6, 2, 1).state_dict())
