"""StreamResult: format 1 of result.json, there and back, and what it refuses."""

import copy
import json
from typing import Any

import pytest
from torch import nn

from recbole_ccd.evaluation import StreamResult
from recbole_ccd.evaluation.stage_record import stage_record
from recbole_ccd.utils.errors import RunError

NAMES = ["recall@20", "ndcg@20"]


class TinyConfig(dict):
    primary_metric = "recall@20"

    def metric_names(self) -> list[str]:
        return NAMES

    def to_dict(self) -> dict[str, Any]:
        return dict(self)


CONFIG = TinyConfig(dataset="tiny", model="BPR", strategy="ccd", seed=7, topk=[20])
KNOWN = [{"users": 10, "items": 20}, {"users": 12, "items": 25}]


def metrics(recall: float) -> dict[str, float]:
    return {"recall@20": recall, "ndcg@20": recall / 2}


def make_result() -> StreamResult:
    result = StreamResult(CONFIG, 2, KNOWN)
    result.add_row("student", 0, [metrics(0.4)])
    result.add_row("student", 1, [metrics(0.2), metrics(0.6)])
    result.add_row("teacher", 0, [metrics(0.5)])
    result.add_new_entities("student", 1, metrics(0.1), None)
    result.stages.append(stage_record(0, "base", 1, 3, 1.23456))
    result.set_size("student", nn.Linear(3, 2))
    return result


def test_what_a_stage_has_learned_stands_beside_its_time() -> None:
    result = StreamResult(CONFIG, 2, KNOWN)
    learned = {"loss": [0.5, 0.25], "valid_score": [[2, 0.1]], "replayed": {"stability": 3}}
    result.stages.append(stage_record(1, "student_update", None, 2, 1.0, learned))
    (stage,) = StreamResult.from_dict({**make_result().to_dict(), "stages": result.stages}).stages
    assert {key: stage[key] for key in learned} == learned and stage["epochs"] == 2


def test_document_is_format_1() -> None:
    document = make_result().to_dict()
    assert list(document) == [
        *("format", "dataset", "model", "strategy", "seed", "n_blocks", "primary_metric", "metrics"),
        *("new_users", "new_items", "next", "known", "sizes", "stages", "config"),
    ]
    assert document["format"] == 1 and document["n_blocks"] == 2 and document["seed"] == 7
    student = document["metrics"]["recall@20"]["student"]
    assert student["R"] == [[0.4], [0.2, 0.6]]
    # LA (0.4+0.6)/2, RA 0.2, H 2*0.5*0.2/0.7, BWT 0.2-0.4
    assert student["LA"] == pytest.approx([0.4, 0.5])
    assert student["RA"] == [None, 0.2]
    assert student["H"] == [None, pytest.approx(0.2 / 0.7)]
    assert student["BWT"] == pytest.approx(-0.2) and student["forgetting"] == pytest.approx(0.2)
    assert document["metrics"]["ndcg@20"]["teacher"]["R"] == [[0.25]]
    assert document["new_users"]["recall@20"] == {"student": [None, 0.1], "teacher": [None]}
    assert document["new_items"]["ndcg@20"] == {"student": [None, None], "teacher": [None]}
    # 3*2 weights and 2 biases of 4 bytes
    assert document["sizes"] == {"student": {"parameters": 8, "bytes": 32}}
    assert document["config"]["topk"] == [20]


def test_stage_is_measured() -> None:
    (stage,) = make_result().to_dict()["stages"]
    assert stage.pop("peak_rss_mb") > 10
    assert stage == {"block": 0, "stage": "base", "member": 1, "epochs": 3, "seconds": 1.235, "rss_mb": None}


def test_roles_without_rows_are_left_out() -> None:
    result = StreamResult(CONFIG, 2, KNOWN)
    result.add_row("student", 0, [metrics(0.4)])
    assert list(result.to_dict()["metrics"]["recall@20"]) == ["student"]
    assert result.roles == ["student"]


def test_there_and_back_through_json_with_sorted_keys() -> None:
    document = make_result().to_dict()
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    again = StreamResult.from_dict(json.loads(text))
    assert again.to_dict() == document
    assert again.metric_names[0] == "recall@20"
    again.add_row("teacher", 1, [metrics(0.5), metrics(0.7)])
    assert again.summary("teacher", "recall@20")["BWT"] == 0.0


def test_frozen_parameters_count() -> None:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    result = make_result()
    result.set_size("teacher", model)
    assert result.sizes["teacher"]["parameters"] == 8


@pytest.mark.parametrize(
    ("role", "block", "row"),
    [
        ("student", 2, [metrics(0.1)] * 3),  # the stream has two blocks
        ("teacher", 0, [metrics(0.1)]),  # there already
        ("teacher", 1, [metrics(0.1)]),  # one entry too few
        ("teacher", 1, [metrics(0.1), {"recall@20": 0.1}]),  # a metric is missing
        ("teacher", 1, [metrics(0.1), metrics(float("nan"))]),
        ("nobody", 0, [metrics(0.1)]),
    ],
)
def test_wrong_rows_are_refused_and_change_nothing(role: str, block: int, row: list[Any]) -> None:
    result = make_result()
    before = result.to_dict()
    with pytest.raises(ValueError):
        result.add_row(role, block, row)
    assert result.to_dict() == before


def test_other_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="known"):
        StreamResult(CONFIG, 3, KNOWN)
    with pytest.raises(ValueError, match="no block 2"):
        make_result().add_new_entities("student", 2, None, None)


def broken(change: str) -> Any:
    document = copy.deepcopy(make_result().to_dict())
    if change == "format":
        document["format"] = 2
    elif change == "lacks":
        del document["known"]
    elif change == "short row":
        document["metrics"]["recall@20"]["student"]["R"][1].pop()
    elif change == "uneven metrics":
        document["metrics"]["ndcg@20"]["student"]["R"].pop()
    elif change == "extra rows":
        document["metrics"]["ndcg@20"]["teacher"]["R"].append([0.1, 0.2])
    elif change == "too few blocks":
        document["n_blocks"] = 1
    elif change == "text for a number":
        document["metrics"]["recall@20"]["student"]["R"][0][0] = "high"
    elif change == "no primary metric":
        document["primary_metric"] = "hit@1"
    return document


CHANGES = [
    *("format", "lacks", "short row", "uneven metrics", "extra rows"),
    *("too few blocks", "text for a number", "no primary metric"),
]


@pytest.mark.parametrize("document", [None, [], *map(broken, CHANGES)], ids=["null", "list", *CHANGES])
def test_a_document_that_does_not_fit_is_refused_in_one_line(document: Any) -> None:
    with pytest.raises(RunError) as caught:
        StreamResult.from_dict(document)
    assert "\n" not in str(caught.value)


def test_damaged_sizes_are_refused_too() -> None:
    document = make_result().to_dict()
    document["sizes"] = {"student": 8}
    with pytest.raises(RunError, match="does not fit"):
        StreamResult.from_dict(document)


def test_the_options_of_the_averages_come_from_the_configuration() -> None:
    config = TinyConfig(CONFIG, la_include_base=False, ra_include_current=True)
    result = StreamResult(config, 2, KNOWN)
    result.add_row("student", 0, [metrics(0.4)])
    result.add_row("student", 1, [metrics(0.2), metrics(0.6)])
    for each in (result, StreamResult.from_dict(result.to_dict())):
        summary = each.summary("student", "recall@20")
        assert summary["LA"] == [None, 0.6] and summary["RA"] == [None, 0.6]
