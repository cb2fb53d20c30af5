"""Correlation distillation: correlations, soft ranks and the loss, by hand and by loops."""

import math

import pytest
import torch

from recbole_ccd.loss import correlation_loss, place_scores, row_correlation, soft_ranks

FULL = torch.ones(1, 3, dtype=torch.bool)
PLACES = torch.tensor([[1.0, 2.0, 3.0]])


def test_values_by_hand():
    p = torch.softmax(place_scores(PLACES) / 2, dim=1)
    q = torch.softmax(torch.tensor([[1.0, 0.0, 0.5]]), dim=1)
    torch.testing.assert_close(p, torch.tensor([[0.437741, 0.309529, 0.252730]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(q, torch.tensor([[0.506480, 0.186324, 0.307196]]), atol=1e-6, rtol=0)
    assert 1 - row_correlation(q, p, FULL, centered=False).item() == pytest.approx(0.029985, abs=1e-6)
    assert 1 - row_correlation(q, p, FULL).item() == pytest.approx(0.227139, abs=1e-6)


def test_ranks_by_hand():
    ranks = torch.tensor([[1.0, 3.0, 2.0]])
    assert 1 - row_correlation(ranks, PLACES, FULL).item() == pytest.approx(0.5, abs=1e-6)
    soft = soft_ranks(torch.tensor([[1.0, 0.0, 0.5]]), FULL, tau=0.1)
    torch.testing.assert_close(soft, torch.tensor([[1.0067, 2.9933, 2.0]]), atol=1e-4, rtol=0)


def naive(scores, temperature, weights, tau, centered):
    """The loss of one list, as the formula is written."""
    n = len(scores)
    p = [r ** (-1 / temperature) for r in range(1, n + 1)]
    q = [math.exp(s / temperature) for s in scores]
    p, q = ([x / sum(part) for x in part] for part in (p, q))
    ranks = [0.5 + sum(1 / (1 + math.exp((s - other) / tau)) for other in scores) for s in scores]

    def rho(a, b, centered):
        if centered:
            a, b = ([x - sum(part) / n for x in part] for part in (a, b))
        product = sum(x * y for x, y in zip(a, b, strict=True))
        return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    values = 1 - rho(q, p, centered)
    return temperature**2 * (weights[0] * values + weights[1] * (1 - rho(ranks, range(1, n + 1), True)))


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 0.0), (0.0, 2.0)])
def test_the_loss_equals_loops(weights, centered):
    scores = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    lengths = [6, 3, 1, 0]
    valid = torch.arange(6) < torch.tensor(lengths)[:, None]
    teacher = place_scores(torch.arange(1.0, 7))
    losses = correlation_loss(scores, teacher, valid, 2.5, weights, 0.4, centered)
    for row, length in zip(range(2), lengths, strict=False):
        expected = naive(scores[row, :length].tolist(), 2.5, weights, 0.4, centered)
        assert losses[row].item() == pytest.approx(expected, rel=1e-4)
    # of one item or none there is nothing to correlate
    assert losses[2:].tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert torch.isfinite(scores.grad).all() and not scores.grad[~valid].any() and scores.grad[0].any()


def test_shift_and_scale_are_not_told():
    scores, valid = torch.tensor([[1.0, 0.0, 0.5, 3.0]]), torch.ones(1, 4, dtype=torch.bool)
    teacher = place_scores(torch.arange(1.0, 5))
    plain, shifted = (correlation_loss(s, teacher, valid, 2.0) for s in (scores, scores + 7))
    torch.testing.assert_close(plain, shifted)
    # ranks alone, as they become hard
    ranks = [correlation_loss(a * scores, teacher, valid, 2.0, (0.0, 1.0), tau=1e-3) for a in (1.0, 9.0)]
    torch.testing.assert_close(*ranks)


def test_scores_that_are_all_equal_have_no_gradient_that_is_none():
    scores = torch.zeros(2, 5, requires_grad=True)
    valid = torch.ones(2, 5, dtype=torch.bool)
    losses = correlation_loss(scores, place_scores(torch.arange(1.0, 6)), valid, 2.0)
    losses.sum().backward()
    assert losses.tolist() == [8.0, 8.0] and torch.isfinite(scores.grad).all()
    with pytest.raises(ValueError, match="differ in shape"):
        row_correlation(scores, scores[:, 1:], valid)
