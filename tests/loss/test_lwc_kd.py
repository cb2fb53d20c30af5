"""The contrastive loss against hand arithmetic and a naive loop."""

import math

import pytest
import torch

from recbole_ccd.loss import contrastive_terms


def contrastive_loss(anchors, candidates, rows, cols, temperature, weights=None):
    """One kind of terms: the weighted sum over the anchors that have positives, by their number."""
    everything = (slice(0, len(candidates)),)
    losses, active = contrastive_terms(anchors, candidates, everything, rows, cols, temperature)
    losses = losses.squeeze(1) if weights is None else losses.squeeze(1) * weights
    return losses.sum() / active.sum().clamp(min=1)


def naive(anchors, candidates, rows, cols, temperature, weights):
    total, active = candidates.sum() * 0.0, 0
    for b in range(len(anchors)):
        positives = [c for r, c in zip(rows.tolist(), cols.tolist(), strict=True) if r == b]
        if not positives:
            continue
        log_softmax = torch.log_softmax(torch.stack([anchors[b] @ e / temperature for e in candidates]), 0)
        loss = -torch.stack([log_softmax[p] for p in positives]).mean()
        total = total + (loss if weights is None else weights[b] * loss)
        active += 1
    return total / max(active, 1)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    anchors = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    candidates = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    rows = torch.tensor([0, 5, 0, 0, 2, 2, 6, 5])
    cols = torch.tensor([1, 0, 8, 3, 4, 4, 2, 7])
    weights = torch.rand(7, generator=generator, dtype=torch.float64)
    return anchors, candidates, rows, cols, weights


def test_hand_arithmetic():
    # h.e / tau = log 3, 0, 0 for h = (2 log 3), e = (1, 0, 0), tau = 2; softmax 3/5, 1/5, 1/5. Positives 0
    # and 1: L = -(log 0.6 + log 0.2) / 2 = (0.510826 + 1.609438) / 2 = 1.060132.
    anchors, candidates = torch.tensor([[2 * math.log(3.0)]]), torch.tensor([[1.0], [0.0], [0.0]])
    loss = contrastive_loss(anchors, candidates, torch.tensor([0, 0]), torch.tensor([0, 1]), 2.0)
    assert loss.item() == pytest.approx(1.060132, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_naive_with_gradients(case, weighted):
    anchors, candidates, rows, cols, weights = case
    results = []
    for function in (contrastive_loss, naive):
        live = candidates.clone().requires_grad_()
        weight = weights.clone().requires_grad_() if weighted else None
        loss = function(anchors, live, rows, cols, 0.7, weight)
        (3.0 * loss).backward()
        results.append((loss.detach(), live.grad, weight.grad if weighted else None))
    torch.testing.assert_close(results[0], results[1])


def test_gradcheck(case):
    anchors, candidates, rows, cols, weights = case
    candidates.requires_grad_()
    weights.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda e, w: contrastive_loss(anchors, e, rows, cols, 1.3, w), (candidates, weights)
    )


def test_more_anchors_than_a_tile_holds(monkeypatch):
    monkeypatch.setattr("recbole_ccd.loss.lwc_kd._TILE_ROWS", 8)
    generator = torch.Generator().manual_seed(2)
    anchors, candidates = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (30, 11))
    rows, cols = torch.arange(30), torch.arange(30) % 11
    results = []
    for function in (contrastive_loss, naive):
        live = candidates.clone().requires_grad_()
        loss = function(anchors, live, rows, cols, 0.5, None)
        loss.backward()
        results.append((loss.detach(), live.grad))
    torch.testing.assert_close(results[0], results[1])


def test_anchors_are_constants(case):
    anchors, candidates, rows, cols, _ = case
    anchors.requires_grad_()
    candidates.requires_grad_()
    contrastive_loss(anchors, candidates, rows, cols, 5.0).backward()
    assert anchors.grad is None and candidates.grad is not None


def test_no_positives_gives_zero_with_a_gradient(case):
    anchors, candidates, _, _, weights = case
    candidates.requires_grad_()
    none = torch.zeros(0, dtype=torch.int64)
    loss = contrastive_loss(anchors, candidates, none, none, 5.0, weights)
    loss.backward()
    assert loss.item() == 0.0 and not candidates.grad.any()


def test_large_products_are_stable():
    candidates = torch.tensor([[1e3], [-1e3]], requires_grad=True)
    loss = contrastive_loss(torch.tensor([[1e3]]), candidates, torch.tensor([0]), torch.tensor([0]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.0) and candidates.grad.isfinite().all()


def test_arguments_are_checked(case):
    anchors, candidates, rows, cols, _ = case
    with pytest.raises(ValueError, match="temperature"):
        contrastive_loss(anchors, candidates, rows, cols, 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        contrastive_loss(anchors[:, :2], candidates, rows, cols, 1.0)


KINDS = (slice(1, 4), slice(5, 9))


@pytest.fixture
def pairs():
    """Positives of 7 anchors among columns 1 to 3 and 5 to 8; anchors 1, 3 and 4 have none of one kind."""
    return torch.tensor([0, 0, 0, 2, 2, 5, 5, 6, 1, 3, 3]), torch.tensor([1, 3, 5, 2, 8, 5, 2, 7, 6, 3, 3])


def test_terms_of_each_kind_are_losses_of_their_own(case, pairs):
    anchors, candidates, *_ = case
    rows, cols = pairs
    live = candidates.clone().requires_grad_()
    losses, active = contrastive_terms(anchors, live, KINDS, rows, cols, 0.7)
    assert active.tolist() == [
        [True, True],
        [False, True],
        [True, True],
        [True, False],
        [False, False],
        [True, True],
        [False, True],
    ]
    assert (losses[~active] == 0).all() and (losses[active] > 0).all()
    share = torch.rand(7, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (losses * share).sum().backward()
    expected, total = candidates.clone().requires_grad_(), 0.0
    for number, part in enumerate(KINDS):
        own = (cols >= part.start) & (cols < part.stop)
        for b in range(7):
            mine = rows[own] == b
            if mine.any():
                one = naive(
                    anchors[b : b + 1],
                    expected[part],
                    torch.zeros(int(mine.sum()), dtype=torch.int64),
                    cols[own][mine] - part.start,
                    0.7,
                    None,
                )
                torch.testing.assert_close(losses[b, number].detach(), one.detach())
                total = total + share[b, number] * one
    total.backward()
    torch.testing.assert_close(live.grad, expected.grad)
    assert not live.grad[[0, 4]].any(), "rows outside all kinds"


def test_terms_gradcheck(case, pairs):
    anchors, candidates, *_ = case
    candidates.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda e: contrastive_terms(anchors, e, KINDS, *pairs, 1.3)[0], (candidates,)
    )


def test_rows_outside_all_kinds_may_hold_anything(case, pairs):
    anchors, candidates, *_ = case
    plain = contrastive_terms(anchors, candidates, KINDS, *pairs, 1.3)[0]
    candidates[[0, 4]] = 1e30
    assert torch.equal(contrastive_terms(anchors, candidates, KINDS, *pairs, 1.3)[0], plain)
