"""The tables of a comparison: the right numbers, the right marks, and narrow enough."""

import csv
import io

import pytest

from recbole_ccd.evaluation import Comparison
from recbole_ccd.report import comparison_csv, comparison_markdown, comparison_table
from tests.evaluation.results import make_run, runs


def make_comparison(n_seeds=3, n_blocks=2, **more):
    def some(strategy, level, **keys):
        return runs(strategy, [(level + seed / 100,) * n_blocks for seed in range(n_seeds)], **keys)

    return Comparison(
        {
            "static": some("static", 0.1),
            "fine_tune": some("fine_tune", 0.2),
            "ccd": some("ccd", 0.3, teacher=(0.7,) * n_blocks),
            **{label: some(strategy, 0.05) for label, strategy in more.items()},
        }
    )


def cells(text, first, table=0):
    """The cells of a line, by its first word, in the n-th table that has such a line."""
    return [line for line in text.splitlines() if line.split()[:1] == [first]][table].split()


def test_h_per_block_with_marks_and_deviation():
    text = comparison_table(make_comparison())
    # levels 0.30, 0.31, 0.32: mean 0.31, std 0.01
    assert cells(text, "ccd") == ["ccd", "0.3100**", "0.0100"]
    assert cells(text, "fine_tune") == ["fine_tune", "0.2100*", "0.0100"]
    assert cells(text, "static") == ["static", "0.1100", "0.0100"]
    assert "student: H of recall@20 after each block" in text and "means over seeds 1, 2, 3" in text
    assert "**: the best mean of its column, *: the second best" in text


def test_the_other_averages_follow():
    text = comparison_table(make_comparison())
    # LA and RA with their deviations; BWT and forgetting are 0 for all, so that none is marked
    assert cells(text, "ccd", 1) == [
        *["ccd", "0.3100**", "0.0100", "0.3100**", "0.0100"],
        *["+0.0000", "0.0000", "0.0000", "0.0000"],
    ]


def test_bwt_keeps_its_sign():
    worse = Comparison({"a": [make_run(levels=(0.4, 0.1))], "b": [make_run("piw", levels=(0.1, 0.2))]})
    text = comparison_table(worse)
    assert "-0.3000*" in cells(text, "a", 1) and "+0.1000**" in cells(text, "b", 1)


def test_the_gain_and_how_it_is_computed():
    text = comparison_table(make_comparison())
    assert "student: what ccd gains in H of recall@20 over the best competitor" in text
    # 0.31 - 0.21 = 0.1, which is 47.6 % of 0.21; the same for every seed, so there is no test
    assert cells(text, "1") == ["1", "fine_tune", "+0.1000", "+47.6%", "-"]
    assert "that learn every block: fine_tune" in text and "paired by seed" in text
    # there is no competitor's teacher
    assert "teacher: what ccd gains" not in text


def test_p_values():
    levels = [(0.4, 0.4), (0.5, 0.5), (0.6, 0.6)]
    rivals = [(0.3, 0.3), (0.3, 0.3), (0.6, 0.6)]
    text = comparison_table(Comparison({"fine_tune": runs("fine_tune", rivals), "ccd": runs("ccd", levels)}))
    # t = sqrt 3 with 2 degrees of freedom: p = 1 - sqrt(3/5)
    assert cells(text, "1") == ["1", "fine_tune", "+0.1000", "+25.0%", "0.2254"]


def test_sizes_and_times():
    text = comparison_table(make_comparison())
    assert cells(text[text.index("Size and time") :], "ccd") == [
        *["ccd", "8", "0.00", "-", "-"],
        *["4.0", "5.0"],
    ]


def test_one_seed_and_one_label():
    text = comparison_table(Comparison({"ccd": [make_run()]}))
    assert cells(text, "ccd") == ["ccd", "0.2000", "-"]
    assert "gains" not in text and "p:" not in text and "BPR on tiny, seed 1" in text


def test_six_blocks_fit_110_columns():
    more = {
        f"{strategy}{base}": strategy
        for strategy in ("lwc_kd", "graphsail", "replay", "piw")
        for base in ("", " (plain base)")
    }
    more |= {"distill_each_block": "distill_each_block", "ccd random_initialization": "ccd"}
    more |= {"fine_tune (plain base)": "fine_tune", "full_batch (plain base)": "full_batch"}
    text = comparison_table(make_comparison(n_seeds=5, n_blocks=6, **more))
    assert max(map(len, text.splitlines())) <= 110
    assert len(cells(text, "static")) == 7


def test_markdown_has_every_metric_and_its_own_marks():
    text = comparison_markdown(make_comparison())
    assert text.startswith("# BPR on tiny, means over seeds 1, 2, 3\n")
    assert text.index("## recall@20") < text.index("## ndcg@20") < text.index("## Size and time")
    (line,) = [line for line in text.splitlines() if line.startswith("| ccd ") and "0.3100" in line][:1]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["ccd", "**0.3100**", "0.0100"]
    assert "*0.2100*" in text and "**0.2100**" not in text


def test_csv_holds_every_number():
    comparison = make_comparison()
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    # two metrics, two blocks: three students and one teacher
    assert len(rows) == 2 * 2 * 4
    (first, last) = [row for row in rows if (row["metric"], row["label"]) == ("recall@20", "ccd")][:2]
    assert (first["role"], first["strategy"], first["seeds"], first["block"]) == ("student", "ccd", "3", "0")
    assert first["H mean"] == first["BWT mean"] == first["gain"] == ""
    assert float(first["LA mean"]) == pytest.approx(0.31)
    assert float(last["H mean"]) == comparison.spreads("student", "recall@20", "ccd", "H")[1].mean
    assert float(last["H std"]) == pytest.approx(0.01) and float(last["BWT mean"]) == 0.0
    assert (last["best competitor"], float(last["gain"])) == ("fine_tune", pytest.approx(0.1))
    assert last["p"] == ""


def test_what_was_measured_on_validation_parts_says_so():
    measured = Comparison({label: [make_run(label, eval_part="valid")] for label in ("ccd", "piw")})
    for text in (comparison_table(measured), comparison_markdown(measured)):
        assert text.lstrip("# ").startswith("BPR on tiny, seed 1, on the valid parts\n")
    assert "valid" not in comparison_table(make_comparison())


def with_next(**more):
    """Two seeds of CCD and of retraining, with next and memory."""
    keys = {"tomorrow": (0.3,), "memory": 250.0}
    found = {"ccd": [make_run("ccd", seed, (0.4, 0.4), (0.7, 0.7), **keys) for seed in (1, 2)]}
    return Comparison({**found, **more})


def anew(strategy):
    # updates of 5 and 6 seconds, where those of CCD take 4 and 5
    return [make_run(strategy, seed, (0.5, 0.5), tomorrow=(0.2,), memory=500.0) for seed in (1, 2)]


def slower(runs):
    for run in runs:
        for stage in run.stages:
            stage["seconds"] *= 4
    return runs


def test_next_beside_the_other_averages():
    text = comparison_table(with_next(fine_tune=anew("fine_tune")))
    assert "student: next, recall@20 on each block before it is learned" in text
    # block 1, the mean, its deviation and FWT
    assert cells(text, "ccd", 2) == ["ccd", "0.3000**", "0.3000**", "0.0000", "0.2900**"]
    assert cells(text, "fine_tune", 2) == ["fine_tune", "0.2000*", "0.2000*", "0.0000", "0.1900*"]
    assert cells(text, "users") == ["users", "10.0%"] and cells(text, "interactions")[-1] == "30.0%"
    assert "next: mean over k < K of the metric on block k+1" in text and "FWT: forward transfer" in text
    rows = list(csv.DictReader(io.StringIO(comparison_csv(with_next()))))
    assert [row["next mean"] for row in rows[:2]] == ["", "0.3"]
    assert [row["FWT mean"] for row in rows[:2]] == ["", "0.29"]


def test_the_share_of_retraining_heads_the_comparison():
    both = with_next(full_batch=anew("full_batch"), retrain_distill=slower(anew("retrain_distill")))
    text = comparison_table(both)
    # H 0.4 of 0.5; 4.5 of 18 seconds
    assert text.splitlines()[1] == "ccd: 80.0% of retrain_distill's quality at 25.0% of its time"
    assert comparison_markdown(both).splitlines()[2] == f"**{text.splitlines()[1]}**"
    quality = text[text.index("Quality beside cost") : text.index("Seconds of training in")]
    assert cells(quality, "ccd") == [
        "ccd",
        "0.4000",
        "0.3000",
        "0.7000",
        "-",
        "4.5",
        "250.0",
        "80.0%",
        "25.0%",
    ]
    assert cells(quality, "full_batch")[-4:] == ["4.5", "500.0", "100.0%", "25.0%"]
    assert cells(text[text.index("Seconds of training in") :], "retrain_distill") == [
        *["retrain_distill", "14.0", "18.0"],
    ]
    assert "shares of those of retrain_distill" in " ".join(text.split())
    other = comparison_table(with_next(full_batch=anew("full_batch")))
    assert other.splitlines()[1] == "ccd: 80.0% of full_batch's quality at 100.0% of its time"


def test_without_retraining_there_is_no_headline():
    text = comparison_table(with_next(fine_tune=anew("fine_tune")))
    assert "quality at" not in text and "% of s" not in text
    # without CCD it is that of all others
    others = {"piw": anew("piw"), "retrain_distill": anew("retrain_distill")}
    assert comparison_table(Comparison(others)).splitlines()[1].startswith("piw: 100.0% of")
    # one block has no H
    single = {label: [make_run(label, levels=(0.3,))] for label in ("ccd", "full_batch")}
    assert "quality at" not in comparison_table(Comparison(single))


def test_next_of_six_blocks_fits_110_columns():
    keys = {"levels": (0.1,) * 6, "teacher": (0.1,) * 6, "tomorrow": (0.2,) * 5, "memory": 12345.6}
    labels = ("ccd", "ccd random_initialization", "fine_tune (plain base)", "retrain_distill")
    found = {label: [make_run(label.split()[0], **keys)] for label in labels}
    text = comparison_table(Comparison(found))
    assert max(map(len, text.splitlines())) <= 110
