"""The averages over R, against values worked out by hand."""

import pytest

from recbole_ccd.evaluation import summary

# after block:      0       1       2
R = [[0.4], [0.2, 0.6], [0.3, 0.5, 0.8]]


def test_learning_average() -> None:
    # 0.4; (0.4+0.6)/2; (0.4+0.6+0.8)/3
    assert summary.learning_average(R) == pytest.approx([0.4, 0.5, 0.6])


def test_learning_average_without_base() -> None:
    # none; 0.6; (0.6+0.8)/2
    la = summary.learning_average(R, include_base=False)
    assert la[0] is None
    assert la[1:] == pytest.approx([0.6, 0.7])


@pytest.mark.parametrize(
    ("include_current", "include_base", "expected"),
    [
        (False, True, [None, 0.2, 0.4]),  # 0.2; (0.3+0.5)/2
        (True, True, [None, 0.4, 1.6 / 3]),  # (0.2+0.6)/2; (0.3+0.5+0.8)/3
        (False, False, [None, None, 0.5]),  # nothing before block 1 but the base; 0.5
        (True, False, [None, 0.6, 0.65]),  # 0.6; (0.5+0.8)/2
    ],
)
def test_retained_average(include_current: bool, include_base: bool, expected: list[float | None]) -> None:
    ra = summary.retained_average(R, include_current, include_base)
    assert [v is None for v in ra] == [v is None for v in expected]
    assert [v for v in ra if v is not None] == pytest.approx([v for v in expected if v is not None])


def test_harmonic_mean() -> None:
    # 2*0.5*0.2/0.7 = 0.2/0.7; 2*0.6*0.4/1 = 0.48
    h = summary.harmonic_mean([0.4, 0.5, 0.6, 0.0], [None, 0.2, 0.4, 0.0])
    assert h[0] is None
    assert h[1:] == pytest.approx([0.2 / 0.7, 0.48, 0.0])


def test_transfer_and_forgetting() -> None:
    # (0.3-0.4 + 0.5-0.6)/2 = -0.1; best are 0.4 and 0.6: (0.1 + 0.1)/2
    assert summary.backward_transfer(R) == pytest.approx(-0.1)
    assert summary.forgetting(R) == pytest.approx(0.1)


def test_forgetting_counts_from_the_best_and_is_never_negative() -> None:
    # block 0: 0.2 -> 0.5 -> 0.3, best 0.5, lost 0.2; block 1: 0.4 -> 0.6, best is the last, lost 0
    rising = [[0.2], [0.5, 0.4], [0.3, 0.6, 0.1]]
    assert summary.forgetting(rising) == pytest.approx(0.1)
    # (0.3-0.2 + 0.6-0.4)/2
    assert summary.backward_transfer(rising) == pytest.approx(0.15)


@pytest.mark.parametrize("matrix", [[], [[0.4]]])
def test_fewer_than_two_blocks_have_no_transfer(matrix: list[list[float]]) -> None:
    assert summary.backward_transfer(matrix) is None
    assert summary.forgetting(matrix) is None


def test_summarise_has_every_key_and_copies() -> None:
    result = summary.summarise(R)
    assert list(result) == ["R", "LA", "RA", "H", "BWT", "forgetting"]
    # at block 2: 2*0.6*0.4/(0.6+0.4)
    assert result["H"][2] == pytest.approx(0.48)
    result["R"][0][0] = 9.0
    assert R[0][0] == 0.4


@pytest.mark.parametrize("broken", [[[]], [[0.1, 0.2]], [[0.1], [0.2]]])
def test_matrix_must_be_a_triangle(broken: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="lower triangular"):
        summary.summarise(broken)


def test_definitions_follow_the_options() -> None:
    assert summary.definitions() == dict(summary.DEFINITIONS)
    changed = summary.definitions(include_base=False, include_current=True)
    assert "1 <= j <= k" in changed["RA"] and "1 <= i <= k" in changed["LA"]
    assert all("\n" not in line and len(line) <= 97 for line in changed.values())


def test_definitions_name_the_part_that_was_measured() -> None:
    lines, changed = summary.definitions(), summary.definitions(part="valid")
    assert "block j's valid part" in changed["R"] and "the valid items" in changed["new items"]
    assert list(lines) == list(changed) and "test" not in " ".join(changed.values())
    assert {name for name in lines if lines[name] != changed[name]} == {
        *("R", "new items", "next", "not served")
    }
