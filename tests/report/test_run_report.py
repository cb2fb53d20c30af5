"""The page of a run: all numbers of its result, nothing from elsewhere, and words for who cannot see it."""

import copy
import csv
import io
import json
import re

import pytest

from recbole_ccd.evaluation import StreamResult
from recbole_ccd.report.html import run_report
from recbole_ccd.report.html.words import compared, course, duration, ordered_metrics
from recbole_ccd.utils.errors import RunError
from tests.report.pages import Read, run_document, series


@pytest.fixture(scope="module")
def document():
    return run_document()


@pytest.fixture(scope="module")
def read(document):
    return Read(run_report(document))


def assert_sound(read):
    """What holds of every page."""
    names = [tag for tag, _ in read.tags]
    assert names.count("h1") == names.count("main") == 1
    levels = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    viewport = [attrs for tag, attrs in read.tags if tag == "meta" and attrs.get("name") == "viewport"]
    assert viewport == [{"name": "viewport", "content": "width=device-width, initial-scale=1"}]
    assert sorted(read.scripts) == ["own"]
    # nothing is fetched, and nothing may be
    loads = [
        attrs[key] for _, attrs in read.tags for key in ("src", "href", "srcset", "action") if key in attrs
    ]
    assert all(address.startswith(("data:", "#")) for address in loads)
    policy = next(attrs["content"] for _, attrs in read.tags if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none';")
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    # what is named is there: sections of the contents, markers, patterns
    named = {address[1:] for address in loads if address.startswith("#")}
    named |= {attrs["fill"][5:-1] for _, attrs in read.tags if attrs.get("fill", "").startswith("url(#")}
    assert named <= set(ids)
    sections = [attrs["id"] for tag, attrs in read.tags if tag == "section" and "id" in attrs]
    contents = [attrs["href"] for tag, attrs in read.tags if tag == "a" and "download" not in attrs]
    assert contents == [f"#{section}" for section in sections]
    for tag, attrs in read.tags:
        if tag == "svg" and attrs.get("class") == "plot":
            assert attrs["role"] == "img" and attrs["aria-label"]
            # a length that is no number would be one of these
        assert not any("nan" in attrs[key] or "inf" in attrs[key] for key in ("d", "x", "y") if key in attrs)
    assert all(read.captions[title] for title in read.figures)
    assert ("noscript", {}) in read.tags


def test_the_page_is_sound(read):
    assert_sound(read)
    assert "ccd with LightGCN on ml-100k, seed 2024" in read.text


def test_averages_of_every_metric(read, document):
    options = [attrs["value"] for tag, attrs in read.tags if tag == "option"]
    assert options == [str(n) for n in range(6)]
    assert "recall@20 recall@50 recall@100 ndcg@20 ndcg@50 ndcg@100" in read.text
    for quantity, title in (
        ("H", "H-mean"),
        ("LA", "Learning average (LA)"),
        ("RA", "Retained average (RA)"),
    ):
        for key, metric in (("0", "recall@20"), ("5", "ndcg@100")):
            lines = series(read.figure(title, key))
            assert list(lines) == ["student", "teacher"]
            for role, values in lines.items():
                expected = document["metrics"][metric][role][quantity]
                assert values == [pytest.approx(value, abs=5e-5) for value in expected]
    drawn = read.figure("H-mean", "0")
    assert [tip.split("\n")[0] for tip in drawn.tips] == ["block 0", "block 1", "block 2"]
    student, teacher = drawn.series["student"], drawn.series["teacher"]
    # block 0 has no H
    assert student["points"] == 2
    assert student["dashes"] != teacher["dashes"] and student["marker"] != teacher["marker"]
    # one colour for light pages and another for dark ones
    assert student["look"] == "--light:#0072b2;--dark:#45a9f5"


def test_matrices_with_their_numbers_on_one_scale(read, document):
    R = document["metrics"]["recall@20"]["student"]["R"]
    texts = [[text for _, text in row] for row in read.figure("Student", "0").cells if row]
    assert texts == [[f"{value:.3f}" for value in row] for row in R]
    # the least of both is R[0][0] or R[2][2] of the student, the greatest the teacher's R[2][0]
    levels = [
        kind for role in ("Student", "Teacher") for row in read.figure(role, "0").cells for kind, _ in row
    ]
    assert read.figure("Teacher", "0").cells[-1][0][0] == "h31" and "h0" in levels


def test_new_users_and_items(read):
    lines = series(read.figure("New items", "0"))
    assert lines["teacher"] == [None, 0.0321, 0.0321]
    assert "Mean over the blocks" in read.captions["New users"]
    assert "Why a value may be 0" in read.text and "Block 2 brings 500 new items" in read.text


def test_loss_curves_by_stage_and_member(read):
    curves = read.figure("Teacher update, member 1 (MultiVAE)")
    assert curves.tips == [
        "epoch 1\nblock 1: loss 0.75\nblock 2: loss 0.75",
        "epoch 2\nblock 1: loss 0.6, recall@20 0.1550\nblock 2: loss 0.7, recall@20 0.1550",
    ]
    assert curves.titles == ["loss", "recall@20", "epoch"]
    assert {"Base training, member 0 (LightGCN)", "Base training, student", "Student update"} <= set(
        read.figures
    )
    told = "Block 2: loss 0.75, 0.7 after 2 epochs. Best recall@20 0.1250 after epoch 2."
    assert read.captions["Student update"].startswith(told)


def test_shares_of_what_was_replayed(read):
    drawn = read.figures["Student update"][1][""]
    shares = series(drawn)
    # 31 and 10, 32 and 10
    assert shares["stability"] == [pytest.approx(100 * share, abs=0.05) for share in (31 / 41, 32 / 42)]
    assert shares["plasticity"] == [pytest.approx(100 * share, abs=0.05) for share in (10 / 41, 10 / 42)]
    assert "83 pairs in all: stability 75.9%, plasticity 24.1%." in read.captions["Student update"]
    assert drawn.labels == ["76%", "76%", "24%", "24%"]
    # on top of each other
    below, above = drawn.series["stability"]["bars"][0], drawn.series["plasticity"]["bars"][0]
    assert below["y"] == pytest.approx(above["y"] + above["height"], abs=0.11)
    assert below["height"] / above["height"] == pytest.approx(3.1, rel=0.02)


def test_parts_of_a_block_have_curves_of_their_own(document):
    twice = copy.deepcopy(document)
    (first, *_) = [s for s in twice["stages"] if s["stage"] == "student_update"]
    twice["stages"].insert(twice["stages"].index(first) + 1, dict(first))
    names = list(Read(run_report(twice)).figure("Student update").series)
    assert names[:3] == ["block 1", "block 1, part 2", "block 2"]


def test_time_and_memory(read, document):
    seconds = series(read.figure("Time"))
    assert seconds["base training"] == [1.5 + 2.5 + 3.5, 0.0, 0.0]
    assert seconds["teacher update"] == [0.0, 3.5 + 4.5, 3.5 + 4.5]
    patterns = {one.get("pattern") for one in read.figure("Time").series.values()}
    assert len(patterns) == 4
    peak = max(stage["peak_rss_mb"] for stage in document["stages"])
    assert f"Peak {peak:,.0f} MB" in read.captions["Peak memory"]


def test_settings_that_differ_come_first(document):
    text = Read(run_report(run_document(learning_rate=0.5))).text
    differ = text[text.index("Settings that differ") : text.index("All 6 settings")]
    assert "learning_rate 0.5" in differ and "seed 7 2020" in differ and "strategy" not in differ
    # settings of no known model have no defaults, and are all shown
    assert "Settings that differ" not in Read(run_report(run_document(model="Mine"))).text


def test_the_numbers_can_be_saved(read, document):
    assert list(read.downloads) == ["result.json", "result.csv"]
    assert json.loads(read.downloads["result.json"]) == document
    rows = list(csv.DictReader(io.StringIO(read.downloads["result.csv"])))
    columns = ("metric", "role", "after_block", "quantity", "on_block")
    found = {tuple(row[name] for name in columns): row["value"] for row in rows}
    assert len(found) == len(rows)
    summary = document["metrics"]["ndcg@50"]["teacher"]
    assert float(found["ndcg@50", "teacher", "2", "R", "1"]) == summary["R"][2][1]
    assert float(found["ndcg@50", "teacher", "2", "H", ""]) == summary["H"][2]
    assert float(found["ndcg@50", "teacher", "2", "BWT", ""]) == summary["BWT"]
    assert float(found["ndcg@50", "teacher", "1", "new items", ""]) == 0.0321
    # what does not exist has no line
    assert ("ndcg@50", "teacher", "0", "H", "") not in found


def test_a_page_of_a_long_run_is_small(document):
    long = run_document(12)
    for stage in long["stages"]:
        stage["loss"] = [1 / (n + 1) for n in range(500)]
        stage["valid_score"] = [[n + 1, 0.1 + n / 10_000] for n in range(500)]
    page = run_report(long)
    assert len(page.encode()) < 1_500_000
    read = Read(page)
    drawn = read.figure("Student update")
    # places are as many as can be told apart; the first and the last are among them
    assert len(drawn.tips) == 54
    assert drawn.tips[0].startswith("epoch 1\n") and drawn.tips[-1].startswith("epoch 500\n")
    # what is too large for a page lies beside it
    assert list(read.downloads) == ["result.csv"] and "result.json lies beside this page" in read.text


def test_definitions_stand_below(read):
    for words in ("LA learning average", "H H-mean: harmonic mean", "BWT backward", "R R[i][j]"):
        assert words in read.text, words
    # each with its formula, but for what has none
    assert sum(tag == "math" for tag, _ in read.tags) == 5
    assert "block j's valid part" in Read(run_report(run_document(eval_part="valid"))).text


NASTY = "</script><script>alert(1)</script><b>\"&'\u2028"


def test_names_are_shown_and_not_read(document):
    nasty = run_document(dataset=NASTY, model=NASTY, strategy=NASTY, teacher_models=[NASTY, NASTY])
    page = run_report(nasty)
    read = Read(page)
    assert_sound(read)
    assert "alert(1)</script>" not in page and NASTY.strip() in " ".join(read.texts)


@pytest.mark.parametrize(
    ("keys", "there"),
    [
        ({"learned": False}, False),
        ({"roles": ("student",)}, True),
        ({"n_blocks": 1}, True),
        ({"n_blocks": 14}, True),
    ],
)
def test_other_results_have_a_page_too(keys, there):
    read = Read(run_report(run_document(**keys)))
    assert_sound(read)
    assert ("Student generation" in read.figures) == there
    assert ("teacher" in series(read.figure("H-mean", "0"))) == ("roles" not in keys)


def test_an_unfinished_run_says_so(document):
    unfinished = copy.deepcopy(document)
    for metric in unfinished["metrics"].values():
        for role in metric.values():
            del role["R"][1:]
    assert "After block 0 of 0..2; the run is not finished" in Read(run_report(unfinished)).text
    for metric in unfinished["metrics"].values():
        metric.clear()
    with pytest.raises(RunError, match="no rows"):
        run_report(unfinished)


def test_no_stages_and_no_known_memory(document):
    bare = copy.deepcopy(document)
    for stage in bare["stages"]:
        stage["peak_rss_mb"] = None
    read = Read(run_report(bare))
    assert "Time" in read.figures and "Peak memory" not in read.figures
    assert "Time" not in Read(run_report({**bare, "stages": []})).figures


def test_words():
    assert compared({"a": 0.2, "b": 0.25, "c": None}) == "b 0.2500, +0.0500 (+25.0%) over a 0.2000"
    assert compared({"a": 0.2}) == "a 0.2000" and compared({"a": None}) == "no value"
    assert compared({"a": 0.2, "b": 0.2}) == "a and b 0.2000"
    assert course([None, 0.5, 0.25]) == "0.5000 in block 1, 0.2500 in block 2"
    assert [duration(s) for s in (3.25, 61, 7300)] == ["3.2 s", "1 min 1 s", "2 h 1 min"]
    names = ["ndcg@5", "ndcg@10", "recall@10", "recall@5"]
    assert ordered_metrics(names, "recall@10") == ["recall@10", "recall@5", "ndcg@5", "ndcg@10"]


def test_the_next_block_before_it_is_learned(document):
    result = StreamResult.from_dict(document)
    for role, value in (("student", 0.31), ("teacher", 0.42), ("random", 0.01)):
        result.add_next(role, 0, dict.fromkeys(result.metric_names, value))
    result.add_unserved(0, {"users": 0.25, "items": 0.5, "interactions": 0.125})
    read = Read(run_report(result.to_dict()))
    assert "block next S next T random users items interactions" in read.text
    rows = "1 0.3100 0.4200 0.0100 0.2500 0.5000 0.1250 mean 0.3100 0.4200 – – – – FWT 0.3000 0.4100"
    assert rows in read.text and "FWT forward transfer: mean" in read.text
    assert "Tomorrow: each block" not in Read(run_report(document)).text
