"""The list-wise loss from scores against hand arithmetic, a naive loop and autograd."""

import math

import pytest
import torch

from recbole_ccd.loss import list_wise_loss, masked_log_sum_exp
from recbole_ccd.loss.listwise import _log_cumulative_sums


def naive_list_wise(interesting, lse, valid):
    losses = []
    for scores, rest, real in zip(interesting.tolist(), lse.tolist(), valid.tolist(), strict=True):
        kept = [s for s, v in zip(scores, real, strict=True) if v]
        loss = 0.0
        for r, score in enumerate(kept):
            loss -= score - math.log(sum(math.exp(s) for s in kept[r:]) + math.exp(rest))
        losses.append(loss)
    return torch.tensor(losses, dtype=interesting.dtype)


def test_hand_arithmetic():
    # Scores log 3 and log 1, rest e^lse = 2. First place: 3 / (3 + 1 + 2) = 1/2, second: 1 / (1 + 2) = 1/3.
    # L = -log(1/2) - log(1/3) = log 6 = 1.791759.
    interesting = torch.tensor([[math.log(3.0), 0.0]])
    loss = list_wise_loss(interesting, torch.tensor([math.log(2.0)]))
    assert loss.item() == pytest.approx(1.791759, abs=1e-6)


def test_list_wise_equals_naive():
    generator = torch.Generator().manual_seed(1)
    interesting = torch.randn(9, 6, generator=generator, dtype=torch.float64) * 4
    lse = torch.randn(9, generator=generator, dtype=torch.float64) * 4
    lse[2] = -torch.inf
    lengths = torch.tensor([6, 6, 6, 0, 1, 2, 3, 4, 5])
    valid = torch.arange(6) < lengths[:, None]
    expected = naive_list_wise(interesting, lse, valid)
    torch.testing.assert_close(list_wise_loss(interesting, lse, valid), expected)
    torch.testing.assert_close(list_wise_loss(interesting[:3], lse[:3]), expected[:3])


def test_list_wise_gradcheck():
    generator = torch.Generator().manual_seed(2)
    interesting = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    lse = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None]
    assert torch.autograd.gradcheck(lambda a, b: list_wise_loss(a, b, valid), (interesting, lse))


def test_list_wise_without_rest_and_without_list():
    # A single listed entity against nothing is certain: loss 0 and gradient 0.
    interesting = torch.tensor([[2.0, 7.0], [2.0, 7.0]], requires_grad=True)
    lse = torch.tensor([-torch.inf, -torch.inf], requires_grad=True)
    loss = list_wise_loss(interesting, lse, torch.tensor([[True, False], [False, False]]))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert interesting.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert lse.grad.tolist() == [0.0, 0.0]


def test_list_wise_is_stable_for_huge_scores():
    # exp(1000) overflows; the first wins by 2000 and costs nothing, the last loses to the rest by 1000.
    interesting = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = list_wise_loss(interesting, torch.tensor([0.0]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(1000.0)
    assert interesting.grad.tolist() == [[0.0, -1.0]]


def test_masked_log_sum_exp():
    # log(e^0 + e^log 3) = log 4 = 1.386294; the entry 99 is masked out.
    scores = torch.tensor([[0.0, 99.0, math.log(3.0)], [1.0, 2.0, 3.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    lse = masked_log_sum_exp(scores, mask)
    assert lse[0].item() == pytest.approx(1.386294, abs=1e-6)
    assert lse[1].item() == -math.inf
    lse.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[0.25, 0.0, 0.75], [0.0, 0.0, 0.0]]))


def test_masked_log_sum_exp_ignores_far_higher_masked_scores():
    scores = torch.tensor([[1e4, -500.0, -500.0]], requires_grad=True)
    lse = masked_log_sum_exp(scores, torch.tensor([[False, True, True]]))
    lse.sum().backward()
    assert lse.item() == pytest.approx(-500.0 + math.log(2.0))
    torch.testing.assert_close(scores.grad, torch.tensor([[0.0, 0.5, 0.5]]))


def test_masked_log_sum_exp_gradcheck():
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(5, 7, generator=generator) < 0.5
    mask[:, 0] = True
    assert torch.autograd.gradcheck(lambda s: masked_log_sum_exp(s, mask), (scores,))


def test_list_wise_is_stable_for_very_low_scores():
    # exp(-200) is 0 in float32, yet all three are equal: L = log 3 + log 2, gradients in thirds and halves.
    interesting = torch.tensor([[-200.0, -200.0]], requires_grad=True)
    lse = torch.tensor([-200.0], requires_grad=True)
    loss = list_wise_loss(interesting, lse)
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.log(6.0), abs=1e-4)
    torch.testing.assert_close(interesting.grad, torch.tensor([[-2 / 3, -1 / 6]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(lse.grad, torch.tensor([5 / 6]), atol=1e-4, rtol=0)


def test_the_upstream_gradient_of_each_row_scales_its_own():
    generator = torch.Generator().manual_seed(4)
    interesting = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    lse = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    plain = torch.autograd.grad(list_wise_loss(interesting, lse).sum(), (interesting, lse))
    weights = torch.tensor([3.0, 0.0, -0.5], dtype=torch.float64)
    scaled = torch.autograd.grad((list_wise_loss(interesting, lse) * weights).sum(), (interesting, lse))
    torch.testing.assert_close(scaled[0], plain[0] * weights[:, None])
    torch.testing.assert_close(scaled[1], plain[1] * weights)


def test_empty_batch():
    scores = torch.zeros(0, 3, requires_grad=True)
    loss = list_wise_loss(scores, masked_log_sum_exp(torch.zeros(0, 5), torch.zeros(0, 5, dtype=torch.bool)))
    loss.sum().backward()
    assert loss.shape == (0,) and scores.grad.shape == (0, 3)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="log-sum-exps"):
        list_wise_loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="valid"):
        list_wise_loss(torch.zeros(2, 3), torch.zeros(2), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask"):
        masked_log_sum_exp(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize("largest", [1.0, 90.0, 599.0, 2000.0])
def test_cumulative_sums_are_those_of_torch(largest):
    generator = torch.Generator().manual_seed(int(largest))
    values = largest * (2 * torch.rand(50, 7, generator=generator) - 1)
    values[3, 2:], values[4], values[5, :3] = -torch.inf, -torch.inf, -torch.inf
    torch.testing.assert_close(_log_cumulative_sums(values), torch.logcumsumexp(values, 1), rtol=0, atol=1e-6)
