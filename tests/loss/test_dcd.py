"""DCD: what is ranked too low, by hand."""

import math

import pytest
import torch

from recbole_ccd.loss import too_low

TEACHER = torch.tensor([[7, 2, 9, 0], [4, 3, 0, 0], [0, 0, 0, 0]])
STUDENT = torch.tensor([[2, 7, 5], [1, 0, 0], [6, 8, 0]])


def test_underestimated_and_overestimated_by_hand():
    # 7 is second for the student, 2 first, and 9 missing: at twice the length of 3
    expected = [math.tanh(0.1 * 1), 0.0, math.tanh(0.1 * 3), 0.0]
    low = too_low(TEACHER, STUDENT, slope=0.1)
    assert low[0].tolist() == pytest.approx(expected)
    assert low[1].tolist() == pytest.approx([math.tanh(0.5), math.tanh(0.4), 0.0, 0.0])
    # the student has 2 first and the teacher second; 5 is at place 8 of the teacher
    high = too_low(STUDENT, TEACHER, slope=0.1)
    assert high[0].tolist() == pytest.approx([math.tanh(0.1), 0.0, math.tanh(0.5)])
    assert low[2].tolist() == [0.0] * 4


def test_lists_that_agree_need_no_correction():
    assert not too_low(TEACHER, TEACHER, 1.0).any()
    assert not too_low(TEACHER, STUDENT[:, :0], 1.0).any()
