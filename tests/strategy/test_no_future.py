"""What comes later changes nothing that came before, in bits."""

import pytest

from tests.strategy.runs import block_rows, follow, matrices, same_weights, write_files


@pytest.mark.parametrize(
    "keys",
    [
        {"graph": "cumulative"},
        {"graph": "block"},
        {"graph": "cumulative", "student_updates_per_block": 3},
        {"graph": "block", "mask_history": "all", "new_entity_initialization": "one_hop"},
    ],
    ids=["cumulative", "block", "three-updates", "mask-all"],
)
def test_a_run_on_a_shorter_stream_is_the_beginning_of_the_longer_run(
    make_config, tmp_path, monkeypatch, keys
):
    monkeypatch.chdir(tmp_path)
    names = write_files(tmp_path, "files", {f"b{k}": rows for k, rows in enumerate(block_rows())})
    long, short = (
        follow(
            make_config(
                dataset="files", data_path=tmp_path, benchmark_filename=some, metric_decimal_place=15, **keys
            )
        )
        for some in (names, names[:2])
    )
    shorter = matrices(short)
    assert len(shorter) == 4
    for what, R in matrices(long).items():
        assert R[:2] == shorter[what]
    assert all(same_weights(*states) for states in zip(long.states[:2], short.states, strict=True))
    new = (strategy.result.new_entities("users", "student", "recall@5") for strategy in (long, short))
    assert next(new)[:2] == next(new)
