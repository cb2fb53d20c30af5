"""The pages of results/: their tables are what the runs kept beside them measured."""

import json
import runpy

import pytest

from tests.documents import REPOSITORY
from tests.evaluation.results import runs

RESULTS = REPOSITORY / "results"


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(RESULTS / "make_tables.py"))


def test_tables_are_what_the_kept_runs_say(made):
    assert {RESULTS / "yelp-ccd.md", REPOSITORY / "README.md"} <= set(made["PAGES"])
    for path in made["PAGES"]:
        text = path.read_text(encoding="utf-8")
        assert made["page"](text) == text, f"{path.name}: run python results/make_tables.py"


def left(folder, label, results):
    """Runs as a comparison leaves them."""
    for run in results:
        of_run = folder / f"{label}-{run.head['seed']}"
        of_run.mkdir(parents=True)
        (of_run / "result.json").write_text(json.dumps(run.to_dict()), encoding="utf-8")


def test_runs_of_several_comparisons_make_one_table(tmp_path, made):
    left(tmp_path / "first", "ccd", runs("ccd", [(0.2, 0.3), (0.2, 0.3)]))
    left(tmp_path / "first", "fine_tune", runs("fine_tune", [(0.2, 0.1), (0.2, 0.1)]))
    left(tmp_path / "later", "ccd", runs("ccd", [(0.2, 0.4)], first=2))
    file = tmp_path / "tiny.jsonl"
    made["add"](file, [tmp_path / "first"])
    made["add"](file, [tmp_path / "later"])
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4
    text = made["page"]("<!-- tiny: brief -->\nold\n<!-- end -->", tmp_path)
    # LA = (0.2 + b) / 2 and RA = b: H = 0.2727 for b = 0.3, 0.3429 for b = 0.4
    assert "seeds 1 and 2" in text and "old" not in text
    assert "| ccd       | **0.3078** |" in text and "0.0496" in text
    assert text.index("fine_tune") < text.index("ccd  ")


def test_a_run_that_is_not_finished_is_left_out(tmp_path, made):
    left(tmp_path / "first", "ccd", runs("ccd", [(0.2, 0.3)]))
    path = tmp_path / "first" / "ccd-1" / "result.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "n_blocks": 3}), encoding="utf-8")
    made["add"](tmp_path / "tiny.jsonl", [tmp_path / "first"])
    assert not (tmp_path / "tiny.jsonl").read_text(encoding="utf-8")
