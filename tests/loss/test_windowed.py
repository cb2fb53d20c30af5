"""The relaxed ranking loss from vectors against hand arithmetic and a naive dense autograd reference."""

import math

import pytest
import torch

from recbole_ccd.loss import windowed_ranking_loss
from recbole_ccd.loss.windowed import _TILE_ELEMENTS, _used
from tests.loss.windows import assert_equals_dense, gradients, make_windows, random_case


def one_row(scores, listed, window, **keys):
    """A row whose score of column j is ``scores[j]``, with the columns in ``window`` uninteresting."""
    others = [j for j in range(1, len(scores)) if j not in window]
    windows = make_windows(torch.tensor([*window, *others]), [0], [0], [len(window)])
    row, columns = torch.ones(1, 1, requires_grad=True), torch.tensor(scores)[:, None].requires_grad_()
    loss = windowed_ranking_loss(row, columns, torch.tensor([listed]), windows, **keys)
    loss.backward()
    return loss.item(), row.grad.item(), columns.grad.flatten().tolist()


def test_hand_arithmetic():
    # exp of the scores: 3, 1, 2. First place: 3 / (3 + 1 + 2) = 1/2, second: 1 / (1 + 2) = 1/3, L = log 6.
    # dL/ds = p - 1 for each place and what stands below it: -1 + 1/2, -1 + 1/6 + 1/3, 1/3 + 2/3.
    loss, by_row, by_column = one_row([9.0, math.log(3.0), 0.0, math.log(2.0)], [1, 2], [3])
    assert loss == pytest.approx(math.log(6.0), abs=1e-6)
    assert by_column == pytest.approx([0.0, -0.5, -0.5, 1.0], abs=1e-6)
    assert by_row == pytest.approx(-0.5 * math.log(3.0) + math.log(2.0), abs=1e-6)


def test_clamp_by_hand():
    # Both scores clamp to 1: L = -log(e / (e + e)) = log 2, and neither has a gradient.
    loss, by_row, by_column = one_row([0.0, 5.0, 3.0], [1], [2], score_max=1.0)
    assert loss == pytest.approx(math.log(2.0), abs=1e-6)
    assert by_row == 0.0 and by_column == [0.0, 0.0, 0.0]


def test_clamped_scores_alone_lose_their_gradient():
    # columns 1 (listed) and 3 (uninteresting) are clamped, 2 and 4 are not
    scores = [0.0, 5.0, 0.5, 3.0, 0.25]
    loss, _, by_column = one_row(scores, [1, 2], [3, 4], score_max=1.0)
    e = [math.exp(min(s, 1.0)) for s in scores]
    first, second = sum(e[1:]), sum(e[2:])
    assert loss == pytest.approx(math.log(first * second / e[1] / e[2]), abs=1e-5)
    assert by_column[1] == 0.0 and by_column[3] == 0.0
    assert by_column[2] == pytest.approx(e[2] / first + e[2] / second - 1.0, abs=1e-6)
    assert by_column[4] == pytest.approx(e[4] / first + e[4] / second, abs=1e-6)


def test_mask_by_hand():
    # circle 3 1 4 2; row 0 and 2 start at place 3 and wrap around, row 1 starts at place 1
    circle = torch.tensor([3, 1, 4, 2])
    windows = make_windows(circle, [1, 0, 1], [1, 3], [2, 3, 4], barred=[(1, 1), (2, 3)])
    expected = [
        [False, False, True, True, False],  # 2 3
        [False, True, True, False, False],  # 1 (4) 2
        [False, True, True, True, False],  # 2 3 1 (4)
    ]
    assert windows.mask(5).tolist() == expected
    assert windows.mask(7).tolist() == [line + [False, False] for line in expected]


@pytest.mark.parametrize("n_groups", [1, 3, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_dense_reference(seed, n_groups):
    assert_equals_dense(*random_case(seed, 29, 40, n_groups))


def test_equals_the_dense_reference_where_few_columns_are_in_a_window():
    rows, columns, interesting, _ = random_case(4, 24, 400, 4)
    circle = torch.randperm(399, generator=torch.Generator().manual_seed(4)) + 1
    # two overlap, one begins where another does, one passes the circle's end and comes back to the first
    starts, lengths = [3, 10, 3, 395, 200], [12, 9, 0, 11, 7, 12]
    barred = [(row, row % 7) for row in range(24)]
    windows = make_windows(circle, [row % 5 for row in range(24)], starts, lengths * 4, barred)
    places, first_of = _used(windows)
    assert len(places) < 60 and [int(places[first_of[start]]) for start in starts] == starts
    assert_equals_dense(rows, columns, interesting, windows)


def test_equals_the_dense_reference_in_single_precision():
    case = random_case(3, 30, 300, 4, dtype=torch.float32)
    assert_equals_dense(*case, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score_max", [-2.0, 0.0, 1.5])
def test_equals_the_dense_reference_where_many_scores_are_clamped(score_max):
    rows, columns, interesting, windows = random_case(4, 25, 40, 3)
    share = (rows @ columns.T > score_max).double().mean()
    assert 0.1 < share < 0.9
    assert_equals_dense(rows, columns, interesting, windows, score_max)


def test_a_group_of_several_tiles_equals_the_dense_reference():
    n_columns = 3001
    case = random_case(5, 1300, n_columns, 2, k=3, dim=3, n_barred=4000)
    sizes = [size for size, _ in case[3].tiles]
    assert max(sizes) * (n_columns - 1) > _TILE_ELEMENTS and max(sizes) != min(sizes)
    assert_equals_dense(*case)


def test_rows_that_count_differently_equal_the_dense_reference():
    rows, columns, interesting, windows = random_case(9, 25, 40, 3)
    counts = torch.rand(25, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * 3
    counts[4] = 0.0
    assert_equals_dense(rows, columns, interesting, windows, 1.5, counts)
    rows.requires_grad_()
    plain, ones = (
        windowed_ranking_loss(rows, columns, interesting, windows, row_weights=given)
        for given in (None, torch.ones(25, dtype=torch.float64))
    )
    assert torch.equal(plain, ones) and torch.equal(gradients(plain, rows)[0], gradients(ones, rows)[0])
    (by_rows,) = gradients(windowed_ranking_loss(rows, columns, interesting, windows, 10.0, counts), rows)
    assert not by_rows[4].any() and by_rows[3].any()
    with pytest.raises(ValueError, match="weights for 25 rows"):
        windowed_ranking_loss(rows, columns, interesting, windows, row_weights=counts[:3])


def test_windows_run_on_past_the_end_of_the_circle():
    rows, columns, interesting, _ = random_case(6, 4, 12, 1)
    circle = torch.arange(1, 12)
    windows = make_windows(circle, [0, 0, 1, 1], [9, 10], [4, 2, 11, 3], barred=[(0, 0), (0, 3), (3, 1)])
    drawn = [line.nonzero().flatten().tolist() for line in windows.mask(12)]
    assert drawn == [[1, 11], [10, 11], list(range(1, 12)), [2, 11]]
    assert_equals_dense(rows, columns, interesting, windows)


def test_without_windows_only_the_lists_count():
    rows, columns, interesting, _ = random_case(7, 6, 10, 1)
    windows = make_windows(torch.arange(1, 10), [0, 1, 0, 1, 0, 1], [2, 8], [0] * 6)
    assert not windows.mask(10).any()
    assert_equals_dense(rows, columns, interesting, windows)
    single = interesting.clone()
    single[:, 1:] = 0
    rows.requires_grad_()
    # one listed column against nothing is certain
    loss = windowed_ranking_loss(rows, columns, single, windows)
    (by_rows,) = gradients(loss, rows)
    assert loss.item() == 0.0 and not by_rows.any()


def test_a_window_whose_columns_are_all_barred_counts_as_none():
    rows, columns, _, _ = random_case(8, 3, 8, 1)
    rows, interesting = rows[:2], torch.tensor([[3, 1, 5, 0]]).repeat(2, 1)
    empty, barred = (
        make_windows(torch.arange(1, 8), [0, 0], [5], lengths, barred=[(1, p) for p in range(4)])
        for lengths in ([6, 0], [6, 4])
    )
    assert not barred.mask(8)[1].any()
    assert_equals_dense(rows, columns, interesting, barred)
    one, other = (windowed_ranking_loss(rows, columns, interesting, w) for w in (empty, barred))
    torch.testing.assert_close(one, other)
