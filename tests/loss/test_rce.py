"""RCE-KD: how its items are weighed, and its terms."""

import math

import pytest
import torch

from recbole_ccd.loss import closing_weights, share_of_teacher, teacher_items_below

OWN = torch.tensor([[4, 7, 1, 9, 2], [5, 6, 0, 0, 0]])
LISTS = torch.tensor([[7, 2, 8], [0, 0, 0]])


def test_teacher_items_below_by_hand():
    # 7 is second and 2 fifth of the student's; 8 is not listed and below all
    assert teacher_items_below(OWN, LISTS).tolist() == [[3, 3, 2, 2, 2], [0, 0, 0, 0, 0]]
    weights = closing_weights(OWN, LISTS, temperature=10.0)
    assert weights[0].tolist() == pytest.approx([0.4, 0.4, 0.3, 0.3, 0.3])
    many = torch.arange(1, 81)[None]
    # of 80 items no more than 50 count
    assert closing_weights(torch.tensor([[99]]), many, 10.0).item() == pytest.approx(5.1)


def test_counts_equal_loops():
    generator = torch.Generator().manual_seed(0)
    own, lists = (
        torch.stack([torch.randperm(20, generator=generator)[:n] + 1 for _ in range(6)]) for n in (9, 5)
    )
    lists[3, 2:] = 0
    found = teacher_items_below(own, lists)
    for row in range(6):
        order = own[row].tolist()
        for place in range(9):
            wanted = [item for item in lists[row].tolist() if item]
            below = [item for item in wanted if item not in order or order.index(item) >= place]
            assert found[row, place] == len(below)


def test_the_share_of_the_teachers_term():
    found = share_of_teacher(LISTS, OWN[:, :3], beta=6.0)
    assert found.tolist() == pytest.approx([math.exp(-6 / 3), 1.0])
    assert share_of_teacher(LISTS, OWN, beta=0.0).tolist() == [1.0, 1.0]
