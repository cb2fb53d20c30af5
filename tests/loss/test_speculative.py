"""Speculative distillation: verification, replacement and the loss of the finished list."""

import pytest
import torch

from recbole_ccd.loss import finished_lists, in_order_of, list_wise_loss, masked_log_sum_exp, verified


def test_by_hand():
    # the teacher has 7 3 9 5, three places accept; the student proposes 9 8 7
    lists, proposals = torch.tensor([[7, 3, 9, 5]]), torch.tensor([[9, 8, 7]])
    accepted = verified(proposals, lists, accept_rank=3)
    assert accepted.tolist() == [[True, False, True]]
    # 3 is the only replacement
    finished = finished_lists(proposals, accepted, torch.tensor([[3, 0, 0]]), lists)
    assert finished.tolist() == [[7, 3, 9]]
    scores = {7: 1.0, 3: 0.5, 9: 2.0, 8: 1.5}
    rejected = torch.tensor([[scores[8]]])
    rest = masked_log_sum_exp(rejected, torch.ones(1, 1, dtype=torch.bool))
    loss = list_wise_loss(torch.tensor([[scores[item] for item in finished[0].tolist()]]), rest)
    assert loss.item() == pytest.approx(4.365546, abs=1e-6)


def test_where_all_is_rejected_the_list_is_the_teachers_first_places():
    lists, proposals = torch.tensor([[7, 3, 9, 5]]), torch.tensor([[8, 1, 2]])
    accepted = verified(proposals, lists, accept_rank=3)
    assert not accepted.any()
    assert finished_lists(proposals, accepted, torch.tensor([[9, 7, 3]]), lists).tolist() == [[7, 3, 9]]


def test_where_all_is_accepted_nothing_is_replaced():
    lists = torch.tensor([[7, 3, 9, 5]])
    accepted = verified(torch.tensor([[9, 5, 0, 7]]), lists, accept_rank=4)
    assert accepted.tolist() == [[True, True, False, True]]
    finished = finished_lists(torch.tensor([[9, 5, 0, 7]]), accepted, torch.tensor([[3, 0]]), lists)
    assert finished.tolist() == [[7, 9, 5, 0]]


def test_order_and_padding():
    lists = torch.tensor([[4, 6, 2, 0], [0, 0, 0, 0]])
    items = torch.tensor([[0, 2, 8, 4], [3, 0, 0, 0]])
    assert in_order_of(items, lists).tolist() == [[4, 2, 8, 0], [3, 0, 0, 0]]
