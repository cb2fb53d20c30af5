"""What is printed fits the terminal: tables are divided, and every number is in one of the parts."""

import os
import pty
import re
import sys
from contextlib import contextmanager

import pytest
from tabulate import tabulate

from recbole_ccd.report import block_table, comparison_table, final_table
from recbole_ccd.report.width import DEFAULT, filled, fitted, terminal_width
from tests.report.test_comparison_tables import make_comparison
from tests.report.test_tables import make_result


def simple(rows, header):
    return tabulate(rows, header, tablefmt="simple", disable_numparse=True)


def widest(text):
    return max(map(len, text.splitlines()))


def numbers(text):
    """The numbers with a decimal point in a text, in order of size."""
    return sorted(re.findall(r"\d\.\d{4}", text))


LONG = "ccd random_initialization (plain base)"


@pytest.fixture(scope="module")
def texts():
    """Everything that a run or a comparison prints, by the width."""
    result, many = make_result(), make_result(n_blocks=14)
    compared = make_comparison(n_seeds=3, n_blocks=6, **{LONG: "ccd", "distill_each_block": "piw"})

    def of(width):
        return [
            block_table(result, 5, width),
            final_table(result, width),
            block_table(many, 13, width),
            final_table(many, width),
            comparison_table(compared, width),
        ]

    return of


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_every_table_fits_and_says_the_same(texts, width):
    for text, whole in zip(texts(width), texts(1000), strict=True):
        assert widest(text) <= width
        assert numbers(text) == numbers(whole)


def test_parts_begin_with_their_rows_and_keep_together_what_belongs_together():
    rows = [["a", "0.1", "0.01", "0.2", "0.02"], ["b", "0.3", "0.03", "0.4", "0.04"]]
    header = ["", "LA of it", "± std", "RA of it", "± std"]
    first, second = fitted(rows, header, 26, simple).split("\n\n")
    assert first.split()[:4] == ["LA", "of", "it", "±"] and "RA" not in first
    assert second.splitlines()[2].split() == ["a", "0.2", "0.02"]
    assert fitted(rows, header, 80, simple) == simple(rows, header)


def test_student_and_teacher_stand_below_each_other_at_80():
    lines = final_table(make_result(), 80).splitlines()
    (student,) = [n for n, line in enumerate(lines) if "R[k][k] S" in line]
    (teacher,) = [n for n, line in enumerate(lines) if "R[k][k] T" in line]
    # header, rule, six blocks and an empty line
    assert teacher - student == 9 and "H S" in lines[student] and "H T" in lines[teacher]
    # what the words mean is broken between words
    assert any(line.startswith("RA: retained average") for line in lines)


def test_a_name_that_leaves_no_room_is_cut_in_its_middle():
    text = fitted([["x" * 40 + "y" * 40, "0.5"]], ["", "H"], 40, simple)
    assert widest(text) <= 40 and re.search(r"x{10}…y{9}\b", text)


def test_words_are_broken_and_indented():
    assert filled("LA: one two three\nRA: four", 12) == "LA: one two\n  three\nRA: four"


@contextmanager
def terminal(columns):
    """A terminal in the place of standard error."""
    ours, theirs = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield
    os.close(ours)


def test_the_terminal_is_asked(monkeypatch, tmp_path):
    for columns in (80, 100, 237):
        with terminal(columns):
            assert terminal_width() == columns
    # one that does not tell, and one as narrow as a watch
    with terminal(0):
        assert terminal_width() == DEFAULT
    with terminal(7):
        assert terminal_width() == 40
    with open(tmp_path / "log", "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stderr", file)
        assert terminal_width() == DEFAULT
    monkeypatch.setattr(sys, "stderr", None)
    assert terminal_width() == DEFAULT
