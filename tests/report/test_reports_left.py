"""Reports that runs leave, and that are made anew."""

import json
import logging

import pytest

from recbole_ccd import compare, resume, run_ccd, write_report
from recbole_ccd.checkpoint import RunDirectory
from recbole_ccd.cli import main
from recbole_ccd.utils.errors import RunError
from tests.conftest import SMALL
from tests.report.pages import Read, run_document, series

KEYS = {
    **SMALL,
    "dataset": "tiny",
    "model": "BPR",
    "strategy": "fine_tune",
    "base": "plain",
    "write_report": True,
}
KEYS["block_ratios"] = [0.6, 0.4]


@pytest.fixture
def keys(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {**KEYS, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "run")}


def test_a_run_leaves_a_report_after_each_block_that_can_be_made_anew(keys, tmp_path, capsys):
    told = []

    def after(directory, name, document, sessions):
        told.append(len(document["metrics"]["recall@5"]["student"]["R"]))
        write_report_page(directory, name, document, sessions)

    from recbole_ccd.report.writing import write_report_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_ccd.strategy.loop.write_report_page", after)
        result = run_ccd(config_dict=keys)
    assert told == [1, 2]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    read = Read(page)
    (values,) = series(read.figure("H-mean", "0")).values()
    (_, H) = result.summary("student", "recall@5")["H"]
    assert values == [None, pytest.approx(H, abs=5e-5)]
    # the document itself lies in the page
    assert json.loads(read.downloads["result.json"]) == result.to_dict()
    assert f"report: {tmp_path / 'run' / 'report.html'}" in (tmp_path / "run" / "run.log").read_text()
    (tmp_path / "run" / "report.html").unlink()
    capsys.readouterr()
    assert main([f"--report={tmp_path / 'run'}"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'report.html'}\n"
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page


def test_a_comparison_leaves_one_at_its_top(keys, tmp_path):
    compare(config_dict={**keys, "strategy": ["static", "fine_tune"], "seed": [1]})
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert set(series(Read(page).figure("H-mean", "0"))) == {"static", "fine_tune"}
    assert (tmp_path / "run" / "static-1" / "report.html").is_file()
    assert "comparison.csv and report.html" in (tmp_path / "run" / "comparison.log").read_text()
    assert write_report(tmp_path / "run") == tmp_path / "run" / "report.html"
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page


def test_none_is_left_where_none_is_wanted(keys, tmp_path):
    run_ccd(config_dict={**keys, "write_report": False})
    assert not (tmp_path / "run" / "report.html").exists()
    # a run may be gone on with either way
    resume(tmp_path / "run", argv=["--write_report=True"])


def test_a_page_that_cannot_be_made_ends_no_run(tmp_path, monkeypatch, caplog):
    from recbole_ccd.report.writing import write_report_page

    monkeypatch.setattr("recbole_ccd.report.html.run_report", lambda document: 1 / 0)
    with caplog.at_level(logging.WARNING):
        write_report_page(RunDirectory(tmp_path), "result.json", run_document())
    assert "report.html could not be made" in caplog.text and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", json.dumps({**run_document(1), "stages": [{"block": 0}]})]
)
def test_damaged_results_are_told_in_one_line(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(RunError, match="result.json"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
