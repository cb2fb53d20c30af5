"""What a report says first: who won, by how much, and how sure that is."""

import json

import pytest

from recbole_ccd.evaluation import Comparison, StreamResult
from recbole_ccd.evaluation.stored import StoredComparison
from recbole_ccd.report.html.verdict import comparison_verdict, run_verdict
from tests.evaluation.results import make_run, runs
from tests.report.pages import run_document


def of_run(**keys):
    return run_verdict(StreamResult.from_dict(run_document(**keys)))


def of_comparison(**labels):
    document = Comparison(labels).to_dict()
    return comparison_verdict(StoredComparison(json.loads(json.dumps(document))))


def test_a_run_beside_its_teacher_and_its_past():
    # R[i][j] = 0.1 + i/100 - j/1000, the teacher 0.05 higher. After block 2 the student has
    # LA (0.1 + 0.109 + 0.118)/3 = 0.109, RA (0.12 + 0.119)/2 = 0.1195, H 0.1140; the teacher LA 0.159,
    # RA 0.1695, H 0.1641. On blocks 0 and 1 it had (0.1 + 0.109)/2 = 0.1045, and has 0.1195.
    # 10,010 of 500,050 parameters are 2.00 %
    beside, past, seed = of_run()
    assert beside == (
        "After block 2 the student, with 2 % of the parameters, keeps 69.5 % of its teacher's H-mean of "
        "recall@20: 0.1140 of 0.1641."
    )
    assert past == (
        "Of the past nothing is lost on average: recall@20 on blocks 0 and 1 was 0.1045 when each had just "
        "been learned, and is 0.1195 now."
    )
    assert "one seed, 2024" in seed and "--seed=" in seed


def test_a_run_that_forgets_says_of_which_block_most():
    document = make_run(levels=(0.5, 0.4, 0.3)).to_dict()
    for of_metric in document["metrics"].values():
        of_metric["student"]["R"] = [[0.5], [0.4, 0.5], [0.2, 0.4, 0.6]]
    _, past, *_ = run_verdict(StreamResult.from_dict(document))
    # 0.3 of 0.5; 0.2 of 0.5 in block 0
    assert past == (
        "Of the past it keeps 60 %: recall@20 on blocks 0 and 1 was 0.5000 when each had just been learned, "
        "and is 0.3000 now; the least, 40 %, is left of block 0."
    )


def test_a_run_without_a_teacher_with_one_block_or_unfinished():
    beside, *_ = of_run(roles=("student",))
    assert beside == "After block 2 the student reaches 0.1140 in H-mean of recall@20; it has no teacher."
    beside, seed = of_run(n_blocks=1)
    assert beside.endswith("keeps 66.7 % of its teacher's recall@20: 0.1000 of 0.1500.")
    document = run_document()
    for metric in document["metrics"].values():
        for role in metric.values():
            del role["R"][2:]
    told = run_verdict(StreamResult.from_dict(document))
    assert told[0].startswith("After block 1 ") and "block 0 was 0.1000" in told[1]
    assert told[2] == "The run is not finished: 2 of 3 blocks have been learned."


def test_a_student_ahead_of_its_teacher():
    document = run_document()
    metrics = document["metrics"]["recall@20"]
    metrics["teacher"]["R"], metrics["student"]["R"] = metrics["student"]["R"], metrics["teacher"]["R"]
    beside, *_ = run_verdict(StreamResult.from_dict(document))
    assert "is as good as its teacher or better" in beside and "144 % of the teacher's 0.1140" in beside


def levels(*values):
    return [(value, value) for value in values]


def test_one_seed_is_said_to_be_one():
    won, seed = of_comparison(ccd=runs("ccd", levels(0.3)), fine_tune=runs("fine_tune", levels(0.2)))
    assert won == (
        "ccd has the best student: its H-mean of recall@20 after block 1 is 0.3000, +0.1000 (+50.0%) over "
        "fine_tune (0.2000)."
    )
    assert seed.startswith("This is one seed, 1: how much of a difference is chance cannot be told from it")


@pytest.mark.parametrize(
    ("rivals", "told"),
    [
        # t = sqrt 3 with 2 degrees of freedom: p = 1 - sqrt(3/5) = 0.2254
        ((0.3, 0.3, 0.6), "this may be chance, p = 0.23 in a t-test paired by seed"),
        # differences 0.1, 0.11, 0.12: t = 0.11/(0.01/sqrt 3) = 19.05, p = 0.00274
        ((0.3, 0.39, 0.48), "hardly chance, p = 0.0027 in a t-test paired by seed"),
    ],
)
def test_the_gain_of_ccd_is_tested_by_seed(rivals, told):
    own = runs("ccd", levels(0.4, 0.5, 0.6))
    won, seeds = of_comparison(fine_tune=runs("fine_tune", levels(*rivals)), ccd=own)
    assert won.endswith(f"; {told}.") and "means over 3 seeds" in seeds


def test_others_are_held_against_their_deviations():
    # means 0.5 and 0.3, deviations 0.1 and 0.05
    apart, _ = of_comparison(piw=runs("piw", levels(0.4, 0.5, 0.6)), ccd=runs("ccd", levels(0.25, 0.3, 0.35)))
    assert apart.endswith("means ± one standard deviation (0.1000 and 0.0500) do not overlap.")
    near, _ = of_comparison(piw=runs("piw", levels(0.4, 0.5, 0.6)), ccd=runs("ccd", levels(0.4, 0.45, 0.5)))
    assert near.endswith("(0.1000 and 0.0500) overlap, so this may be chance.")


def test_a_reference_that_wins_is_no_way_of_continual_learning():
    won, besides, _ = of_comparison(
        full_batch=runs("full_batch", levels(0.5)),
        ccd=runs("ccd", levels(0.3)),
        piw=runs("piw", levels(0.2)),
        static=runs("static", levels(0.4)),
    )
    assert won.startswith("full_batch has the best student") and "over static (0.4000)" in won
    assert besides.startswith("full_batch trains on the whole past again at every block and is there to")
    assert "ccd is the best, with 0.3000, +0.1000 (+50.0%) over piw (0.2000)." in besides


def test_a_base_block_alone_has_no_h():
    won, _ = of_comparison(piw=[make_run("piw", levels=(0.4,))], ccd=[make_run("ccd", levels=(0.5,))])
    assert won.startswith("ccd has the best student: its recall@20 after block 0 is 0.5000, +0.1000")


def test_equals_and_a_single_one():
    tie, _ = of_comparison(piw=runs("piw", levels(0.3)), ccd=runs("ccd", levels(0.3)))
    assert tie.endswith("is 0.3000, as that of ccd.")
    alone, _ = of_comparison(ccd=runs("ccd", levels(0.3)))
    assert alone == "ccd alone has a student at the end, whose H-mean of recall@20 after block 1 is 0.3000."
