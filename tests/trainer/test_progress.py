"""Progress: where a stage is, and how long it will take at most."""

import io
import re

import pytest

from recbole_ccd.strategy.pace import Pace
from recbole_ccd.strategy.stage import StageName
from recbole_ccd.trainer.progress import StageProgress


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_time_left_goes_by_the_epochs_so_far():
    clock = Clock()
    progress = StageProgress("block 2 of 5, student update", 10, clock=clock)
    assert progress.left(0, 0.0) is None
    clock.now += 4
    # half an epoch in 4 s: 8 s each, and 9.5 are left
    assert progress.left(0, 0.5) == pytest.approx(76)
    clock.now += 16
    # 2.5 epochs in 20 s
    assert progress.left(2, 0.5) == pytest.approx(60)
    assert progress.left(9, 1.0) == 0


def test_epochs_of_an_earlier_process_took_none_of_this_ones_time():
    clock = Clock()
    progress = StageProgress("stage", 10, first_epoch=6, clock=clock)
    clock.now += 6
    assert progress.left(7, 1.0) == pytest.approx(6)


@pytest.mark.parametrize("width", [80, 100])
def test_a_bar_fits_the_terminal_and_says_where_it_is(width, monkeypatch):
    clock, shown = Clock(), Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (width, 24))
    words = StageName("teacher_update", 2, "LightGCN", 1).shown(5)
    progress = StageProgress(words, 40, clock=clock)
    for _ in progress.bar(range(4), 11):
        clock.now += 60
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in re.split(r"[\r\n]", shown.getvalue())]
    told = [line for line in lines if line.startswith("block")]
    assert told[0].startswith("block 2 of 5, teacher update member 1, epoch 12 of 40, ")
    assert " left |" in told[-1] and max(map(len, lines)) <= width


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self):
        return True


def test_names_of_stages():
    assert StageName("student_update", 1, "BPR", piece=0).shown(5) == "block 1 of 5, student update part 1"
    assert StageName("base", 0, "BPR").shown(None) == "block 0, base"


def test_the_time_left_of_a_run_goes_by_interactions():
    clock = Clock()
    pace = Pace(clock=clock)
    pace.begin()
    clock.now += 1000
    pace.end(0, 50)
    # the base block says nothing about updates
    assert pace.words([10, 10]) is None
    pace.begin()
    clock.now += 30
    pace.end(1, 10)
    assert pace.words([20, 20]).startswith("about 02:00 left for 2 blocks, at the time per interaction")
    pace.begin()
    clock.now += 90
    pace.end(2, 20)
    # 120 s for 30
    assert pace.words([20]).startswith("about 01:20 left for 1 block,")
    assert pace.words([]) is None


def test_a_block_that_was_begun_before_says_nothing():
    clock = Clock()
    pace = Pace(skips_first=True, clock=clock)
    pace.begin()
    clock.now += 1
    pace.end(3, 10)
    assert pace.words([10]) is None
    pace.begin()
    clock.now += 5
    pace.end(4, 10)
    assert pace.words([10]).startswith("about 00:05 left")
