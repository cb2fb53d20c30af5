"""Replay with soft labels."""

import math

import pytest
import torch

from recbole_ccd.loss import adaptive_weight, annealed, replay_loss


def test_by_hand():
    # sigma(0) = 1/2 with any label costs log 2; sigma(log 3) = 3/4 with label 1/2 costs
    # -(log 0.75 + log 0.25) / 2 = (0.287682 + 1.386294) / 2 = 0.836988. Sum 1.530135.
    loss = replay_loss(torch.tensor([0.0, math.log(3.0)]), torch.tensor([0.3, 0.5]))
    assert loss.item() == pytest.approx(1.530135, abs=1e-6)


def test_equals_naive():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(20, generator=generator, dtype=torch.float64)
    labels = torch.rand(20, generator=generator, dtype=torch.float64)
    expected = 0.0
    for s, y in zip(scores.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-s))
        expected -= y * math.log(p) + (1 - y) * math.log(1 - p)
    assert replay_loss(scores, labels).item() == pytest.approx(expected)


def test_gradient_is_the_error():
    scores = torch.tensor([0.0, 300.0, -300.0], requires_grad=True)
    loss = replay_loss(scores, torch.tensor([0.25, 0.5, 1.0]))
    loss.backward()
    # sigma(s) - label: 0.5 - 0.25, 1 - 0.5, 0 - 1; the last two cost 150 and 300.
    torch.testing.assert_close(scores.grad, torch.tensor([0.25, 0.5, -1.0]))
    assert loss.item() == pytest.approx(450.693147, abs=1e-3)


def test_nothing_to_replay():
    assert replay_loss(torch.zeros(0), torch.zeros(0)).item() == 0.0


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="shape"):
        replay_loss(torch.zeros(3), torch.zeros(1))


def test_annealed():
    # 0.5 exp(-10 / 10) = 0.5 * 0.367879 = 0.183940.
    assert annealed(0.5, 0, 10) == 0.5
    assert annealed(0.5, 10, 10) == pytest.approx(0.183940, abs=1e-6)
    assert annealed(0.5, 7, math.inf) == 0.5
    with pytest.raises(ValueError, match="decay"):
        annealed(0.5, 1, 0)


def test_the_adaptive_weight_by_hand():
    # 80 of 100 items are old, and 500 exemplars stand against 1000 rows: sqrt(.8 * .5)
    assert adaptive_weight(80, 100, 500, 1000) == pytest.approx(0.632456, abs=1e-6)
    assert adaptive_weight(80, 80, 4000, 1000) == 2.0 and adaptive_weight(80, 100, 0, 1000) == 0.0
    for n_items, n_rows in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="there must be some"):
            adaptive_weight(0, n_items, 3, n_rows)
