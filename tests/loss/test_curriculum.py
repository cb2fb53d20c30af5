"""Distances of lists and what members' lists have in common, by loops and at their ends."""

import math

import pytest
import torch

from recbole_ccd.loss.curriculum import consensus_lists, list_distance


def random_lists(seed, n=30, k=5):
    generator = torch.Generator().manual_seed(seed)
    lists = torch.stack([torch.randperm(9, generator=generator)[:k] + 1 for _ in range(n)])
    lists[3, 2:], lists[4] = 0, 0
    return lists


def naive_distance(reference, other):
    k, listed = len(reference), [j for j in reference if j]
    gain = {j: (k - r) / k for r, j in enumerate(listed)}
    best = sum(gain[j] / math.log2(r + 2) for r, j in enumerate(listed))
    reached = sum(gain.get(j, 0.0) / math.log2(r + 2) for r, j in enumerate(other))
    return 1 - reached / best if best else 0.0


def test_the_distance_equals_a_loop():
    one, other = random_lists(1), random_lists(2).flip(0)
    expected = [naive_distance(*pair) for pair in zip(one.tolist(), other.tolist(), strict=True)]
    torch.testing.assert_close(list_distance(one, other), torch.tensor(expected), atol=1e-6, rtol=0)
    assert list_distance(one, one).abs().max() < 1e-6
    # nothing in common, and the same items the other way round: 1 - (1/3 + 2/3 / log2 3 + 1/2) / (...)
    far, back = torch.tensor([[7, 8, 9]]), torch.tensor([[3, 2, 1]])
    assert list_distance(torch.tensor([[1, 2, 3]]), far).item() == pytest.approx(1.0)
    best = 1 + 2 / 3 / math.log2(3) + 1 / 6
    turned = 1 / 3 + 2 / 3 / math.log2(3) + 1 / 2
    assert list_distance(torch.tensor([[1, 2, 3]]), back).item() == pytest.approx(1 - turned / best)


def test_the_consensus_equals_a_loop():
    members = [random_lists(seed) for seed in (1, 2, 3)]
    found = consensus_lists(members, 0.05)
    for row, lists in enumerate(zip(*(member.tolist() for member in members), strict=True)):
        items = list(dict.fromkeys(j for member in lists for j in member if j))

        def score(item, lists=lists):
            places = [member.index(item) + 1 if item in member else 6 for member in lists]
            return sum(place**-0.05 for place in places)

        best = sorted(map(score, items), reverse=True)[:5]
        of_found = [score(item) for item in found[row].tolist() if item]
        assert of_found == pytest.approx(best, abs=1e-6) and len(set(found[row].tolist()) - {0}) == len(best)


def test_one_member_has_its_own_list():
    lists = random_lists(4)
    assert torch.equal(consensus_lists([lists], 0.05), lists)
    assert torch.equal(consensus_lists([lists, lists], 0.05), lists)
