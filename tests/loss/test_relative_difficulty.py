"""Weights by relative difficulty: the numbers worked out by hand, and what is exact."""

import pytest
import torch

from recbole_ccd.loss.relative_difficulty import (
    agreement_weights,
    difference_weights,
    mean_ranks,
    with_mean_one,
)


def test_the_numbers_of_the_formulas():
    ranks = torch.tensor([[1, 1], [2, 4], [3, 30]], dtype=torch.int32)
    torch.testing.assert_close(agreement_weights(ranks), torch.tensor([1.0, 0.5, 0.1]))
    torch.testing.assert_close(mean_ranks(ranks), torch.tensor([1.0, 8.0**0.5, 90.0**0.5]))
    weights = difference_weights(
        torch.tensor([1.0, 3.0, 16.5]), torch.tensor([5.0, 2.0, 80.0]), hard_from=20, floor=0.1
    )
    torch.testing.assert_close(weights, torch.tensor([0.1, 0.1, 1.0]))
    torch.testing.assert_close(with_mean_one(weights), torch.tensor([0.25, 0.25, 2.5]))


def test_the_last_easy_rank_is_easy():
    weights = difference_weights(torch.tensor([20.0, 21.0]), torch.tensor([1.0, 21.0]), 20, 0.3)
    assert weights.tolist() == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 3.7])
def test_equal_weights_are_none(value):
    assert torch.equal(with_mean_one(torch.full((1000,), value)), torch.ones(1000))


def test_a_single_member_agrees_with_itself():
    assert torch.equal(agreement_weights(torch.tensor([[3], [7]])), torch.ones(2))
