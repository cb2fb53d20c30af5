"""PISA's interests, their shift, and its contrast by hand arithmetic."""

import math

import pytest
import torch

from recbole_ccd.loss import info_nce, interest_shift, interests


def test_interests_by_hand():
    users, centers = torch.tensor([[3.0, 4.0], [-2.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 0.1]])
    # cosines (.6, .8) and (-1, 0), divided by .5
    shares = interests(users, centers, 0.5)
    first, second = 1 / (1 + math.exp(0.4)), 1 / (1 + math.exp(2.0))
    assert shares[0].tolist() == pytest.approx([first, 1 - first])
    assert shares[1].tolist() == pytest.approx([second, 1 - second])
    assert shares.flatten().tolist() == pytest.approx([0.401312, 0.598688, 0.119203, 0.880797], abs=1e-6)


def test_a_shift_by_hand():
    before = torch.tensor([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    now = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.5, 0.5]])
    # against (.75, .25): log(1 / .75) / 2 + (.5 log(.5 / .75) + .5 log(.5 / .25)) / 2
    expected = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert interest_shift(before, now).tolist() == pytest.approx([0.0, math.log(2), expected])
    assert expected == pytest.approx(0.215762, abs=1e-6)
    torch.testing.assert_close(interest_shift(before, now), interest_shift(now, before))


def test_the_contrast_by_hand():
    live = torch.tensor([[2.0, 0.0], [3.0, 4.0]], requires_grad=True)
    references = torch.tensor([[7.0, 0.0], [0.0, 1.0], [0.0, -1.0]], requires_grad=True)
    losses = info_nce(live, references, torch.tensor([0, 1]), 0.5)
    # cosines (1, 0, 0) and (.6, .8, -.8), divided by .5
    first = math.log(math.exp(2) + 2) - 2
    second = math.log(math.exp(1.2) + math.exp(1.6) + math.exp(-1.6)) - 1.6
    assert losses.tolist() == pytest.approx([first, second])
    assert losses.tolist() == pytest.approx([0.239545, 0.537126], abs=1e-6)
    losses.sum().backward()
    assert references.grad is None and live.grad.abs().sum() > 0


def test_nobody_is_no_loss():
    none = torch.zeros(0, 4, requires_grad=True)
    losses = info_nce(none, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5)
    assert losses.shape == (0,) and losses.sum().item() == 0.0
    # one alone has nobody to be told from
    one = torch.ones(1, 4)
    assert info_nce(one, -one, torch.tensor([0]), 0.5).item() == pytest.approx(0.0, abs=1e-6)
