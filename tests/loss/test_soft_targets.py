"""Soft targets over a list: what places are worth, and two losses."""

import math

import pytest
import torch

from recbole_ccd.loss import place_scores, soft_target_kl, top_one_cross_entropy

TEACHER = place_scores(torch.tensor([1.0, 2.0]))
BOTH = torch.ones(1, 2, dtype=torch.bool)


def test_a_place_is_worth_a_power_of_its_rank():
    labels = torch.exp(place_scores(torch.tensor([1.0, 4.0, 9.0, torch.inf])) / 2.0)
    torch.testing.assert_close(labels, torch.tensor([1.0, 1 / 2, 1 / 3, 0.0]))


def test_kl_by_hand():
    # At temperature 1 the teacher says 2/3, 1/3 and an indifferent student 1/2, 1/2:
    # 2/3 log 4/3 + 1/3 log 2/3 = 0.191788 - 0.135155.
    student = torch.zeros(1, 2)
    assert soft_target_kl(student, TEACHER, BOTH, 1.0).item() == pytest.approx(0.056633, abs=1e-6)
    # At temperature 2 the shares are 1 : 1/sqrt 2, that is 0.585786 and 0.414214; four times
    # 0.585786 log 1.171573 + 0.414214 log 0.828427 = 0.092757 - 0.077966.
    assert soft_target_kl(student, TEACHER, BOTH, 2.0).item() == pytest.approx(0.05916, abs=1e-5)
    # The student's scores are tempered as well: 2·(-log 2)/2 is what the teacher says at temperature 1.
    exact = torch.tensor([[0.0, -2 * math.log(2.0)]])
    assert soft_target_kl(exact, 2 * TEACHER, BOTH, 2.0).item() == pytest.approx(0.0, abs=1e-6)


def test_top_one_cross_entropy_by_hand():
    # -(2/3 log 3/4 + 1/3 log 1/4) = 0.191788 + 0.462098
    student = torch.tensor([[math.log(3.0), 0.0]])
    assert top_one_cross_entropy(student, TEACHER, BOTH).item() == pytest.approx(0.653886, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_both_equal_loops_with_padding(temperature):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(4, 6, generator=generator, requires_grad=True)
    lengths = [6, 3, 1, 0]
    valid = torch.arange(6) < torch.tensor(lengths)[:, None]
    teacher = place_scores(torch.arange(1.0, 7.0))
    kl = soft_target_kl(student, teacher, valid, temperature)
    listnet = top_one_cross_entropy(student, teacher / temperature, valid)
    for row, n in enumerate(lengths):
        shares = [r ** (-1 / temperature) for r in range(1, n + 1)]
        p = [share / sum(shares) for share in shares]
        scores = student[row].tolist()[:n]
        soft = [math.exp(s / temperature) for s in scores]
        hard = [math.exp(s) for s in scores]
        expected = sum(p[r] * math.log(p[r] / (soft[r] / sum(soft))) for r in range(n))
        assert kl[row].item() == pytest.approx(temperature**2 * expected, rel=1e-4, abs=1e-6)
        expected = -sum(p[r] * math.log(hard[r] / sum(hard)) for r in range(n))
        assert listnet[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    (gradient,) = torch.autograd.grad((kl + listnet).sum(), student)
    assert gradient.isfinite().all() and (gradient[~valid] == 0).all() and (gradient[1, :3] != 0).all()


def test_at_temperature_1_both_have_the_same_gradient():
    student = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    valid = torch.arange(5) < torch.tensor([[5], [2], [0]])
    teacher = place_scores(torch.arange(1.0, 6.0))
    (kl,) = torch.autograd.grad(soft_target_kl(student, teacher, valid, 1.0).sum(), student)
    (listnet,) = torch.autograd.grad(top_one_cross_entropy(student, teacher, valid).sum(), student)
    torch.testing.assert_close(kl, listnet)


def test_large_scores_stay_finite():
    student = torch.tensor([[3e4, -3e4], [0.0, 3e4]], requires_grad=True)
    valid = torch.tensor([[True, True], [True, False]])
    losses = soft_target_kl(student, TEACHER, valid, 0.1) + top_one_cross_entropy(student, TEACHER, valid)
    losses.sum().backward()
    assert losses.isfinite().all() and student.grad.isfinite().all()


def test_what_does_not_fit_is_refused():
    student = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="temperature"):
        soft_target_kl(student, TEACHER, BOTH, 0.0)
    with pytest.raises(ValueError, match="teacher"):
        soft_target_kl(student, torch.zeros(3), BOTH, 1.0)
    with pytest.raises(ValueError, match="valid"):
        top_one_cross_entropy(student, TEACHER, BOTH[:, :1])
