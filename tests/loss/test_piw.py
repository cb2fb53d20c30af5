"""Soft assignment, cluster loss and imitation weights."""

import math

import pytest
import torch

from recbole_ccd.loss import ImitationWeight, cluster_loss, interest_assignment, soft_assignment


def naive_assignment(x, centers, dof):
    rows = []
    for vector in x:
        kernel = [(1 + float((vector - c).square().sum()) / dof) ** (-(dof + 1) / 2) for c in centers]
        rows.append([value / sum(kernel) for value in kernel])
    return torch.tensor(rows, dtype=x.dtype)


def naive_cluster_loss(q):
    sizes = [sum(row[c] for row in q.tolist()) for c in range(q.shape[1])]
    total = 0.0
    for row in q.tolist():
        target = [value**2 / size for value, size in zip(row, sizes, strict=True)]
        target = [value / sum(target) for value in target]
        total += sum(p * math.log(p / value) for p, value in zip(target, row, strict=True) if p > 0)
    return total / len(q)


def test_assignment_by_hand():
    # dof 1: kernels (1 + 0)^-1 = 1 and (1 + 3)^-1 = 1/4, so 0.8 and 0.2.
    q = soft_assignment(torch.tensor([[0.0]]), torch.tensor([[0.0], [math.sqrt(3.0)]]), 1.0)
    torch.testing.assert_close(q, torch.tensor([[0.8, 0.2]]))


@pytest.mark.parametrize("dof", [1.0, 7.0, 12_258.0])
def test_assignment_equals_naive(dof):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    centers = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(soft_assignment(x, centers, dof), naive_assignment(x, centers, dof))


def test_assignment_survives_where_the_kernel_underflows():
    # (1 + 10^4 / 10^4)^-5000 is about 10^-1505.
    x, centers = torch.full((1, 1), 100.0), torch.tensor([[0.0], [-1.0]])
    q = soft_assignment(x, centers, 10_000.0)
    assert q.isfinite().all() and q.sum().item() == pytest.approx(1.0)


def test_assignment_gradcheck():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    centers = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: soft_assignment(a, b, 50.0), (x, centers))


def test_interest_by_hand():
    # one axis: the user at 2, centres 1 and -1, matrices 3 and 4; 2·1·3 = 6 and 2·(-1)·4 = -8
    user, centers = torch.tensor([[2.0]]), torch.tensor([[1.0], [-1.0]])
    p = interest_assignment(user, centers, torch.tensor([[[3.0]], [[4.0]]]))
    assert p[0, 1].item() == pytest.approx(1 / (1 + math.exp(14.0)), rel=1e-5)
    # two axes: (1, 0) turned by a quarter is (0, 1), so that (0, log 3) agrees by log 3, and with 0 by 0
    turned = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]])
    centers = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    p = interest_assignment(torch.tensor([[0.0, math.log(3.0)]]), centers, turned)
    torch.testing.assert_close(p, torch.tensor([[0.75, 0.25]]))


def test_interest_equals_a_loop_and_has_gradients():
    generator = torch.Generator().manual_seed(6)
    shapes = ((5, 3), (4, 3), (4, 3, 3))
    x, centers, matrices = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    p = interest_assignment(x, centers, matrices)
    for u in range(5):
        scores = [
            sum(x[u, b] * centers[c, a] * matrices[c, a, b] for a in range(3) for b in range(3))
            for c in range(4)
        ]
        torch.testing.assert_close(p[u], torch.stack(scores).softmax(0))
    inputs = tuple(value.requires_grad_() for value in (x, centers, matrices))
    assert torch.autograd.gradcheck(interest_assignment, inputs)


def test_cluster_loss_by_hand():
    # Rows (.8 .2) and (.2 .8): both clusters have size 1, targets .64/.68 = 16/17 and 1/17.
    # KL = 16/17 log(20/17) + 1/17 log(5/17) = 0.152959 - 0.071987 = 0.080972 in both rows.
    q = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    assert cluster_loss(q).item() == pytest.approx(0.080972, abs=1e-6)


def test_cluster_loss_equals_naive_and_holds_its_target_constant():
    generator = torch.Generator().manual_seed(3)
    q = torch.softmax(torch.randn(8, 4, generator=generator, dtype=torch.float64), 1).requires_grad_()
    loss = cluster_loss(q)
    assert loss.item() == pytest.approx(naive_cluster_loss(q), rel=1e-9)
    loss.backward()
    target = q.detach().square() / q.detach().sum(0)
    target /= target.sum(1, keepdim=True)
    torch.testing.assert_close(q.grad, -target / q.detach() / 8)


def test_cluster_loss_of_a_hard_assignment_and_of_nothing():
    hard = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    loss = cluster_loss(hard)
    loss.backward()
    assert loss.item() == 0.0 and hard.grad.isfinite().all()
    assert cluster_loss(torch.zeros(0, 3)).item() == 0.0


def test_imitation_weights():
    generator = torch.Generator().manual_seed(4)
    old = torch.softmax(torch.randn(16, 5, generator=generator), 1)
    new = torch.softmax(torch.randn(16, 5, generator=generator), 1)
    model = ImitationWeight(5, generator=generator)
    weights = model(old, new)
    assert weights.shape == (16,) and (weights > 0).all()
    assert weights.mean().item() == pytest.approx(1.0, rel=1e-5)
    # A user who has not moved gets the weight of no change, whatever the assignment.
    still = model(torch.cat([old[:2], old]), torch.cat([old[:2], new]))
    assert still[0].item() == pytest.approx(still[1].item())
    (weights * torch.arange(16.0)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_imitation_weights_formula():
    model = ImitationWeight(3, hidden=4, generator=torch.Generator().manual_seed(5))
    old, new = (
        torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]),
        torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]),
    )
    (w1, b1), (w2, b2) = [(layer.weight, layer.bias) for layer in (model.hidden, model.output)]
    raw = [
        torch.log1p(torch.exp(w2[0] @ torch.relu(w1 @ (b - a) ** 2 + b1) + b2[0]))
        for a, b in zip(old, new, strict=True)
    ]
    expected = torch.stack(raw) / torch.stack(raw).mean()
    torch.testing.assert_close(model(old, new), expected)


def test_imitation_weight_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, second = ImitationWeight(5), ImitationWeight(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.hidden.weight, second.hidden.weight)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="degrees_of_freedom"):
        soft_assignment(torch.zeros(1, 2), torch.zeros(1, 2), 0.0)
    with pytest.raises(ValueError, match="assignments"):
        ImitationWeight(2)(torch.zeros(1, 2), torch.zeros(2, 2))
