"""Ranking distillation: estimated ranks, weights and the loss."""

import math

import pytest
import torch

from recbole_ccd.loss import estimated_ranks, ranking_distillation, ranking_weights


def test_ranks_are_estimated_from_the_share_of_the_sample_above():
    scores = torch.tensor([[2.5, 0.5, -1.0], [2.5, 0.5, 9.0], [0.0, 0.0, 0.0]])
    sampled = torch.tensor([[3.0, 1.0, 0.5, 0.0]] * 3)
    usable = torch.tensor([[True] * 4, [False, True, True, True], [False] * 4])
    ranks = estimated_ranks(scores, sampled, usable, torch.tensor([101, 101, 101]))
    # 1, 2 and 4 of 4 are higher: 1 + 100/4 …; an equal score is not. Then 0, 1 and 0 of 3: 1 + floor(100/3).
    assert ranks.tolist() == [[26, 51, 101], [1, 34, 1], [1, 1, 1]]


def test_ranks_equal_loops():
    generator = torch.Generator().manual_seed(0)
    scores, sampled = torch.randn(5, 7, generator=generator), torch.randn(5, 30, generator=generator)
    usable = torch.rand(5, 30, generator=generator) < 0.8
    n_candidates = torch.tensor([200, 150, 31, 40, 1])
    ranks = estimated_ranks(scores, sampled, usable, n_candidates)
    for row in range(5):
        drawn = [s for s, kept in zip(sampled[row].tolist(), usable[row].tolist(), strict=True) if kept]
        for place in range(7):
            higher = sum(s > scores[row, place].item() for s in drawn)
            expected = 1 + higher * (n_candidates[row].item() - 1) // len(drawn)
            assert ranks[row, place].item() == expected


def test_weights_by_hand():
    # Places 1, 2, 3 and ranks 3, 1, 4: 2, 0 and 1 places too low. With both constants 1,
    # e^-1 tanh 2 = 0.354646 and e^-3 tanh 1 = 0.037918 stay, in all 0.392564.
    ranks = torch.tensor([[3.0, 1.0, 4.0], [3.0, 1.0, 4.0], [1.0, 2.0, 3.0]])
    valid = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
    weights = ranking_weights(ranks, valid, decay=1.0, slope=1.0)
    assert weights[0].tolist() == pytest.approx([0.903410, 0.0, 0.096590], abs=1e-5)
    assert weights[1].tolist() == [1.0, 0.0, 0.0]
    # every item is where it should be
    assert weights[2].tolist() == [0.0, 0.0, 0.0]


def test_the_loss_by_hand():
    # log 3 is a probability of 3/4: 0.25 log 2 + 0.75 log 4/3
    scores = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]], requires_grad=True)
    weights = torch.tensor([[0.25, 0.75], [0.0, 0.0]], requires_grad=True)
    losses = ranking_distillation(scores, weights)
    assert losses.tolist() == [pytest.approx(0.389048, abs=1e-5), 0.0]
    losses.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[-0.125, -0.1875], [0.0, 0.0]]))
    assert weights.grad is None


def test_what_does_not_fit_is_refused():
    pair, valid = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="decay"):
        ranking_weights(pair, valid, 0.0, 1.0)
    with pytest.raises(ValueError, match="differ"):
        ranking_weights(pair, valid[:, :1], 1.0, 1.0)
    with pytest.raises(ValueError, match="differ"):
        ranking_distillation(pair, pair[:, :1])
