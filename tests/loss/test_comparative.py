"""Comparative distillation: the variance in the code against pairs in a loop."""

import math

import pytest
import torch

from recbole_ccd.loss import listed_scores, mean_squared_difference, most_listed


def by_pairs(scores, teacher, c=1.0):
    pairs = [(a, b) for a in range(len(scores)) for b in range(len(scores))]
    return sum(((scores[a] - scores[b]) - c * (teacher[a] - teacher[b])) ** 2 for a, b in pairs) / len(pairs)


def test_items_by_hand():
    teacher, scores = [0.0, -0.693147, -1.386294], [2.0, 1.0, 1.0]
    assert by_pairs(scores, teacher) == pytest.approx(0.160852, abs=1e-6)
    values = (torch.tensor(scores) - torch.tensor(teacher))[None]
    valid = torch.ones(1, 3, dtype=torch.bool)
    assert mean_squared_difference(values, valid, 1).item() == pytest.approx(0.160852, abs=1e-6)
    exact = torch.tensor(teacher)[None] * 0 + 3.0
    assert mean_squared_difference(exact, valid, 1).item() == 0


def test_users_by_hand():
    scores, teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, -0.7], [-0.7, 0.0]])
    valid = torch.ones(2, 2, dtype=torch.bool)
    found = mean_squared_difference(scores - teacher, valid, 0).mean().item()
    pairs = [by_pairs(scores[:, j].tolist(), teacher[:, j].tolist()) for j in range(2)]
    assert found == pytest.approx(0.445, abs=1e-6) == sum(pairs) / 2


@pytest.mark.parametrize("dim", [0, 1])
def test_what_is_no_sample_is_left_out(dim):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5, 7, generator=generator, requires_grad=True)
    valid = torch.rand(5, 7, generator=generator) < 0.6
    valid[2], valid[:, 3] = False, False
    found = mean_squared_difference(values, valid, dim)
    lines = zip(values, valid, strict=True) if dim else zip(values.T, valid.T, strict=True)
    for line, (some, kept) in enumerate(lines):
        inside = some[kept].tolist()
        expected = by_pairs(inside, [0.0] * len(inside)) if inside else 0.0
        assert found[line].item() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    found.sum().backward()
    assert not values.grad[~valid].any() and torch.isfinite(values.grad).all()
    with pytest.raises(ValueError, match="differ in shape"):
        mean_squared_difference(values, valid[1:], dim)


def test_items_that_most_lists_hold():
    lists = torch.tensor([[3, 1, 0], [3, 2, 1], [3, 5, 0]])
    assert most_listed(lists, 9, 3).tolist() == [3, 1, 2]
    assert most_listed(lists, 9, 100).tolist() == [3, 1, 2, 5]
    assert most_listed(lists[:0], 9, 3).tolist() == []


def test_scores_of_places_have_a_floor():
    lists = torch.tensor([[5, 2, 0], [0, 0, 0]])
    items = torch.tensor([[2, 5, 4, 0], [1, 0, 2, 3]])
    floor = -math.log(6)
    expected = torch.tensor([[-math.log(2), 0.0, floor, floor], [floor] * 4])
    torch.testing.assert_close(listed_scores(items, lists), expected)
