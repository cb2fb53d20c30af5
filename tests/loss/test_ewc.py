"""Elastic weight consolidation against hand arithmetic."""

import math

import pytest
import torch

from recbole_ccd.loss import anchored_penalty, squared_gradients


def test_squared_gradients_by_hand():
    theta, other = torch.tensor([2.0, -1.0], requires_grad=True), torch.ones(3, requires_grad=True)

    def losses():
        return torch.stack([3 * theta[0] + theta[1], -theta[0]])

    # squared gradients are (9, 1) and (1, 0)
    found = [squared_gradients(losses()[n : n + 1], [theta, other], None) for n in (0, 1)]
    assert [part[0].tolist() for part in found] == [[9.0, 1.0], [1.0, 0.0]]
    assert found[0][1].tolist() == [0.0] * 3
    # together with equal signs (3 - 1)^2 = 4, with different ones (3 + 1)^2 = 16, and 10 in the mean
    generator = torch.Generator().manual_seed(1)
    seen = [squared_gradients(losses(), [theta], generator)[0].tolist() for _ in range(200)]
    assert {first for first, _ in seen} == {4.0, 16.0} and {second for _, second in seen} == {1.0}
    assert sum(first for first, _ in seen) / len(seen) == pytest.approx(10.0, abs=1.3)


def test_squared_gradients_of_a_preference_by_hand():
    user, item = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([0.5, 0.0], requires_grad=True)
    losses = -torch.nn.functional.logsigmoid(user @ item)[None]
    by_user, by_item = squared_gradients(losses, [user, item], None)
    # the score is .5, and the gradient of -log sigma(s) is -sigma(-.5) = -.377541
    factor = 1 / (1 + math.exp(0.5))
    assert by_user.tolist() == pytest.approx([(factor * 0.5) ** 2, 0.0])
    assert by_item.tolist() == pytest.approx([factor**2, 4 * factor**2])
    assert by_item.tolist() == pytest.approx([0.142537, 0.570147], abs=1e-6)


def test_the_penalty_by_hand_and_of_the_old_corner_alone():
    now = [torch.tensor([[1.0, 2.0], [3.0, 5.0], [9.0, 9.0]], requires_grad=True), torch.tensor([4.0])]
    anchors = [torch.tensor([[1.0, 0.0], [2.0, 5.0]]), torch.tensor([1.0])]
    importances = [torch.tensor([[7.0, 0.5], [2.0, 3.0]]), torch.tensor([0.1])]
    # (.5 * 4 + 2 * 1 + .1 * 9) / 2
    penalty = anchored_penalty(now, anchors, importances)
    assert penalty.item() == pytest.approx(2.45)
    penalty.backward()
    assert now[0].grad.tolist() == [[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]
