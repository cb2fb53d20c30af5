"""The pages of results/: their tables are what the runs kept beside them measured."""

import json
import re
import runpy
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recbole_ccd.config import CCDConfig
from tests.documents import REPOSITORY
from tests.evaluation.results import make_run, runs

RESULTS = REPOSITORY / "results"


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(RESULTS / "make_tables.py"))


def test_tables_are_what_the_kept_runs_say(made):
    shown = set()
    for path in made["PAGES"]:
        text = path.read_text(encoding="utf-8")
        parts = re.findall(r"^<!-- ([\w-]+): (\w+) -->$", text, re.MULTILINE)
        # each part is opened and closed, and nothing else looks like a mark
        assert text.count("<!--") == 2 * len(parts) == 2 * text.count("<!-- end -->")
        shown |= {(path.name, *part) for part in parts}
        assert made["page"](text) == text, f"{path.name}: run python results/make_tables.py"
    assert {("yelp-ccd.md", "yelp-cumulative", "student"), ("README.md", "yelp-cumulative", "brief")} <= shown
    assert {name for _, name, _ in shown} == {file.stem for file in made["RUNS"].glob("*.jsonl")}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("ml-100k", ["ml-100k.yaml"]),
        ("yelp-cumulative", ["yelp.yaml", "yelp-cumulative.yaml"]),
        ("yelp-block", ["yelp.yaml", "yelp-block.yaml"]),
    ],
)
def test_what_was_chosen_by_hand_is_what_the_kept_runs_had_whatever_the_defaults_have_become(
    name, files, made, tmp_path
):
    run = made["read"](made["RUNS"] / f"{name}.jsonl")["ccd", 2020]
    settings = [str(RESULTS / "settings" / file) for file in files]
    config = CCDConfig(
        "LightGCN", run["dataset"], settings, {"strategy": "ccd", "seed": 2020, "data_path": str(tmp_path)}
    )
    # its scale is another one since auto-encoders' past is that of the user's earlier items
    kept = run["config"].keys() - {"output_kl_weight"}

    def effective(settings):
        """What nobody has set of a stage, or of its base student, is that of every stage, or of its stage."""
        batch, bounds = "train_batch_size", ("epochs", "stopping_step")
        stage = {key: settings[f"student_generation_{key}"] for key in bounds}
        stage = {key: settings[key] if value is None else value for key, value in stage.items()}
        every = {
            key: settings[batch] if key.endswith(batch) and settings[key] is None else settings[key]
            for key in kept
        }
        return every | {"base_student_args": stage | (settings["base_student_args"] or {})}

    assert effective(config) == effective(run["config"])


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
    text = made["page"]("<!-- tiny: brief -->\nstale\n<!-- end -->", tmp_path)
    # LA = (0.2 + b) / 2 and RA = b: H = 0.2727 for b = 0.3, 0.3429 for b = 0.4
    assert "seeds 1 and 2" in text and "stale" not in text
    assert "| ccd       | **0.3078** |" in text and "0.0496" in text
    assert text.index("fine_tune") < text.index("ccd  ")


def test_a_run_that_is_not_finished_is_left_out(tmp_path, made):
    left(tmp_path / "first", "ccd", runs("ccd", [(0.2, 0.3)]))
    path = tmp_path / "first" / "ccd-1" / "result.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "n_blocks": 3}), encoding="utf-8")
    with pytest.raises(SystemExit, match="first: no finished run"):
        made["add"](tmp_path / "tiny.jsonl", [tmp_path / "first"])
    assert not (tmp_path / "tiny.jsonl").exists()


def test_ablations_are_shown_as_differences(tmp_path, made):
    left(tmp_path / "all", "ccd", [make_run("ccd", 1, (0.2, 0.4), (0.3, 0.3))])
    left(tmp_path / "all", "ccd-no_piw", [make_run("ccd", 1, (0.2, 0.2), (0.3, 0.5))])
    made["add"](tmp_path / "tiny.jsonl", [tmp_path / "all"])
    text = made["page"]("<!-- tiny: ablations -->\n<!-- end -->", tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "ccd" in line]
    # the student's LA 0.3, RA 0.4 and H 0.3429 become 0.2, and the teacher's 0.3 rise to 0.4, 0.5, 0.4444
    assert rows[-2:] == [
        ["ccd", "0.3429", "0.3000", "0.4000", "0.3000", "0.3000", "0.3000"],
        ["ccd-no_piw", "-0.1429", "-0.1000", "-0.2000", "+0.1444", "+0.1000", "+0.2000"],
    ]


def test_choices_are_shown_with_what_they_are_worth_tomorrow(tmp_path, made):
    left(tmp_path / "all", "ccd", [make_run("ccd", 1, (0.2, 0.4), (0.3, 0.3), tomorrow=(0.25,))])
    left(
        tmp_path / "all",
        "kl",
        [make_run("ccd", 1, (0.2, 0.2), (0.3, 0.5), tomorrow=(0.125,), distill_loss="kl")],
    )
    left(tmp_path / "all", "ewc", [make_run("ewc", 1, (0.2, 0.4), tomorrow=(0.5,))])
    made["add"](tmp_path / "tiny.jsonl", [tmp_path / "all"])
    text = made["page"]("<!-- tiny: choices -->\n<!-- end -->", tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    assert rows[0] == [
        "",
        *(f"{role} {of}" for role in ("student", "teacher") for of in ("H", "LA", "RA")),
        "student next",
    ]
    found = {row[0]: row[1:] for row in rows}
    assert found["ccd"] == ["0.3429", "0.3000", "0.4000", "0.3000", "0.3000", "0.3000", "0.2500"]
    assert found["kl"] == ["-0.1429", "-0.1000", "-0.2000", "+0.1444", "+0.1000", "+0.2000", "-0.1250"]
    # a strategy without a teacher
    assert found["ewc"] == ["+0.0000"] * 3 + ["-"] * 3 + ["+0.2500"]


def test_seeds_of_a_label_have_the_same_settings(tmp_path, made):
    left(tmp_path / "first", "ccd", runs("ccd", [(0.2, 0.3)], epochs=2))
    left(tmp_path / "later", "ccd", runs("ccd", [(0.2, 0.4)], first=2, epochs=3))
    with pytest.raises(SystemExit, match=r"tiny\.jsonl: runs of ccd differ in epochs"):
        made["add"](tmp_path / "tiny.jsonl", [tmp_path / "first", tmp_path / "later"])


def test_a_seed_that_a_strategy_lacks_is_in_no_table(tmp_path, made):
    left(tmp_path / "all", "ccd", runs("ccd", [(0.2, 0.3), (0.2, 0.4)]))
    left(tmp_path / "all", "fine_tune", runs("fine_tune", [(0.2, 0.1), (0.2, 0.1)]))
    left(tmp_path / "all", "static", runs("static", [(0.2, 0.1)]))
    made["add"](tmp_path / "tiny.jsonl", [tmp_path / "all"])
    assert made["comparison_of"](tmp_path / "tiny.jsonl").seeds == [1]


def test_tomorrow_and_what_it_cost(tmp_path, made):
    keys = {"tomorrow": (0.25,), "memory": 100.0}
    left(tmp_path / "all", "ccd", [make_run("ccd", 1, (0.4, 0.4), **keys)])
    left(tmp_path / "all", "full_batch", [make_run("full_batch", 1, (0.5, 0.5), **keys)])
    made["add"](tmp_path / "tiny.jsonl", [tmp_path / "all"])
    text = made["page"]("<!-- tiny: tomorrow -->\n<!-- end -->\n<!-- tiny: cost -->\n<!-- end -->", tmp_path)
    text = re.sub(" +", " ", text)
    assert "Student, Recall@20 on each block before it is learned, " in text
    assert "| ccd | 0.2500 | 0.2500 | - | 0.2400 |" in text
    assert "**ccd: 80.0% of full_batch's quality at 100.0% of its time**" in text
    assert "| ccd | 3.0 | 4.0 |" in text and "| ccd | 100.0 | 100.0 |" in text


def test_the_figure_is_what_its_script_makes_of_the_runs():
    made = runpy.run_path(str(RESULTS / "make_figure.py"))
    drawn = made["picture"]()
    assert Path(made["PICTURE"]).read_text(encoding="utf-8") == drawn, "run python results/make_figure.py"
    ElementTree.fromstring(drawn)
    table = (RESULTS / "README.md").read_text(encoding="utf-8")
    for file, _ in made["PANELS"]:
        last = {label: line[-1] for label, line in made["harmonic_means"](file).items()}
        assert max(last, key=last.get) == "ccd" and f"**{last['ccd']:.4f}**".replace("0.", ".") in table


def test_a_sample_has_all_that_its_users_did(tmp_path):
    source, target = tmp_path / "large", tmp_path / "small"
    source.mkdir()
    rows = [(f"u{user}", f"i{item}") for user in range(20) for item in (0, 1, 2 + user)]
    for n, (block, part) in enumerate(product(("block0", "block1"), ("train", "valid", "test"))):
        lines = ["user_id:token\titem_id:token", *("\t".join(row) for row in rows[n::6])]
        source.joinpath(f"large.{block}.{part}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = runpy.run_path(str(RESULTS / "sample_users.py"))["sample"](source, 0.5, 2, target)
    assert (len(made), made["user_id:token"].nunique()) == (20, 10)
    kept = {file.name: file.read_text(encoding="utf-8").splitlines()[1:] for file in sorted(target.iterdir())}
    assert list(kept) == [name.name.replace("large", "small", 1) for name in sorted(source.iterdir())]
    users = {line.split("\t")[0] for lines in kept.values() for line in lines}
    for name, lines in kept.items():
        block_and_part = name.removeprefix("small.")
        whole = source.joinpath(f"large.{block_and_part}").read_text(encoding="utf-8").splitlines()[1:]
        wanted = [line for line in whole if line.split("\t")[0] in users]
        assert lines == [line for line in wanted if line.endswith(("\ti0", "\ti1"))]
