"""Alignment of answers: the number worked out by hand, a loop, and lists that are shorter."""

import pytest
import torch

from recbole_ccd.loss.gradient_alignment import deviation, response_alignment


def test_the_number_of_the_formula():
    student, teacher = torch.tensor([[2.0 - 1.5]]), torch.tensor([[1.0 - 0.8]])
    loss = response_alignment(student, teacher, torch.ones(1, 1, dtype=torch.bool))
    assert 0.1 * loss.item() == pytest.approx(0.009)


def test_it_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 5, generator=generator) for _ in range(2))
    lengths = [5, 3, 1, 0]
    valid = torch.arange(5) < torch.tensor(lengths)[:, None]
    found = response_alignment(student, teacher, valid)
    for row, n in enumerate(lengths):
        squares = [(student[row, r] - teacher[row, r]).item() ** 2 for r in range(n)]
        assert found[row].item() == pytest.approx(sum(squares) / max(n, 1), rel=1e-5)
    listed = student[valid]
    assert deviation(student, valid).item() == pytest.approx(
        (listed - listed.mean()).square().mean().sqrt().item(), rel=1e-5
    )
    assert deviation(student, torch.zeros_like(valid)).item() == 0
    with pytest.raises(ValueError, match="differ in shape"):
        response_alignment(student, teacher[:, :2], valid)
