"""Results that somebody has written whose numbers, shapes or depths are not ours: one line, no traceback."""

import json

import pytest

from recbole_ccd import RunError, write_report
from recbole_ccd.cli import main
from tests.evaluation.results import make_run


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


def matrix(value):
    """R of a run with a number put into it."""

    def change(document):
        next(iter(document["metrics"].values()))["student"]["R"][0][0] = value

    return change


CHANGES = {
    "infinite": matrix(float("inf")),
    "no number": matrix(float("nan")),
    "an integer beyond all": matrix(10**400),
    "text": matrix("much"),
    "nested": matrix(nested(500)),
    "seconds": lambda document: document["stages"].append({"seconds": float("inf")}),
    "stages": lambda document: document.update(stages=[3]),
    "known": lambda document: document.update(known=[{"users": 10**400, "items": "x"}]),
    "settings": lambda document: document.update(config=[1]),
    "metrics": lambda document: document.update(metrics={}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_that_is_none(change, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    document = make_run().to_dict()
    CHANGES[change](document)
    (tmp_path / "result.json").write_text(json.dumps(document))
    with pytest.raises(RunError) as caught:
        write_report(tmp_path)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)
    assert main(["--report=."]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
