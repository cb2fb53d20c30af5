"""The relaxed ranking loss from vectors against hand arithmetic and a naive dense autograd reference."""

import math

import pytest
import torch

from recbole_ccd.loss import Windows, windowed_ranking_loss
from recbole_ccd.loss.windowed import _TILE_ELEMENTS


def make_windows(circle, groups, starts, lengths, barred=()):
    """Windows by the batch's own rows: their groups and lengths, and barred (row, place) pairs."""
    groups = torch.tensor(groups)
    order = groups.argsort(stable=True)
    slot = order.argsort()
    barred = sorted((int(slot[row]), place) for row, place in barred if place < lengths[row])
    rows, places = (
        torch.tensor(part, dtype=torch.int64) for part in ([b[k] for b in barred] for k in (0, 1))
    )
    sizes = torch.bincount(groups, minlength=len(starts)).tolist()
    return Windows(
        columns=torch.cat([circle, circle]),
        order=order,
        tiles=[(size, start) for size, start in zip(sizes, starts, strict=True) if size],
        ends=torch.tensor(lengths, dtype=torch.int64)[order],
        barred_rows=rows,
        barred_places=places,
    )


def dense_loss(rows, columns, interesting, mask, score_max):
    """The formula as it is written, on the whole matrix of scores."""
    scores = (rows @ columns.T).clamp(max=score_max)
    valid = interesting > 0
    powers = scores.exp()
    listed, rest = powers.gather(1, interesting) * valid, (powers * mask).sum(1)
    total = scores.sum() * 0.0
    for r in range(interesting.shape[1]):
        # 1 is added where nothing is listed, for the logarithm of 0 has no gradient
        denominator = listed[:, r:].sum(1) + rest + ~valid[:, r]
        place = torch.log(denominator) - scores.gather(1, interesting[:, r : r + 1]).squeeze(1)
        total = total + (place * valid[:, r]).sum()
    return total


def random_case(seed, n_rows, n_columns, n_groups, k=4, dim=5, dtype=torch.float64, n_barred=40):
    """Vectors, lists and windows of all lengths, some rows without a window, a list, or with a short list."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*bounds, size):
        return torch.randint(*bounds, size, generator=generator).tolist()

    rows = torch.randn(n_rows, dim, generator=generator, dtype=dtype)
    columns = torch.randn(n_columns, dim, generator=generator, dtype=dtype)
    interesting = torch.stack(
        [torch.randperm(n_columns - 1, generator=generator)[:k] + 1 for _ in range(n_rows)]
    )
    kept = torch.randint(k + 1, (n_rows, 1), generator=generator)
    kept[0], kept[1] = 0, k
    interesting[torch.arange(k) >= kept] = 0
    lengths = draw(0, n_columns, size=(n_rows,))
    lengths[1], lengths[2], lengths[-1] = 0, n_columns - 1, 0
    circle = torch.randperm(n_columns - 1, generator=generator) + 1
    barred = set(zip(draw(n_rows, size=(n_barred,)), draw(n_columns - 1, size=(n_barred,)), strict=True))
    windows = make_windows(
        circle,
        draw(n_groups, size=(n_rows,)),
        draw(n_columns - 1, size=(n_groups,)),
        lengths,
        barred,
    )
    return rows, columns, interesting, windows


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def assert_equals_dense(rows, columns, interesting, windows, score_max=10.0, **tolerance):
    ours = [x.clone().requires_grad_() for x in (rows, columns)]
    theirs = [x.double().requires_grad_() for x in (rows, columns)]
    loss = windowed_ranking_loss(*ours, interesting, windows, score_max)
    mask = windows.mask(len(columns))
    expected = dense_loss(*theirs, interesting, mask, score_max)
    assert loss.dim() == 0 and torch.isfinite(loss)
    torch.testing.assert_close(loss, expected.to(loss), **tolerance)
    for got, wanted in zip(gradients(loss, *ours), gradients(expected, *theirs), strict=True):
        torch.testing.assert_close(got, wanted.to(got), **tolerance)


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


@pytest.mark.parametrize("score_max", [10.0, 0.7])
def test_gradcheck(score_max):
    rows, columns, interesting, windows = random_case(13, 6, 9, 2, k=3, dim=2)
    inputs = rows.requires_grad_(), columns.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r, c: windowed_ranking_loss(r, c, interesting, windows, score_max), inputs
    )


def test_the_upstream_gradient_scales_the_gradients():
    rows, columns, interesting, windows = random_case(14, 10, 20, 3)
    inputs = rows.requires_grad_(), columns.requires_grad_()
    plain, tripled = (
        gradients(windowed_ranking_loss(*inputs, interesting, windows) * factor, *inputs)
        for factor in (1.0, 3.0)
    )
    for one, three in zip(plain, tripled, strict=True):
        assert one.any()
        torch.testing.assert_close(three, 3 * one)


@pytest.mark.parametrize("which", [0, 1])
def test_one_of_the_gradients_alone(which):
    rows, columns, interesting, windows = random_case(15, 10, 20, 3)
    inputs = [rows.clone().requires_grad_(), columns.clone().requires_grad_()]
    both = gradients(windowed_ranking_loss(*inputs, interesting, windows), *inputs)
    inputs[1 - which] = inputs[1 - which].detach()
    (alone,) = gradients(windowed_ranking_loss(*inputs, interesting, windows), inputs[which])
    assert torch.equal(alone, both[which])


def test_the_order_of_the_batch_does_not_matter():
    generator = torch.Generator().manual_seed(16)
    rows, columns, interesting, _ = random_case(16, 9, 20, 1)
    circle, starts = torch.randperm(19, generator=generator) + 1, [4, 17, 9]
    groups, lengths = [2, 0, 1, 1, 0, 2, 0, 2, 1], [5, 0, 19, 7, 3, 11, 8, 2, 6]
    barred = [(0, 3), (2, 18), (5, 0), (5, 10), (8, 2)]
    shuffle = torch.randperm(9, generator=generator)
    place = {old: new for new, old in enumerate(shuffle.tolist())}
    results = []
    for order, moved in (
        (torch.arange(9), barred),
        (shuffle, [(place[row], position) for row, position in barred]),
    ):
        windows = make_windows(circle, [groups[i] for i in order], starts, [lengths[i] for i in order], moved)
        inputs = rows[order].requires_grad_(), columns.clone().requires_grad_()
        loss = windowed_ranking_loss(*inputs, interesting[order], windows)
        results.append((loss.detach(), *gradients(loss, *inputs)))
    (loss, by_rows, by_columns), (other_loss, other_by_rows, other_by_columns) = results
    torch.testing.assert_close(other_loss, loss)
    torch.testing.assert_close(other_by_rows, by_rows[shuffle])
    torch.testing.assert_close(other_by_columns, by_columns)


def test_gradients_come_in_the_order_of_the_batch():
    # rows 0 and 2 are of the second group: the order within is 1, 0, 2
    windows = make_windows(torch.arange(1, 5), [1, 0, 1], [0, 2], [2, 2, 2])
    assert windows.order.tolist() == [1, 0, 2]
    rows = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    columns = torch.tensor([[0.0], [0.3], [-0.2], [0.1], [0.4]])
    lists = torch.tensor([[1], [3], [2]])
    (together,) = gradients(windowed_ranking_loss(rows, columns, lists, windows), rows)
    for row, (start, listed) in enumerate([(2, 1), (0, 3), (2, 2)]):
        alone = rows[row : row + 1].detach().requires_grad_()
        window = make_windows(torch.arange(1, 5), [0], [start], [2])
        loss = windowed_ranking_loss(alone, columns, torch.tensor([[listed]]), window)
        torch.testing.assert_close(together[row : row + 1], gradients(loss, alone)[0])


def test_repetition_is_bit_identical():
    rows, columns, interesting, windows = random_case(17, 40, 200, 4, dtype=torch.float32)
    inputs = rows.requires_grad_(), columns.requires_grad_()
    one, two = (gradients(windowed_ranking_loss(*inputs, interesting, windows), *inputs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_inputs_are_left_as_they_were():
    rows, columns, interesting, windows = random_case(18, 10, 20, 3)
    before = [x.clone() for x in (rows, columns, interesting, windows.columns, windows.ends)]
    windowed_ranking_loss(rows, columns, interesting, windows, 0.5)
    after = (rows, columns, interesting, windows.columns, windows.ends)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_rows_and_columns_may_be_views():
    rows, columns, interesting, windows = random_case(19, 10, 20, 3)
    wide = torch.cat([rows, rows], dim=1)[:, :5]
    tall = columns.T.contiguous().T
    assert not wide.is_contiguous() and not tall.is_contiguous()
    expected = windowed_ranking_loss(rows, columns, interesting, windows)
    torch.testing.assert_close(windowed_ranking_loss(wide, tall, interesting, windows), expected)
    assert_equals_dense(wide, tall, interesting, windows)


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
