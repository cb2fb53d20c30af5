"""Distillation of logits, by hand."""

import pytest
import torch

from recbole_ccd.loss import logit_distance, place_scores

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def test_by_hand():
    scores = torch.tensor([[0.5, 0.0, -1.0]])
    teacher = place_scores(torch.tensor([1.0, 2.0, 4.0]))
    valid = torch.ones(1, 3, dtype=torch.bool)
    assert logit_distance(scores, teacher, valid, ZERO, ONE).item() / 3 == pytest.approx(0.293225, abs=1e-6)
    # shifted by 1 and scaled by 2: 1, -0.386294 and -1.772589
    found = logit_distance(scores, teacher, valid, ONE, 2 * ONE).item()
    assert found == pytest.approx(0.25 + 0.386294**2 + 0.772589**2, abs=1e-5)


def test_scale_and_shift_have_gradients_and_the_padding_has_none():
    shift, scale = torch.tensor(0.2, requires_grad=True), torch.tensor(1.5, requires_grad=True)
    scores = torch.tensor([[0.5, 0.0], [1.0, 9.0], [9.0, 9.0]], requires_grad=True)
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    teacher = place_scores(torch.tensor([1.0, 2.0]))
    losses = logit_distance(scores, teacher, valid, shift, scale)
    losses.sum().backward()
    left = [0.5 - 0.2, -0.2 + 1.5 * 0.693147, 1.0 - 0.2]
    assert losses.tolist() == pytest.approx([left[0] ** 2 + left[1] ** 2, left[2] ** 2, 0.0], abs=1e-5)
    assert shift.grad.item() == pytest.approx(-2 * sum(left), abs=1e-5)
    assert scale.grad.item() == pytest.approx(2 * left[1] * 0.693147, abs=1e-5)
    assert not scores.grad[~valid].any()
    with pytest.raises(ValueError, match="do not fit"):
        logit_distance(scores, teacher[1:], valid, shift, scale)
