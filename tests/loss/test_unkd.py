"""UnKD: groups of like popularity, and pairs."""

import math

import pytest
import torch

from recbole_ccd.loss import pair_loss, popularity_groups


def test_groups_have_as_many_interactions_each():
    counts = torch.tensor([0, 1, 6, 2, 0, 3, 6, 0])
    # 18 in all: 6, then 6, then 3 2 1 and what has none
    assert popularity_groups(counts, 3).tolist() == [-1, 2, 0, 2, 2, 2, 1, 2]
    assert popularity_groups(counts, 1).tolist() == [-1] + [0] * 7
    # one item has more than its share
    assert popularity_groups(torch.tensor([0, 9, 1, 1]), 4).tolist() == [-1, 0, 3, 3]
    assert popularity_groups(torch.tensor([0, 0, 0]), 2).tolist() == [-1, 1, 1]


def test_pairs_by_hand():
    # log 3 is a probability of 3/4
    better = torch.tensor([[math.log(3.0), 0.0], [1.0, 2.0]], requires_grad=True)
    worse = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    valid = torch.tensor([[True, True], [False, False]])
    losses = pair_loss(better, worse, valid)
    assert losses.tolist() == [pytest.approx(-math.log(0.75) - math.log(0.5), abs=1e-6), 0.0]
    losses.sum().backward()
    torch.testing.assert_close(better.grad, torch.tensor([[-0.25, -0.5], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="differ in shape"):
        pair_loss(better, worse[:1], valid)
