"""Lists of mixtures: the formula by a loop, the number worked out by hand, and the two ends."""

import math

import pytest
import torch

from recbole_ccd.loss.mixup import mixed_lists


def naive(first, second, share):
    """The list of one mixture, as the formula is written."""
    n, sides = len(first), [([j for j in first if j], share), ([j for j in second if j], 1 - share)]
    items = list(dict.fromkeys(j for side, weight in sides for j in side if weight))

    def score(item):
        return sum(
            weight * -math.log(side.index(item) + 1 if item in side else 2 * n) for side, weight in sides
        )

    found = sorted(items, key=score, reverse=True)[:n]
    return found + [0] * (n - len(found))


def test_the_number_of_the_formula():
    lists = mixed_lists(torch.tensor([[1, 2]]), torch.tensor([[2, 3]]), torch.tensor([0.7]))
    # scores -.4159, -.4852 and -1.1784 of 1, 2 and 3
    assert lists.tolist() == [[1, 2]]


def test_it_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.stack([torch.randperm(12, generator=generator)[:6] + 1 for _ in range(40)]) for _ in range(2)
    )
    first[3:9, 4:], second[6:12, 1:], first[12], second[13] = 0, 0, 0, 0
    shares = torch.rand(40, generator=generator)
    shares[20], shares[21], shares[12] = 0.0, 1.0, 1.0
    found = mixed_lists(first, second, shares)
    expected = [naive(*case) for case in zip(first.tolist(), second.tolist(), shares.tolist(), strict=True)]
    assert found.tolist() == expected
    assert found[20].equal(second[20]) and found[21].equal(first[21]) and not found[12].any()


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shares"):
        mixed_lists(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64), torch.ones(3))
