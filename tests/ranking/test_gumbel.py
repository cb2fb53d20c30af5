"""The replay sampler against its exact distribution, and the merging of its draws."""

from itertools import permutations

import pytest
import torch

from recbole_ccd.ranking import gumbel_top_k, merge_pairs, tanh_top_k, tanh_weights


def inclusion_probabilities(weights, n):
    """Exact, by enumerating every sequence of n draws without replacement."""
    included = [0.0] * len(weights)
    for sequence in permutations(range(len(weights)), n):
        probability, left = 1.0, sum(weights)
        for i in sequence:
            probability *= weights[i] / left
            left -= weights[i]
        for i in sequence:
            included[i] += probability
    return torch.tensor(included, dtype=torch.float64)


def test_enumeration_by_hand():
    # Weights 1, 1, 2 and two draws. Item 2 first: 1/2; else 1/2 and then 2/3: 1/2 + 1/3 = 5/6; the others
    # share 7/6.
    torch.testing.assert_close(
        inclusion_probabilities([1.0, 1.0, 2.0], 2), torch.tensor([7 / 12, 7 / 12, 5 / 6]).double()
    )


def test_inclusion_and_first_draw_probabilities():
    draws = 200_000
    now, proxy = torch.tensor([1.0, 9.0, 30.0, 14.0]), torch.tensor([2.0, 1.0, 3.0, 4.0])
    weights = torch.exp(0.05 * (now - proxy)).tolist()
    items = torch.tensor([11, 12, 13, 14])
    generator = torch.Generator().manual_seed(1)
    rows = [t.expand(draws, 4) for t in (now, proxy, items)]
    drawn = gumbel_top_k(*rows, 2, 0.05, generator)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for observed, expected in (
        (torch.bincount(drawn.view(-1), minlength=15)[11:], inclusion_probabilities(weights, 2)),
        (torch.bincount(drawn[:, 0], minlength=15)[11:], inclusion_probabilities(weights, 1)),
    ):
        sigma = (expected * (1 - expected) / draws).sqrt()
        assert ((observed / draws - expected).abs() < 5 * sigma).all()


def test_forgotten_items_come_first_when_the_temperature_is_high():
    now, proxy = torch.tensor([[5.0, 50.0, 500.0]]), torch.ones(1, 3)
    drawn = gumbel_top_k(now, proxy, torch.tensor([[7, 8, 9]]), 3, 10.0, torch.Generator().manual_seed(2))
    assert drawn.tolist() == [[9, 8, 7]]


def test_padding_is_never_drawn_and_short_rows_are_padded():
    generator = torch.Generator().manual_seed(3)
    items = torch.tensor([[4, 0, 6, 0], [0, 0, 0, 0], [1, 2, 3, 4]]).repeat(500, 1)
    # The padding would be by far the most likely draw.
    now = torch.where(items == 0, 1e6, 1.0)
    drawn = gumbel_top_k(now, torch.ones_like(now), items, 3, 1.0, generator)
    assert drawn.shape == (1500, 3)
    assert {tuple(sorted(row)) for row in drawn[0::3].tolist()} == {(0, 4, 6)}
    assert (drawn[0::3, 2] == 0).all() and not drawn[1::3].any() and (drawn[2::3] > 0).all()


def test_more_draws_than_columns_none_and_no_rows():
    generator = torch.Generator().manual_seed(4)
    ranks, items = torch.ones(2, 2), torch.tensor([[5, 6], [7, 0]])
    drawn = gumbel_top_k(ranks, ranks, items, 4, 1e-4, generator)
    assert drawn[:, 2:].tolist() == [[0, 0], [0, 0]]
    assert sorted(drawn[0].tolist()) == [0, 0, 5, 6] and drawn[1].tolist() == [7, 0, 0, 0]
    assert gumbel_top_k(ranks, ranks, items, 0, 1e-4, generator).shape == (2, 0)
    assert gumbel_top_k(ranks[:0], ranks[:0], items[:0], 3, 1e-4, generator).shape == (0, 3)


def test_same_generator_same_draws():
    ranks, items = torch.ones(50, 20), torch.arange(1, 21).expand(50, 20)
    first, second = (
        gumbel_top_k(ranks, ranks, items, 5, 1e-4, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_draw_arguments_are_checked():
    ranks, items = torch.ones(2, 2), torch.ones(2, 2).long()
    with pytest.raises(ValueError, match="negative"):
        gumbel_top_k(ranks, ranks, items, -1, 1.0, torch.Generator())
    with pytest.raises(ValueError, match="ranks"):
        gumbel_top_k(ranks, ranks[:1], items, 1, 1.0, torch.Generator())


def test_merge_by_hand():
    users = [torch.tensor([2, 1, 2]), torch.tensor([2, 1])]
    items = [torch.tensor([5, 3, 0]), torch.tensor([5, 9])]
    labels = [torch.tensor([0.4, 0.2, 0.9]), torch.tensor([0.7, 0.1])]
    user, item, label = merge_pairs(users, items, labels)
    assert user.tolist() == [1, 1, 2] and item.tolist() == [3, 9, 5]
    torch.testing.assert_close(label, torch.tensor([0.2, 0.1, 0.7]))


def test_merge_equals_naive():
    generator = torch.Generator().manual_seed(6)
    sizes = (40, 0, 25)
    users = [torch.randint(1, 6, (size,), generator=generator) for size in sizes]
    items = [torch.randint(0, 7, (size,), generator=generator) for size in sizes]
    labels = [torch.rand(size, generator=generator) for size in sizes]
    expected = {}
    for user, item, label in zip(*(torch.cat(x).tolist() for x in (users, items, labels)), strict=True):
        if item:
            expected[user, item] = max(label, expected.get((user, item), 0.0))
    merged = merge_pairs(users, items, labels)
    keys = sorted(expected)
    assert list(zip(merged[0].tolist(), merged[1].tolist(), strict=True)) == keys
    assert merged[2].tolist() == [expected[key] for key in keys]


def test_merge_of_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    merged = merge_pairs(
        [none, torch.tensor([3])], [none, torch.tensor([0])], [torch.zeros(0), torch.ones(1)]
    )
    assert [len(part) for part in merged] == [0, 0, 0]
    with pytest.raises(ValueError, match="source"):
        merge_pairs([], [], [])


def test_what_bidirectional_distillation_draws_by():
    # the student's ranks of three items, and the teacher's
    student, teacher = torch.tensor([[30.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 10.0]])
    weights = tanh_weights(student, teacher, 0.1)
    torch.testing.assert_close(weights, torch.tensor([[0.993963, 0.0, 0.0]]), atol=1e-6, rtol=0)
    draws, items = 100_000, torch.tensor([[7, 8, 9]])
    generator = torch.Generator().manual_seed(7)
    # the student draws what the teacher alone ranks high, the teacher by the exponential law
    assert tanh_top_k(student, teacher, items, 2, 0.1, generator).tolist() == [[7, 0]]
    rows = [t.expand(draws, 3) for t in (teacher, student, items)]
    drawn = torch.bincount(gumbel_top_k(*rows, 1, 0.1, generator).view(-1), minlength=10)[7:] / draws
    torch.testing.assert_close(drawn, torch.tensor([0.0157, 0.2845, 0.6998]), atol=0.008, rtol=0)


def test_the_tanh_law_draws_in_proportion_and_nothing_that_is_ranked_higher():
    draws = 100_000
    now, source = torch.tensor([5.0, 9.0, 30.0, 1.0]), torch.tensor([2.0, 1.0, 3.0, 4.0])
    weights = tanh_weights(now, source, 0.05)[:3].tolist()
    rows = [t.expand(draws, 4) for t in (now, source, torch.tensor([1, 2, 3, 4]))]
    drawn = tanh_top_k(*rows, 2, 0.05, torch.Generator().manual_seed(8))
    observed = torch.bincount(drawn.view(-1), minlength=5) / draws
    expected = inclusion_probabilities(weights, 2)
    assert observed[0] == 0 and observed[4] == 0
    sigma = (expected * (1 - expected) / draws).sqrt()
    assert ((observed[1:4] - expected).abs() < 5 * sigma).all()
    # a temperature far below the distances makes them the weights
    small = tanh_weights(now, source, 1e-5)
    torch.testing.assert_close(small / small.sum(), torch.tensor([3, 8, 27, 0]) / 38)
    with pytest.raises(ValueError, match="negative"):
        tanh_top_k(now[None], source[None], torch.ones(1, 4).long(), -1, 1.0, torch.Generator())
