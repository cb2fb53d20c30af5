"""The page of a run: all numbers of its result, nothing from elsewhere, and words for who cannot see it."""

import copy
import re

import plotly.graph_objects as go
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
    assert names.count("h1") == names.count("title") == names.count("main") == 1
    levels = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    viewport = [attrs for tag, attrs in read.tags if tag == "meta" and attrs.get("name") == "viewport"]
    assert viewport == [{"name": "viewport", "content": "width=device-width, initial-scale=1"}]
    assert (
        sorted(read.scripts) == ["figures", "own", "plotly"] and "plotly.js v" in read.scripts["plotly"][:200]
    )
    # nothing is fetched, and nothing may be
    loads = [
        attrs[key] for _, attrs in read.tags for key in ("src", "href", "srcset", "action") if key in attrs
    ]
    assert loads == ["data:,"]
    policy = next(attrs["content"] for _, attrs in read.tags if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none';")
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    plots = {attrs["id"]: attrs for tag, attrs in read.tags if attrs.get("class") == "plot"}
    assert plots.keys() == read.plots.keys()
    for name, attrs in plots.items():
        assert attrs["role"] == "img" and attrs["aria-labelledby"] in ids and attrs["aria-describedby"] in ids
        keys = {len(key.split("-")) if key else 0 for key in read.plots[name]}
        assert keys == {len(attrs["data-pickers"].split())}
        for plot in read.plots[name].values():
            # plotly refuses what it does not know
            go.Figure(copy.deepcopy(plot))
    assert all(read.captions[title] for title in read.figures)


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
            for role, line in lines.items():
                assert line["y"] == document["metrics"][metric][role][quantity] and line["x"] == [0, 1, 2]
    student, teacher = series(read.figure("H-mean", "0")).values()
    assert student["line"]["dash"] != teacher["line"]["dash"]
    assert student["marker"]["symbol"] != teacher["marker"]["symbol"]


def test_matrices_with_their_numbers_on_one_scale(read, document):
    student, teacher = read.figure("Student", "0")["data"] + read.figure("Teacher", "0")["data"]
    R = document["metrics"]["recall@20"]["student"]["R"]
    assert student["z"] == [[R[0][0], None, None], [*R[1], None], R[2]]
    assert student["texttemplate"] == "%{z:.3f}" and student["zmin"] == teacher["zmin"]
    assert (student["zmax"], teacher["zmax"]) == (pytest.approx(0.17), pytest.approx(0.17))


def test_new_users_and_items(read):
    lines = series(read.figure("New items", "0"))
    assert lines["teacher"]["y"] == [None, 0.0321, 0.0321]
    assert "Mean over the blocks" in read.captions["New users"]


def test_loss_curves_by_stage_and_member(read):
    curves = read.figure("Teacher update, member 1 (MultiVAE)")["data"]
    assert [(c["name"], c["y"], c.get("yaxis")) for c in curves] == [
        ("block 1", [0.75, 0.6], None),
        ("block 2", [0.75, 0.7], None),
        ("block 1", [0.155], "y2"),
        ("block 2", [0.155], "y2"),
    ]
    assert {"Base training, member 0 (LightGCN)", "Base training, student", "Student update"} <= set(
        read.figures
    )
    told = "Block 2: loss 0.75, 0.7 after 2 epochs. Best recall@20 0.1250 after epoch 2."
    assert read.captions["Student update"].startswith(told)


def test_shares_of_what_was_replayed(read):
    shares = series(read.figures["Student update"][1][""])
    # 31 and 10, 32 and 10
    assert shares["stability"]["y"] == pytest.approx([100 * 31 / 41, 100 * 32 / 42])
    assert shares["plasticity"]["y"] == pytest.approx([100 * 10 / 41, 100 * 10 / 42])
    assert "83 pairs in all: stability 75.9%, plasticity 24.1%." in read.captions["Student update"]
    texts = [note["text"] for note in read.figures["Student update"][1][""]["layout"]["annotations"]]
    assert texts == ["76%", "76%", "24%", "24%"]


def test_parts_of_a_block_have_curves_of_their_own(document):
    twice = copy.deepcopy(document)
    (first, *_) = [s for s in twice["stages"] if s["stage"] == "student_update"]
    twice["stages"].insert(twice["stages"].index(first) + 1, dict(first))
    names = [trace["name"] for trace in Read(run_report(twice)).figure("Student update")["data"]]
    assert names[:3] == ["block 1", "block 1, part 2", "block 2"]


def test_time_and_memory(read, document):
    seconds = series(read.figure("Time"))
    assert seconds["base training"]["y"] == [1.5 + 2.5 + 3.5, 0.0, 0.0]
    assert seconds["teacher update"]["y"] == [0.0, 3.5 + 4.5, 3.5 + 4.5]
    assert len({bar["marker"]["pattern"]["shape"] for bar in seconds.values()}) == 4
    peak = max(stage["peak_rss_mb"] for stage in document["stages"])
    assert f"Peak {peak:,.0f} MB" in read.captions["Peak memory"]


def test_settings_that_differ_come_first(document):
    text = Read(run_report(run_document(learning_rate=0.5))).text
    differ = text[text.index("Settings that differ") : text.index("All 6 settings")]
    assert "learning_rate 0.5" in differ and "seed 7 2020" in differ and "strategy" not in differ
    # settings of no known model have no defaults, and are all shown
    assert "Settings that differ" not in Read(run_report(run_document(model="Mine"))).text


def test_definitions_stand_below(read):
    for words in ("LA learning average", "H H-mean: harmonic mean", "BWT backward", "R R[i][j]"):
        assert words in read.text, words
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
    assert ("Loss curves" in read.text or "Student generation" in read.figures) == there
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
