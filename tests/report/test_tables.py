"""The printed tables: the right numbers, and narrow enough."""

from typing import Any

import pytest
from torch import nn

from recbole_ccd.evaluation import StreamResult
from recbole_ccd.report import block_table, final_table


class TinyConfig(dict):
    primary_metric = "recall@20"

    def metric_names(self) -> list[str]:
        return [f"{name}@{k}" for name in ("recall", "ndcg") for k in (20, 50, 100)]

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


def metrics(value: float) -> dict[str, float]:
    return dict.fromkeys(TinyConfig().metric_names(), value)


def make_result(n_blocks: int = 6, roles: tuple[str, ...] = ("student", "teacher")) -> StreamResult:
    config = TinyConfig(dataset="ml-100k", model="LightGCN", strategy="ccd", seed=2024)
    known = [{"users": 20_000 + 1000 * k, "items": 15_000 + 500 * k} for k in range(n_blocks)]
    result = StreamResult(config, n_blocks, known)
    for shift, role in enumerate(roles):
        for k in range(n_blocks):
            # R[i][j] = 0.1 + i/100 - j/1000, the teacher 0.05 higher
            row = [metrics(0.1 + k / 100 - j / 1000 + 0.05 * shift) for j in range(k + 1)]
            result.add_row(role, k, row)
            result.add_new_entities(role, k, metrics(0.08) if k else None, metrics(0.0321) if k else None)
    result.set_size("student", nn.Linear(1000, 10))
    if "teacher" in roles:
        result.set_size("teacher", nn.Linear(10_000, 50))
    return result


def cells(table: str, first: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.split()[:1] == [first]]
    return line.split()


def test_block_table_has_the_row_and_its_averages() -> None:
    # after block 1: R = 0.11, 0.109; LA (0.1+0.109)/2 = 0.1045; RA 0.11; H 2*.1045*.11/.2145 = 0.1072
    row = cells(block_table(make_result(), 1), "student")
    assert row == ["student", "0.1100", "0.1090", "0.1045", "0.1100", "0.1072", "0.0800", "0.0321"]


def test_block_table_says_what_its_averages_are() -> None:
    assert "LA: mean of R[i][i], 0 <= i <= 3; RA: mean of B0..B2;" in block_table(make_result(), 3)
    result = make_result()
    result.include_base, result.include_current = False, True
    assert "LA: mean of R[i][i], 1 <= i <= 3; RA: mean of B1..B3;" in block_table(result, 3)


def test_block_table_shows_a_dash_for_what_does_not_exist() -> None:
    assert cells(block_table(make_result(), 0), "teacher") == "teacher 0.1500 0.1500 - - - -".split()


def test_block_table_leaves_out_a_role_without_the_row() -> None:
    result = make_result(n_blocks=2, roles=("student",))
    result.add_row("teacher", 0, [metrics(0.3)])
    assert "teacher" not in block_table(result, 1)
    with pytest.raises(ValueError, match="block 2"):
        block_table(result, 2)


def test_final_table_side_by_side() -> None:
    table = final_table(make_result(n_blocks=2))
    # per role R[1][1], LA, RA, H; the teacher: 0.159, (0.15+0.159)/2, 0.16, 2*.1545*.16/.3145
    student, teacher = ["0.1090", "0.1045", "0.1100", "0.1072"], ["0.1590", "0.1545", "0.1600", "0.1572"]
    assert cells(table, "1") == ["1", "21000", "15500", *student, *teacher]
    # BWT 0.11 - 0.10; nothing forgotten
    assert cells(table, "ndcg@50") == [
        "ndcg@50",
        *["0.1072", "0.0100", "0.0000", "-"],
        *["0.1572", "0.0100", "0.0000", "-"],
    ]


def test_final_table_has_sizes_and_definitions() -> None:
    table = final_table(make_result())
    # 1000*10 + 10 = 10,010 parameters of 4 bytes; 10,000*50 + 50 = 500,050, 49.96 times as many
    assert cells(table, "student") == ["student", "10,010", "0.04"]
    assert "50.0 : 1" in table
    for name in ("R", "LA", "RA", "H", "BWT", "forgetting", "size"):
        assert any(line.startswith(f"{name}: ") for line in table.splitlines())


def test_final_table_without_teacher() -> None:
    table = final_table(make_result(roles=("student",)))
    assert "teacher" not in table and "LA T" not in table


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        final_table(StreamResult(TinyConfig(dataset="d", model="m", strategy="s", seed=1), 0, []))


@pytest.mark.parametrize("block", range(6))
def test_six_blocks_fit_110_columns(block: int) -> None:
    result = make_result()
    for text in (block_table(result, block), final_table(result)):
        assert max(map(len, text.splitlines())) <= 110


def test_what_was_measured_on_validation_parts_says_so() -> None:
    result = make_result(n_blocks=2)
    for part in ("test", "valid"):
        result.eval_part = part
        assert f"Bj: block j's {part} part" in block_table(result, 1)
        assert f"block j's {part} part" in final_table(result)
    assert "test part" not in final_table(result)
