"""Ranks and the ensemble of ranks against counting by hand."""

import weakref

import pytest
import torch

from recbole_ccd.ranking import descending, ensemble_scores, ranks_of
from recbole_ccd.ranking.rank import Barred, ranks_above


def naive_ranks(scores):
    result = torch.zeros(scores.shape)
    for row, out in zip(scores.tolist(), result, strict=True):
        order = sorted(range(1, len(row)), key=lambda i: (-row[i], i))
        for place, item in enumerate(order, start=1):
            out[item] = place
        out[0] = len(row)
    return result


def naive_ranks_of(scores, items):
    return torch.tensor(
        [
            [0.0 if i == 0 else 1.0 + sum(s > row[i] for s in row[1:]) for i in wanted]
            for row, wanted in zip(scores.tolist(), items.tolist(), strict=True)
        ]
    )


def coarse_scores(n_rows, n, seed):
    """Few distinct values, so that there are many ties."""
    return torch.randint(-4, 5, (n_rows, n), generator=torch.Generator().manual_seed(seed)).float()


def test_ranks_by_hand():
    scores = torch.tensor([[9.0, 1.0, 3.0, 3.0, 2.0]])
    assert ranks_of(scores, torch.tensor([[1, 2, 3, 4, 0]])).tolist() == [[4.0, 1.0, 1.0, 3.0, 0.0]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_wanted", [1, 7, 60])
def test_ranks_of_equal_naive(seed, n_wanted):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(0, 40, (6, n_wanted), generator=generator)
    for scores in (coarse_scores(6, 40, seed), torch.randn(6, 40, generator=generator)):
        assert torch.equal(ranks_of(scores, items), naive_ranks_of(scores, items))


def test_ranks_of_are_places_without_ties():
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(5, 200, generator=generator)
    items = torch.randint(1, 200, (5, 30), generator=generator)
    assert torch.equal(ranks_of(scores, items), naive_ranks(scores).gather(1, items))


def test_all_tied_and_infinite():
    scores = torch.zeros(1, 5)
    # the ensemble breaks ties by column
    assert ensemble_scores([scores], exponent=1.0)[0, 1:].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert ranks_of(scores, torch.tensor([[4, 1]])).tolist() == [[1.0, 1.0]]
    scores = torch.tensor([[torch.inf, -torch.inf, 1.0, torch.inf]])
    assert ranks_of(scores, torch.tensor([[1, 2, 3]])).tolist() == [[3.0, 2.0, 1.0]]


def test_padding_score_does_not_matter():
    for pad in (torch.nan, torch.inf, -torch.inf):
        scores = torch.tensor([[pad, 2.0, 3.0]])
        assert ranks_of(scores, torch.tensor([[0, 1, 0]])).tolist() == [[0.0, 2.0, 0.0]]


def test_no_items_wanted_and_no_rows():
    assert ranks_of(torch.zeros(2, 5), torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)
    assert ranks_of(torch.zeros(0, 5), torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 3)
    assert ensemble_scores([torch.zeros(0, 5)]).shape == (0, 5)


def test_ensemble_by_hand():
    # Ranks 1, 2 and 2, 1 with exponent 1: (1 + 1/2) / 2 = 0.75 for both; the third is last twice, 1/3.
    first, second = torch.tensor([[0.0, 5.0, 4.0, 1.0]]), torch.tensor([[0.0, 1.0, 2.0, 0.5]])
    scores = ensemble_scores([first, second], exponent=1.0)
    assert scores[0, 0].item() == -torch.inf
    torch.testing.assert_close(scores[0, 1:], torch.tensor([0.75, 0.75, 1 / 3]))


def test_ensemble_equals_naive():
    members = [coarse_scores(4, 25, seed) for seed in range(3)]
    expected = torch.stack([naive_ranks(m) ** -0.05 for m in members]).mean(0)
    expected[:, 0] = -torch.inf
    torch.testing.assert_close(ensemble_scores(members), expected)


def test_ensemble_holds_one_member_at_a_time():
    past = []

    def members():
        for seed in range(3):
            assert all(reference() is None for reference in past)
            scores = coarse_scores(2, 6, seed)
            past.append(weakref.ref(scores))
            yield scores
            del scores

    ensemble_scores(members())
    assert len(past) == 3


def _hostile_scores():
    """Ties, both zeros, infinities, the smallest numbers of either sign, and more rows than a tile has."""
    scores = torch.randn(21, 70, generator=torch.Generator().manual_seed(3))
    scores[:, ::3] = coarse_scores(21, 24, 4)
    tiny = torch.finfo(torch.float32).smallest_normal / 4
    scores[:, 1:8] = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, tiny, -tiny, 0.0])
    return scores


@pytest.mark.parametrize("by_vectors", [True, False])
def test_both_sorts_order_like_a_stable_sort(by_vectors, monkeypatch):
    # which of the two a machine takes depends on its processor; results must not
    monkeypatch.setattr(descending, "sorts_by_vectors", lambda: by_vectors)
    scores = _hostile_scores()
    order = scores[:, 1:].argsort(dim=1, descending=True, stable=True) + 1
    powers = (1 / torch.arange(1.0, 70)).expand(21, -1)
    expected = torch.full(scores.shape, -torch.inf).scatter_(1, order, powers)
    assert torch.equal(ensemble_scores([scores], exponent=1.0), expected)


def test_ensemble_needs_a_member():
    with pytest.raises(ValueError, match="member"):
        ensemble_scores([])


def test_ranks_from_a_sample_by_hand():
    # of the sampled columns 2, 4 and 6 two beat column 1, and one sampled column stands for two
    scores = torch.tensor([[0.0, 3.0, 9.0, 1.0, 4.0, 2.0, 0.5]])
    sample = torch.tensor([2, 4, 6])
    assert ranks_of(scores, torch.tensor([[1, 3, 0, 2]]), sample).tolist() == [[5.0, 5.0, 0.0, 1.0]]


def test_ranks_from_all_columns_are_exact():
    generator = torch.Generator().manual_seed(1)
    scores, items = (
        torch.randn(4, 30, generator=generator),
        torch.randint(0, 30, (4, 9), generator=generator),
    )
    assert torch.equal(ranks_of(scores, items, torch.arange(1, 30)), ranks_of(scores, items))


def test_ranks_from_a_sample_are_within_the_stated_error():
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(1, 20_001, generator=generator)
    items = torch.randint(1, 20_001, (1, 200), generator=generator)
    exact = ranks_of(scores, items)
    error = ranks_of(scores, items, torch.randperm(20_000, generator=generator)[:2000] + 1) - exact
    # mean square of the errors in units of the stated standard error r·n/S; correlated, so a wide margin
    assert 0.05 < (error.square() / (exact * 10)).mean() < 5


def test_a_cut_ensemble_by_hand():
    # ranks 1 2 3 4 and 4 1 2 3 of columns 1 to 4; beyond depth 2 a rank counts as 5, the last
    one, two = torch.tensor([[0.0, 4.0, 3.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 4.0, 3.0, 2.0]])
    scores = ensemble_scores([one, two], exponent=1.0, depth=2)
    expected = [(1 + 1 / 5) / 2, (1 / 2 + 1) / 2, (1 / 5 + 1 / 2) / 2]
    torch.testing.assert_close(scores[0, 1:4], torch.tensor(expected))
    assert scores[0, 0] == scores[0, 4] == -torch.inf


@pytest.mark.parametrize("n_members", [1, 2, 5])
def test_a_cut_ensemble_ranks_what_every_member_puts_first_as_ever(n_members):
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(8, 300, generator=generator)
    members = [base + 0.01 * torch.randn(8, 300, generator=generator) for _ in range(n_members)]
    cut, whole = (ensemble_scores(members, depth=depth) for depth in (100, None))
    torch.testing.assert_close(cut.topk(20).values, whole.topk(20).values)
    ranked = torch.stack([naive_ranks(member) <= 100 for member in members]).any(0)
    ranked[:, 0] = False
    assert torch.equal(cut > -torch.inf, ranked)


def test_a_depth_of_all_items_is_exact():
    members = [torch.randn(3, 12, generator=torch.Generator().manual_seed(m)) for m in range(2)]
    assert torch.equal(ensemble_scores(members, depth=11), ensemble_scores(members))


@pytest.mark.parametrize("seed", range(3))
def test_barred_pairs_count_for_the_other_items_alone(seed):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(0, 40, (6, 9), generator=generator)
    holds = torch.rand(9, generator=generator) < 0.5
    barred = torch.rand(6, 39, generator=generator) < 0.3
    for scores in (coarse_scores(6, 40, seed), torch.randn(6, 40, generator=generator)):
        compared, wanted = scores[:, 1:].contiguous(), scores.gather(1, items)
        ranks = ranks_above(compared, wanted, items, 40, Barred(*barred.nonzero(as_tuple=True), holds))
        fewer = compared.masked_fill(barred, -torch.inf)
        assert torch.equal(ranks[:, ~holds], ranks_above(compared, wanted, items, 40)[:, ~holds])
        assert torch.equal(ranks[:, holds], ranks_above(fewer, wanted, items, 40)[:, holds])
