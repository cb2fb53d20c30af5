"""The relaxed ranking loss from vectors: its gradients, and the order and layout of what it is given."""

import pytest
import torch

from recbole_ccd.loss import windowed_ranking_loss
from tests.loss.windows import assert_equals_dense, gradients, make_windows, random_case


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
    (exclusive,) = gradients(windowed_ranking_loss(*inputs, interesting, windows), inputs[which])
    assert torch.equal(exclusive, both[which])


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
        exclusive = rows[row : row + 1].detach().requires_grad_()
        window = make_windows(torch.arange(1, 5), [0], [start], [2])
        loss = windowed_ranking_loss(exclusive, columns, torch.tensor([[listed]]), window)
        torch.testing.assert_close(together[row : row + 1], gradients(loss, exclusive)[0])


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
