"""Comparison: numbers over seeds against hand arithmetic, and what cannot be compared."""

import json
import math
from statistics import stdev

import pytest

from recbole_ccd.config.catalogue import comparable_keys
from recbole_ccd.config.schema import Scope, keys_of
from recbole_ccd.evaluation import Comparison, StreamResult
from recbole_ccd.evaluation.seeds import gain_over, spread_of, two_best
from recbole_ccd.utils.errors import RunError
from tests.evaluation.results import make_run, runs

# R = [[a], [b, b]]: H_1 = 2 LA RA / (LA + RA) with LA = (a + b)/2 and RA = b
CCD_LEVELS = [(0.4, 0.4), (0.5, 0.5), (0.6, 0.6)]
TUNE_LEVELS = [(0.3, 0.3), (0.3, 0.3), (0.6, 0.6)]


SPLIT = {"split": {"RS": [0.8, 0.1, 0.1]}}


def make_comparison():
    return Comparison(
        {
            "static": runs("static", [(0.9, 0.9)] * 3),
            "fine_tune": runs("fine_tune", TUNE_LEVELS),
            "piw": runs("piw", [(0.2, 0.2)] * 3),
            "ccd": runs("ccd", CCD_LEVELS, teacher=(0.7, 0.7)),
        }
    )


def test_mean_and_sample_deviation():
    (h0, h1) = make_comparison().spreads("student", "recall@20", "ccd", "H")
    assert h0.mean is None and h0.std is None
    # 0.4, 0.5, 0.6: mean 0.5, squared deviations 0.01 + 0 + 0.01 over 2
    assert h1.mean == pytest.approx(0.5) and h1.std == pytest.approx(0.1)
    (la0, la1) = make_comparison().spreads("student", "ndcg@20", "ccd", "LA")
    assert la0.mean == la1.mean == pytest.approx(0.25) and la1.std == pytest.approx(0.05)


def test_averages_after_the_last_block():
    levels = [(0.4, 0.2), (0.1, 0.3)]
    comparison = Comparison({"ccd": runs("ccd", levels)})
    # seed 1: LA 0.3, RA 0.2, H 0.24, BWT -0.2, forgetting 0.2; seed 2: LA 0.2, RA 0.3, H 0.24, BWT 0.2, 0
    expected = {
        "LA": (0.25, stdev([0.3, 0.2])),
        "RA": (0.25, stdev([0.2, 0.3])),
        "H": (0.24, 0.0),
        "BWT": (0.0, stdev([-0.2, 0.2])),
        "forgetting": (0.1, stdev([0.2, 0.0])),
    }
    for quantity, (mean, std) in expected.items():
        last = comparison.spreads("student", "recall@20", "ccd", quantity)[-1]
        assert (last.mean, last.std) == pytest.approx((mean, std), abs=1e-12)
    assert len(comparison.spreads("student", "recall@20", "ccd", "BWT")) == 1


def test_one_seed_has_no_deviation():
    comparison = Comparison({"ccd": [make_run()], "fine_tune": [make_run("fine_tune", levels=(0.1, 0.1))]})
    last = comparison.spreads("student", "recall@20", "ccd", "H")[-1]
    assert last.mean == pytest.approx(0.2) and last.std is None
    (none, gain) = comparison.gains("student", "recall@20")["ccd"]
    assert none is None and gain.competitor == "fine_tune" and gain.p is None
    assert gain.gain == pytest.approx(0.1) and gain.relative == pytest.approx(1.0)


def test_best_and_second_best():
    comparison = make_comparison()
    assert comparison.ranking("student", "recall@20", "H") == [([], []), (["static"], ["ccd"])]
    # nothing is forgotten by any, and no one can be told from the others
    assert comparison.ranking("student", "recall@20", "forgetting") == [([], [])]
    assert comparison.ranking("teacher", "recall@20", "H") == [([], []), ([], [])]


def test_the_lowest_forgetting_is_best():
    comparison = Comparison(
        {
            "a": [make_run("fine_tune", levels=(0.4, 0.1))],
            "b": [make_run("piw", levels=(0.4, 0.3))],
            "c": [make_run("ccd", levels=(0.4, 0.2))],
        }
    )
    assert comparison.ranking("student", "recall@20", "forgetting") == [(["b"], ["c"])]
    assert comparison.ranking("student", "recall@20", "BWT") == [(["b"], ["c"])]


def test_two_best():
    assert two_best({"a": 0.2, "b": 0.3, "c": 0.3, "d": None}, lowest=False) == (["b", "c"], ["a"])
    assert two_best({"a": 0.2, "b": 0.3, "c": 0.1}, lowest=True) == (["c"], ["a"])
    assert two_best({"a": 0.2}, lowest=False) == ([], [])


def test_gain_over_the_best_competitor_and_its_p_value():
    gains = make_comparison().gains("student", "recall@20")
    assert list(gains) == ["ccd"]
    (none, gain) = gains["ccd"]
    # fine_tune has mean 0.4 and piw 0.2; static (0.9) is a reference and no competitor
    assert none is None and gain.competitor == "fine_tune"
    assert gain.gain == pytest.approx(0.1) and gain.relative == pytest.approx(0.25)
    # differences 0.1, 0.2, 0: mean 0.1, std 0.1, t = 0.1 / (0.1 / sqrt 3) = sqrt 3 with 2 degrees of freedom,
    # whose distribution function is 1/2 + t / (2 sqrt(2 + t^2))
    t = math.sqrt(3)
    assert gain.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_every_label_of_ccd_gains_and_rivals_may_change_with_the_block():
    comparison = Comparison(
        {
            "ccd": [make_run("ccd", levels=(0.3, 0.3, 0.3))],
            "ccd no_piw": [make_run("ccd", levels=(0.2, 0.2, 0.2))],
            "piw": [make_run("piw", levels=(0.1, 0.1, 0.2))],
            "replay": [make_run("replay", levels=(0.2, 0.2, 0.1))],
        }
    )
    gains = comparison.gains("student", "recall@20")
    assert list(gains) == ["ccd", "ccd no_piw"]
    # H_2 of piw: LA 0.4/3, RA 0.2, so 0.16; of replay: LA 0.5/3, RA 0.1, so 0.125
    assert [gain and gain.competitor for gain in gains["ccd"]] == [None, "replay", "piw"]
    assert gains["ccd"][2].gain == pytest.approx(0.3 - 0.16)


def test_gain_edge_cases():
    assert gain_over({}, [0.1, 0.2]) is None
    assert gain_over({"a": [None, 0.1]}, [0.1, 0.2]) is None
    assert gain_over({"a": [0.1]}, [None]) is None
    # the same difference for every seed leaves nothing to test against
    assert gain_over({"a": [0.1, 0.2]}, [0.2, 0.3]).p is None
    assert gain_over({"a": [0.0]}, [0.2]).relative is None
    assert spread_of([0.1, None]).mean is None


def test_roles_are_those_that_labels_have():
    comparison = make_comparison()
    assert comparison.roles == ["student", "teacher"]
    assert comparison.labels_of("teacher") == ["ccd"]
    assert comparison.gains("teacher", "recall@20")["ccd"] == [None, None]


def test_sizes_and_seconds():
    comparison = make_comparison()
    assert comparison.sizes("ccd") == {"student": {"parameters": 8, "bytes": 32}}
    # seeds 1, 2, 3: base 3, 4, 5 s, the update one more
    assert comparison.seconds("ccd") == {"base": 4.0, "updates": 5.0}


def test_next_and_costs_of_each_block():
    some = {"levels": (0.4,) * 3, "memory": 100.0}
    comparison = Comparison(
        {
            "a": [make_run(tomorrow=(0.3, 0.5), **some), make_run(seed=2, tomorrow=(0.1, 0.2), **some)],
            "b": [
                make_run("piw", tomorrow=(0.4, 0.3), **some),
                make_run("piw", 2, tomorrow=(0.2, 0.1), **some),
            ],
        }
    )
    spreads = comparison.spreads("student", "recall@20", "a", "next")
    assert [one.mean for one in spreads] == pytest.approx([0.2, 0.35])
    assert spreads[1].std == pytest.approx(stdev([0.5, 0.2]))
    # means 0.4 and 0.15 of the seeds, and each less the 0.01 of a random order
    assert comparison.values("student", "recall@20", "a", "next_mean") == [pytest.approx([0.4, 0.15])]
    assert comparison.values("student", "recall@20", "a", "FWT") == [pytest.approx([0.39, 0.14])]
    assert comparison.ranking("student", "recall@20", "next") == [(["b"], ["a"]), (["a"], ["b"])]
    assert comparison.ranking("student", "recall@20", "FWT") == [(["a"], ["b"])]
    # seeds 1 and 2: 3 and 4 s on block 0, one more on each later block
    assert comparison.costs("a") == {"seconds": [3.5, 4.5, 5.5], "rss_mb": [100.0] * 3}
    shares = [{"users": 0.1 * k, "items": 0.25, "interactions": 0.3} for k in (1, 2)]
    assert comparison.unserved == [pytest.approx(entry) for entry in shares]


def test_what_was_not_measured_is_compared_with_nothing():
    comparison = Comparison({"a": [make_run()], "b": [make_run("piw", tomorrow=(0.2,))]})
    assert comparison.spreads("student", "recall@20", "a", "next")[0].mean is None
    assert comparison.ranking("student", "recall@20", "next") == [([], [])]
    assert comparison.unserved == [None]


def test_document_is_format_1_and_plain():
    document = make_comparison().to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document) == [
        *("format", "dataset", "model", "seeds", "n_blocks", "primary_metric", "labels"),
        *("eval_part", "la_include_base", "ra_include_current", "unserved", "config", "runs", "metrics"),
    ]
    assert (document["format"], document["n_blocks"], document["seeds"]) == (1, 2, [1, 2, 3])
    assert document["labels"] == ["static", "fine_tune", "piw", "ccd"]
    assert document["runs"]["ccd"] == {
        "strategy": "ccd",
        "seconds": {"base": 4.0, "updates": 5.0},
        "costs": {"seconds": [4.0, 5.0], "rss_mb": [None, None]},
        "sizes": {"student": {"parameters": 8, "bytes": 32}},
        "config": {"strategy": "ccd"},
    }
    assert document["config"] == {"dataset": "tiny", "model": "BPR"}
    assert (document["eval_part"], document["la_include_base"]) == ("test", True)
    student = document["metrics"]["recall@20"]["student"]
    assert student["labels"]["ccd"]["H"]["mean"] == [None, pytest.approx(0.5)]
    assert student["labels"]["ccd"]["H"]["std"] == [None, pytest.approx(0.1)]
    assert student["labels"]["ccd"]["BWT"] == {"mean": 0.0, "std": 0.0}
    assert student["best"]["H"] == [[], ["static"]] and student["second"]["H"] == [[], ["ccd"]]
    assert student["best"]["BWT"] == []
    # the mean of 0.4, 0.5 and 0.6
    assert student["labels"]["ccd"]["R"]["mean"] == [[pytest.approx(0.5)], [pytest.approx(0.5)] * 2]
    (none, gain) = student["gains"]["ccd"]
    assert none is None and set(gain) == {"competitor", "gain", "relative", "p"}
    assert list(document["metrics"]["ndcg@20"]["teacher"]["labels"]) == ["ccd"]


def test_results_read_back_give_the_same():
    ours, theirs = runs("ccd", CCD_LEVELS, teacher=(0.7, 0.7)), runs("fine_tune", TUNE_LEVELS)
    again = [[StreamResult.from_dict(run.to_dict()) for run in some] for some in (ours, theirs)]
    documents = [Comparison({"a": a, "b": b}).to_dict() for a, b in ((ours, theirs), again)]
    assert documents[0] == documents[1]


def test_seeds_are_paired_whatever_their_order():
    rivals = runs("fine_tune", TUNE_LEVELS)
    one = Comparison({"fine_tune": rivals, "ccd": runs("ccd", CCD_LEVELS)})
    other = Comparison({"fine_tune": rivals[::-1], "ccd": runs("ccd", CCD_LEVELS)})
    assert other.seeds == [3, 2, 1]
    (p,) = {round(c.gains("student", "recall@20")["ccd"][1].p, 12) for c in (one, other)}
    assert p is not None


def test_settings_of_learning_may_differ():
    of_ccd = {"base": "distilled", "lwc_kd_weight": 0.1, "student_update_epochs": 5, "run_dir": "a"}
    of_tune = {"base": "plain", "lwc_kd_weight": 0.2, "student_update_epochs": 9, "run_dir": "b"}
    alike = {"graph": "block", "eval_args": SPLIT}
    compared = Comparison(
        {"ccd": [make_run("ccd", **alike, **of_ccd)], "tune": [make_run("fine_tune", **alike, **of_tune)]}
    )
    assert compared.labels == ["ccd", "tune"]
    assert not comparable_keys().intersection(keys_of(Scope.STREAM))


def test_what_an_old_result_does_not_tell_is_not_held_against_it():
    assert Comparison({"a": [make_run()], "b": [make_run(graph="block")]}).labels == ["a", "b"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "no run to compare"),
        ({"ccd": []}, "no run to compare"),
        ({"a": runs("static", TUNE_LEVELS), "b": runs("ccd", CCD_LEVELS[:2])}, "b has no run with seed 3"),
        ({"a": runs("static", TUNE_LEVELS[:2]), "b": runs("ccd", CCD_LEVELS)}, "a has no run with seed 3"),
        ({"a": [], "b": [make_run()]}, "a has no run with seed 1"),
        ({"a": [make_run(), make_run()]}, "a has two runs with the same seed"),
        ({"a": [make_run()], "b": [make_run(dataset="other")]}, "b, seed 1: dataset is not as"),
        ({"a": [make_run()], "b": [make_run(levels=(0.1,) * 3)]}, "b, seed 1: the number of blocks"),
        ({"a": [make_run()], "b": [make_run(la_include_base=False)]}, "b, seed 1: la_include_base"),
        ({"a": [make_run()], "b": [make_run(eval_part="valid")]}, "b, seed 1: eval_part is not as"),
        (
            {"a": [make_run(graph="block")], "b": [make_run(graph="cumulative")]},
            "b, seed 1: graph is not as in the first run, 'cumulative' and not 'block'; compare",
        ),
        (
            {
                "a": runs("ccd", CCD_LEVELS[:2], mask_history="all"),
                "b": runs("ccd", CCD_LEVELS[:2], mask_history="block"),
            },
            "b, seed 1: mask_history is not as in the first run, 'block' and not 'all'",
        ),
        (
            {"a": [make_run(valid_blocks="seen"), make_run(seed=2, valid_blocks="current")]},
            "a, seed 2: valid_blocks",
        ),
        (
            {"a": [make_run(eval_args=SPLIT)], "b": [make_run(eval_args={"split": {"RS": [1]}})]},
            "b, seed 1: eval_args",
        ),
        (
            {"a": [make_run(block_ratios=[0.5, 0.5])], "b": [make_run(block_ratios=[0.4, 0.6])]},
            "b, seed 1: block_ratios",
        ),
        (
            {"a": [make_run(load_col={"inter": ["u"]})], "b": [make_run(load_col={"inter": "*"})]},
            "b, seed 1: load_col",
        ),
        ({"a": [make_run()], "b": [make_run(known=11)]}, "b, seed 1: what is known after each block"),
        ({"a": [make_run("ccd", 1), make_run("static", 2)]}, "a, seed 2: not the strategy"),
        ({"a": [make_run(teacher=(0.1,))]}, "a, seed 1: the run is not finished"),
    ],
)
def test_what_cannot_be_compared(results, message):
    with pytest.raises(RunError) as caught:
        Comparison(results)
    assert message in str(caught.value) and ";" in str(caught.value)
