"""What comes later changes nothing that came before, in bits."""

import pytest

from tests.conftest import few
from tests.strategy.runs import (
    STRATEGIES,
    block_rows,
    follow,
    matrices,
    recorded,
    same_weights,
    teachers,
    write_files,
)


def slower(keys):
    """Settings that take as long as the others and have less that is new."""
    return pytest.param(keys, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "keys",
    [
        slower({"graph": "cumulative"}),
        slower({"graph": "block"}),
        slower({"graph": "cumulative", "student_updates_per_block": 3}),
        slower({"graph": "block", "mask_history": "all", "new_entity_initialization": "one_hop"}),
        {
            "graph": "block",
            "growth": "predictions",
            "mask_history": "all",
            "student_start": "previous",
            "student_update_distill": 0.5,
            "student_updates_per_block": 2,
        },
        slower(
            {
                **teachers("BPR"),
                **dict.fromkeys(("learning_rate", "train_batch_size", "eval_step"), "auto"),
                "epochs": 2,
                "deployed_student": "better",
            }
        ),
        slower(
            {
                "distill_loss": "cd",
                "uninteresting_redraw": 1,
                "epochs": 2,
                "student_update_distill": 0.5,
                **teachers("BPR"),
            }
        ),
        slower({"distill_loss": "rd", "student_update_distill": 0.5}),
    ],
    ids=["cumulative", "block", "three-updates", "mask-all", "ours", "auto", "cd", "rd"],
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


@pytest.mark.parametrize(
    "name",
    few(
        [
            *("distill", "distill_each_block", "graphsail", "piw", "retrain_distill"),
            *("ewc", "pisa", "sml"),
        ],
        "distill_each_block",
    ),
)
def test_no_competitor_knows_the_future(make_config, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    names = write_files(tmp_path, "files", {f"b{k}": rows for k, rows in enumerate(block_rows())})
    data = {"dataset": "files", "data_path": tmp_path, "metric_decimal_place": 15, **teachers("LightGCN")}
    long, short = (
        follow(make_config(strategy=name, benchmark_filename=some, **data), recorded(STRATEGIES[name]))
        for some in (names, names[:2])
    )
    shorter = matrices(short)
    known = long.result.next_values("student", "recall@5")[:1]
    assert known == short.result.next_values("student", "recall@5") and known[0] is not None
    assert shorter == {what: R[:2] for what, R in matrices(long).items()}
    assert all(same_weights(*states) for states in zip(long.states[:2], short.states, strict=True))
