"""Divergences between frozen and live outputs."""

import math

import pytest
import torch

from recbole_ccd.loss import output_kl, pairwise_kl


def test_output_kl_by_hand():
    # Frozen 3/4, 1/4; live 1/2, 1/2: 0.75 log 1.5 + 0.25 log 0.5 = 0.304099 - 0.173287 = 0.130812.
    # The second row does not change: the mean is 0.065406.
    frozen = torch.tensor([[math.log(3.0), 0.0], [1.0, 5.0]])
    live = torch.tensor([[4.0, 4.0], [2.0, 6.0]])
    assert output_kl(frozen, live).item() == pytest.approx(0.065406, abs=1e-6)


def test_output_kl_equals_naive_with_gradient():
    generator = torch.Generator().manual_seed(1)
    frozen = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    live = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = output_kl(frozen, live)
    expected = 0.0
    for f, s in zip(frozen.detach(), live.detach(), strict=True):
        p, q = f.exp() / f.exp().sum(), s.exp() / s.exp().sum()
        expected += sum(float(a * math.log(a / b)) for a, b in zip(p, q, strict=True)) / 4
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert frozen.grad is None
    torch.testing.assert_close(live.grad, (torch.softmax(live, 1) - torch.softmax(frozen, 1)).detach() / 4)


def test_output_kl_with_masked_columns():
    frozen = torch.tensor([[-torch.inf, 1.0, 2.0]])
    live = torch.tensor([[-torch.inf, 1.5, 2.5]], requires_grad=True)
    loss = output_kl(frozen, live)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert live.grad.isfinite().all()


def test_pairwise_kl_by_hand():
    # Frozen 3/4, live 1/2: 0.130812 as above; the second pair is unchanged.
    loss = pairwise_kl(torch.tensor([math.log(3.0), -2.0]), torch.tensor([0.0, -2.0]))
    assert loss.item() == pytest.approx(0.065406, abs=1e-6)


def test_pairwise_kl_equals_naive_with_gradient():
    generator = torch.Generator().manual_seed(2)
    frozen = torch.randn(9, generator=generator, dtype=torch.float64)
    live = torch.randn(9, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = pairwise_kl(frozen, live)
    expected = 0.0
    for f, s in zip(frozen.sigmoid().tolist(), live.sigmoid().tolist(), strict=True):
        expected += (f * math.log(f / s) + (1 - f) * math.log((1 - f) / (1 - s))) / 9
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    torch.testing.assert_close(live.grad, (live.sigmoid() - frozen.sigmoid()).detach() / 9)


def test_extreme_scores_stay_finite():
    frozen, live = (
        torch.tensor([500.0, -500.0, 500.0]),
        torch.tensor([-500.0, 500.0, 500.0], requires_grad=True),
    )
    loss = pairwise_kl(frozen, live)
    loss.backward()
    assert loss.item() == pytest.approx(1000 / 3)
    torch.testing.assert_close(live.grad, torch.tensor([-1.0, 1.0, 0.0]) / 3)


def test_nothing_to_compare_and_shapes():
    assert output_kl(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0.0
    assert pairwise_kl(torch.zeros(0), torch.zeros(0)).item() == 0.0
    with pytest.raises(ValueError, match="frozen"):
        output_kl(torch.zeros(1, 3), torch.zeros(1, 2))
