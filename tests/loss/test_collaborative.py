"""Collaborative distillation: the loss, and the ranks that items are drawn by."""

import pytest
import torch

from recbole_ccd.loss import best_places, collaborative_loss, places_in

INF = torch.inf


def test_the_loss_by_hand():
    # log 3 is a probability of 3/4: -log 1/2 = 0.693147 and -(1/4 log 3/4 + 3/4 log 1/4) = 1.111642
    scores = torch.tensor([[0.0, 1.0986123, 5.0], [2.0, 2.0, 2.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.25, 0.0], [1.0, 1.0, 1.0]])
    valid = torch.tensor([[True, True, False], [False, False, False]])
    losses = collaborative_loss(scores, labels, valid)
    assert losses.tolist() == [pytest.approx(1.804788, abs=1e-5), 0.0]
    losses.sum().backward()
    # the probability minus the label; nothing on the padding
    expected = torch.tensor([[-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(scores.grad, expected)


def test_the_loss_refuses_other_shapes():
    with pytest.raises(ValueError, match="differ in shape"):
        collaborative_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 3, dtype=torch.bool))


def test_places_in_lists():
    lists = torch.tensor([[7, 2, 9], [4, 0, 0], [0, 0, 0]])
    items = torch.tensor([[9, 7, 3, 0], [0, 4, 2, 7], [0, 1, 2, 3]])
    assert places_in(items, lists).tolist() == [[3, 1, INF, INF], [INF, 1, INF, INF], [INF] * 4]
    assert places_in(items, lists[:, :0]).tolist() == [[INF] * 4] * 3


def test_the_better_rank_counts_and_each_item_once():
    teacher = torch.tensor([[7, 2, 9], [4, 0, 0]])
    student = torch.tensor([[9, 5, 2], [6, 4, 0]])
    items, ranks = best_places(teacher, student)
    assert items.tolist() == [[7, 2, 9, 0, 5, 0], [4, 0, 0, 6, 0, 0]]
    # the student puts item 9 first and item 5, which the teacher has not listed, second
    assert ranks.tolist() == [[1, 2, 1, INF, 2, INF], [1, INF, INF, 1, INF, INF]]


def test_without_a_student_the_teachers_ranks_count():
    teacher = torch.tensor([[7, 2, 0]])
    items, ranks = best_places(teacher, teacher[:, :0])
    assert items.tolist() == [[7, 2, 0]] and ranks.tolist() == [[1, 2, INF]]
