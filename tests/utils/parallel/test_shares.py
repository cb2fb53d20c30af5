"""Batches that several workers share: who does which, and which are not shared."""

import pytest
import torch

from recbole_ccd.utils.parallel.shares import batch_by_batch, shares_of
from tests.utils.parallel.elsewhere import Elsewhere


def square(offset, number):
    return offset + number * number


def draw(_, number):
    return number + float(torch.rand(1))


def draw_at_first(kept, number):
    """As a model that keeps what it has drawn."""
    if not kept:
        kept.append(float(torch.rand(1)))
    return number + kept[0]


def fail_late(_, number):
    if number == 7:
        raise ValueError("batch 7 cannot be done")
    return number


def test_ranges_are_even_and_none_is_empty():
    assert shares_of(range(2, 9), 3) == [range(2, 4), range(4, 6), range(6, 9)]
    assert shares_of(range(2, 4), 5) == [range(2, 3), range(3, 4)]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10])
def test_every_batch_is_done_once(n):
    workers = Elsewhere(3)
    done = list(batch_by_batch(square, 5, n, workers, worth=1))
    assert sorted(done) == [(number, 5 + number * number) for number in range(n)]
    # two are done here, and a single one that is left too
    assert sorted(workers.done) == ([0, 1, 2] if n == 10 else [])


def test_one_process_does_them_in_order_when_they_are_asked_for():
    begun = []
    batches = batch_by_batch(lambda _, number: begun.append(number), None, 3)
    assert next(batches) == (0, None) and begun == [0]
    assert [number for number, _ in batches] == [1, 2]


def test_few_batches_are_not_shared():
    workers = Elsewhere(2)
    for n, asked in ((63, []), (64, [1, 0])):
        assert len(list(batch_by_batch(square, 0, n, workers))) == n
        assert workers.done == asked


@pytest.mark.parametrize(("do", "asked"), [(draw, []), (draw_at_first, [2, 1, 0])])
def test_what_is_drawn_is_what_one_process_draws(do, asked):
    workers, found = Elsewhere(3), []
    for who in (None, workers):
        torch.manual_seed(4)
        found.append(sorted(batch_by_batch(do, [], 20, who, worth=1)))
    assert found[0] == found[1] and workers.done == asked


def test_a_share_that_fails_tells_so():
    workers = Elsewhere(2)
    with pytest.raises(ValueError, match="batch 7 cannot be done"):
        list(batch_by_batch(fail_late, None, 10, workers, worth=1))
    assert workers.done == [1]


def test_whoever_waits_may_end_it():
    def stop():
        raise KeyboardInterrupt

    workers = Elsewhere(2)
    with pytest.raises(KeyboardInterrupt):
        list(batch_by_batch(square, 0, 10, workers, worth=1, waiting=stop))
    assert workers.done == []
