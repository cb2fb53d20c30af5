"""What is read back of comparison.json says what the comparison said, and settings are told apart."""

import json

import pytest

from recbole_ccd.evaluation import Comparison
from recbole_ccd.evaluation.settings import shared_settings
from recbole_ccd.evaluation.stored import StoredComparison
from recbole_ccd.report import comparison_csv, comparison_markdown, comparison_table
from recbole_ccd.utils.errors import RunError
from tests.evaluation.results import runs

LEVELS = [(0.2, 0.3), (0.3, 0.3), (0.4, 0.1)]


def make_comparison(**keys):
    return Comparison(
        {
            "static": runs("static", [(0.3, 0.2)] * 3, **keys),
            "fine_tune": runs("fine_tune", LEVELS[::-1], **keys),
            "ccd": runs("ccd", LEVELS, teacher=(0.7, 0.6), **keys),
        }
    )


def as_file(comparison):
    """As write_json writes it."""
    return json.loads(json.dumps(comparison.to_dict(), sort_keys=True, allow_nan=False))


@pytest.mark.parametrize("keys", [{}, {"eval_part": "valid", "la_include_base": False}])
def test_tables_of_the_file_are_those_of_the_runs(keys):
    comparison = make_comparison(**keys)
    stored = StoredComparison(as_file(comparison))
    for table in (comparison_table, comparison_markdown, comparison_csv):
        assert table(stored) == table(comparison)
    assert stored.roles == ["student", "teacher"] and stored.labels_of("teacher") == ["ccd"]
    # the mean over seeds of R = [[a], [b, b]]
    assert stored.matrix("student", "recall@20", "ccd") == [
        [pytest.approx(0.3)],
        [pytest.approx(0.7 / 3), pytest.approx(0.7 / 3)],
    ]


def test_a_file_of_an_earlier_version_lacks_matrices_and_settings():
    document = as_file(make_comparison())
    for key in ("eval_part", "la_include_base", "ra_include_current", "config"):
        del document[key]
    for run in document["runs"].values():
        del run["config"]
    del document["metrics"]["recall@20"]["student"]["labels"]["ccd"]["R"]
    stored = StoredComparison(document)
    assert comparison_table(stored) == comparison_table(make_comparison())
    assert stored.config == {} and stored.own_config["ccd"] == {}
    assert stored.matrix("student", "recall@20", "ccd") is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.update(format=2), "no comparison.json of format 1"),
        (lambda d: d.pop("labels"), "lacks labels"),
        (lambda d: d["runs"].pop("ccd"), "does not fit format 1"),
        (lambda d: d["metrics"].clear(), "does not fit format 1"),
    ],
)
def test_other_files_are_refused(spoil, message):
    document = as_file(make_comparison())
    spoil(document)
    with pytest.raises(RunError, match=message):
        StoredComparison(document)
    with pytest.raises(RunError, match="format 1"):
        StoredComparison([document])


def test_shared_settings():
    shared, own = shared_settings(
        {
            "a": [{"x": 1, "y": 2, "seed": 1, "run_dir": "p"}, {"x": 1, "y": 2, "seed": 2, "run_dir": "q"}],
            "b": [{"x": 1, "y": 3, "z": 4, "seed": 1}, {"x": 1, "y": 3, "z": 4, "seed": 2}],
        }
    )
    assert shared == {"x": 1} and own == {"a": {"y": 2}, "b": {"y": 3, "z": 4}}
    assert shared_settings({"a": [{"seed": 1, "run_dir": "p"}]}) == ({"seed": 1}, {"a": {}})
