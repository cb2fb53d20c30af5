"""The page of a comparison."""

import copy
import json

import pytest

from recbole_ccd.evaluation import Comparison
from recbole_ccd.report.html import comparison_report
from tests.evaluation.results import make_run
from tests.report.pages import Read, comparison_document, series, wide_comparison
from tests.report.test_run_report import NASTY, assert_sound


@pytest.fixture(scope="module")
def document():
    return comparison_document()


@pytest.fixture(scope="module")
def read(document):
    return Read(comparison_report(document))


def test_the_page_is_sound(read):
    assert_sound(read)
    assert "BPR on tiny, means over seeds 1, 2, 3" in read.text


def test_means_with_their_deviations_and_ours_the_widest(read, document):
    drawn = read.figure("H-mean", "0")
    labels = document["metrics"]["recall@20"]["student"]["labels"]
    assert set(drawn.series) == set(labels) == {"static", "fine_tune", "ccd"}
    for label, values in series(drawn).items():
        assert values == [None, pytest.approx(labels[label]["H"]["mean"][1], abs=5e-5)]
    # those of the others do not deviate
    assert drawn.values()["ccd"][1] == ("1", "0.2985 ± 0.0756")
    assert [one.get("errors") for one in drawn.series.values()] == [None, None, 1]
    # drawn last, above the others
    assert list(drawn.series)[-1] == "ccd"
    widths = {label: one["width"] for label, one in drawn.series.items()}
    assert widths["ccd"] > 2 * max(widths["static"], widths["fine_tune"])
    assert len({(one["dashes"], one["marker"]) for one in drawn.series.values()}) == 3


def test_one_seed_has_no_error_bars():
    drawn = Read(comparison_report(comparison_document(n_seeds=1))).figure("H-mean", "0")
    assert not any("errors" in one for one in drawn.series.values())


def test_tables_mark_the_best_and_the_second_best(read, document):
    page = comparison_report(document)
    # H of ccd: 2/9, 0.3 and 28/75; of fine_tune LA 0.225 and RA 0.15, so 0.18
    assert "<strong>0.2985</strong>" in page and "<em>0.1800</em>" in page
    assert "Student: what ccd gains in H of recall@20 over the best competitor" in read.text
    assert "ccd over fine_tune, the best competitor, student" in read.text


def test_marks_are_not_taken_for_a_part_of_a_name():
    page = comparison_report(comparison_document(**{"piw*": "piw", "piw**": "piw"}))
    for label in ("piw*", "piw**"):
        # H, and the other averages; sizes and times, quality beside cost, and seconds by block
        assert page.count(f'<th scope="row">{label}</th>') == 2 * 2 + 3


def test_matrices_behind_a_picker(read, document):
    labels = document["metrics"]["recall@20"]["student"]["labels"]
    # labels in order: static, ccd, fine_tune; ours first
    keys = list(read.figures["R of the student, mean over seeds"][0])
    assert sorted(keys) == ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"] and keys[0] == "0-1"
    cells = read.figure("R of the student, mean over seeds", "0-1").cells
    R = labels["ccd"]["R"]["mean"]
    assert [[text for _, text in row] for row in cells if row] == [[f"{v:.3f}" for v in row] for row in R]
    assert list(read.figures["R of the teacher, mean over seeds"][0]) == ["0-0", "1-0"]


def test_times_and_settings(read):
    drawn = read.figure("Time")
    assert [tip.split("\n")[0] for tip in drawn.tips] == ["static", "ccd", "fine_tune"]
    # seeds 1, 2, 3: base 3, 4, 5 s, the update one more
    assert series(drawn)["all later blocks"] == [5.0, 5.0, 5.0]
    base, later = (drawn.series[name]["bars"][0] for name in ("base block", "all later blocks"))
    assert later["x"] == pytest.approx(base["x"] + base["width"], abs=0.11)
    differ = read.text[read.text.index("Settings in which strategies differ") :]
    assert "lwc_kd_weight 0.5 0.1 –" in differ and "strategy static ccd fine_tune" in differ


def test_many_labels_and_variants_of_ours_can_be_told_apart():
    names = {f"ccd no_{n}": "ccd" for n in range(3)} | {f"piw {n}": "piw" for n in range(12)}
    read = Read(comparison_report(comparison_document(**names)))
    assert_sound(read)
    drawn = read.figure("H-mean", "0").series
    looks = {(one["look"], one["dashes"], one["marker"]) for one in drawn.values()}
    assert len(looks) == len(drawn) == 18
    assert max(drawn, key=lambda name: drawn[name]["width"]) == "ccd"


@pytest.mark.slow
@pytest.mark.parametrize("n_blocks", [6, 30])
def test_a_page_is_small_however_much_is_compared(n_blocks):
    metrics = [f"{name}@{k}" for name in ("recall", "ndcg") for k in (20, 50, 100)]
    document = json.loads(json.dumps(wide_comparison(n_blocks, metrics)))
    page = comparison_report(document)
    assert len(page.encode()) < 1_500_000
    read = Read(page)
    assert_sound(read)
    matrices = read.figures["R of the student, mean over seeds"][0]
    # 8 labels; those of 30 blocks are shown in the first metric alone
    assert len(matrices) == (8 * 6 if n_blocks == 6 else 8)
    assert ("the matrices are those of recall@20" in read.text) == (n_blocks == 30)


def test_labels_are_shown_and_not_read():
    page = comparison_report(comparison_document(**{NASTY: "piw"}))
    read = Read(page)
    assert_sound(read)
    assert "alert(1)</script>" not in page
    assert NASTY in read.figure("H-mean", "0").series


def test_a_comparison_of_an_earlier_version(document):
    old = copy.deepcopy(document)
    for key in ("eval_part", "la_include_base", "ra_include_current", "config", "unserved"):
        del old[key]
    for run in old["runs"].values():
        del run["config"], run["costs"]
    for of_metric in old["metrics"].values():
        for of_role in of_metric.values():
            for label in of_role["labels"].values():
                del label["R"], label["next"], label["next_mean"], label["FWT"]
            for place in (of_role["best"], of_role["second"]):
                del place["next"], place["next_mean"], place["FWT"]
    read = Read(comparison_report(old))
    assert_sound(read)
    assert "H-mean" in read.figures and not any(title.startswith("R of") for title in read.figures)


def test_without_ours():
    document = comparison_document()
    document["labels"] = ["static", "fine_tune"]
    for of_metric in document["metrics"].values():
        of_metric["student"]["gains"] = {}
        del of_metric["teacher"]
    assert_sound(Read(comparison_report(document)))


def test_next_cost_and_the_share_of_retraining():
    keys = {"tomorrow": (0.3,), "memory": 250.0, "teacher": (0.7, 0.6), "topk": [20]}
    levels = {"ccd": (0.4, 0.4), "retrain_distill": (0.5, 0.5)}
    found = {label: [make_run(label, levels=some, **keys)] for label, some in levels.items()}
    read = Read(comparison_report(json.loads(json.dumps(Comparison(found).to_dict()))))
    assert_sound(read)
    assert "ccd beside retraining 80.0% of retrain_distill's quality at 100.0% of its time" in read.text
    assert "Student: next, recall@20 on each block before it is learned block 1 mean" in read.text
    for text in (
        "Quality beside cost (recall@20)",
        "Seconds of training in each block s B0 s B1 ccd 3.0 4.0",
    ):
        assert text in " ".join(read.text.split())
    assert "Resident memory at most while a block is trained, MB MB B0 MB B1 ccd 250.0 250.0" in read.text
    assert "are not served before it is learned B1 users 10.0%" in read.text
