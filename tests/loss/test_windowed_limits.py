"""The relaxed ranking loss from vectors: what takes no part in it, and extreme scores."""

import math

import pytest
import torch

from recbole_ccd.loss import Windows, windowed_ranking_loss
from tests.loss.windows import assert_equals_dense, gradients, make_windows, random_case


def test_rows_without_interesting_columns_add_nothing():
    rows, columns, interesting, windows = random_case(9, 12, 20, 3)
    listless = torch.tensor([0, 3, 7])
    interesting[listless] = 0
    rows.requires_grad_()
    before = windowed_ranking_loss(rows, columns, interesting, windows)
    (by_rows,) = gradients(before, rows)
    assert not by_rows[listless].any() and by_rows.any()
    with torch.no_grad():
        rows[listless] *= 7.0
    torch.testing.assert_close(windowed_ranking_loss(rows, columns, interesting, windows), before)


def test_a_batch_without_any_list_has_a_gradient_of_zero():
    rows, columns, interesting, windows = random_case(10, 5, 9, 2)
    inputs = rows.requires_grad_(), columns.requires_grad_()
    loss = windowed_ranking_loss(*inputs, torch.zeros_like(interesting), windows)
    assert loss.item() == 0.0 and not any(g.any() for g in gradients(loss, *inputs))


def test_the_padding_column_takes_no_part():
    rows, columns, interesting, windows = random_case(11, 8, 15, 2)
    assert (interesting == 0).any() and (interesting > 0).any()
    other = columns.clone()
    other[0] = 500.0
    before, after = (windowed_ranking_loss(rows, c, interesting, windows) for c in (columns, other))
    assert torch.equal(before, after)
    (by_columns,) = gradients(
        windowed_ranking_loss(rows, other.requires_grad_(), interesting, windows), other
    )
    assert torch.isfinite(by_columns).all() and not by_columns[0].any()


def test_very_low_scores_do_not_underflow():
    # exp(-200) is 0 in float32
    generator = torch.Generator().manual_seed(12)
    rows = torch.ones(6, 1)
    columns = -200.0 + torch.randn(30, 1, generator=generator)
    _, _, interesting, windows = random_case(12, 6, 30, 2)
    assert (columns.exp() == 0).all() and windows.mask(30).any()
    # scores of this size are exact to 1.5e-5
    assert_equals_dense(rows, columns, interesting, windows, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("high", [1e4, 300.0])
def test_barred_columns_with_huge_scores_take_no_part(high):
    # with no clamp to hide behind; column 3 is barred, the others score about -50
    rows, columns = torch.ones(1, 1), torch.tensor([[0.0], [-50.0], [-51.0], [high], [-49.0], [-52.0]])
    windows = make_windows(torch.arange(1, 6), [0], [1], [4], barred=[(0, 1)])
    assert windows.mask(6)[0].nonzero().flatten().tolist() == [2, 4, 5]
    columns.requires_grad_()
    loss = windowed_ranking_loss(rows, columns, torch.tensor([[1]]), windows, score_max=1e6)
    e = [math.exp(s) for s in (0.0, -1.0, 1.0, -2.0)]
    assert loss.item() == pytest.approx(math.log(sum(e)), abs=1e-4)
    (by_columns,) = gradients(loss, columns)
    expected = [0.0, e[0] / sum(e) - 1.0, e[1] / sum(e), 0.0, e[2] / sum(e), e[3] / sum(e)]
    assert by_columns.flatten().tolist() == pytest.approx(expected, abs=1e-5)
    assert by_columns[3].item() == 0.0


def test_columns_past_a_shorter_window_with_huge_scores_take_no_part():
    # both rows are in one tile; column 4 is inside the window of row 1 only
    columns = torch.tensor([[0.0], [-1.0], [-2.0], [0.5], [400.0]], dtype=torch.float64)
    windows = make_windows(torch.tensor([2, 3, 4, 1]), [0, 0], [0], [2, 3])
    assert_equals_dense(
        torch.ones(2, 1, dtype=torch.float64), columns, torch.tensor([[1], [1]]), windows, score_max=600.0
    )


def test_empty_batch():
    none = torch.zeros(0, dtype=torch.int64)
    windows = Windows(torch.tensor([1, 2, 1, 2]), none, [], none, none, none)
    rows, columns = torch.zeros(0, 3, requires_grad=True), torch.ones(3, 3, requires_grad=True)
    loss = windowed_ranking_loss(rows, columns, torch.zeros(0, 2, dtype=torch.int64), windows)
    by_rows, by_columns = gradients(loss, rows, columns)
    assert loss.item() == 0.0 and by_rows.shape == (0, 3) and not by_columns.any()
    assert windows.mask(3).shape == (0, 3)


def test_shapes_are_checked():
    windows = make_windows(torch.arange(1, 4), [0, 0], [0], [1, 1])
    rows, columns, lists = torch.zeros(2, 3), torch.zeros(4, 3), torch.ones(2, 1, dtype=torch.int64)
    windowed_ranking_loss(rows, columns, lists, windows)
    for wrong in (
        (rows[:, :2], columns, lists, windows),
        (rows[:1], columns, lists, windows),
        (rows, columns, lists[:1], windows),
        (rows, columns, lists, make_windows(torch.arange(1, 4), [0], [0], [1])),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            windowed_ranking_loss(*wrong)
