"""Learning rates that a run chooses itself."""

import pytest
import torch

from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.strategy.rates import choose_rate
from tests.strategy.runs import Recorded, follow, same_weights, teachers

RATES = (0.002, 0.005, 0.01, 0.02)
PLAIN = {"strategy": "fine_tune", "base": "plain"}


class Following(Recorded):
    """CCD that records its states."""


@pytest.mark.parametrize(
    ("scores", "bigger", "rate"),
    [
        ((0.1, 0.2, 0.3, 0.25), True, 0.01),
        # a slower one that is nearly as good
        ((0.1, 0.297, 0.3, 0.25), True, 0.005),
        ((9.0, 5.0, 4.0, 4.05), False, 0.01),
        # a loss that is not finite, and nothing to validate on
        ((0.1, 0.2, None, None), True, 0.005),
    ],
)
def test_the_slowest_rate_near_the_best_is_chosen(scores, bigger, rate):
    by_rate = dict(zip(RATES, scores, strict=True))
    choice = choose_rate(by_rate, bigger)
    assert choice.rate == rate
    assert choice.trials == [[r, s] for r, s in by_rate.items() if s is not None]
    assert choose_rate(dict.fromkeys(RATES), bigger) is None


@pytest.fixture(scope="module")
def run(make_config, tiny_stream):
    """A run that chooses all rates, with an update of two epochs."""
    return follow(
        make_config(learning_rate="auto", epochs=2, **teachers("BPR", "BPR")), Following, tiny_stream
    )


def choices(run):
    return [record for record in run.result.stages if "chosen_rate" in record]


def test_each_kind_of_stage_chooses_once(run):
    found = [(r["stage"], r["block"], r["member"]) for r in choices(run)]
    # the second member is of the model that the first has chosen for; later blocks go on with it
    expected = [("base", 0, 0), ("student_generation", 0, None), ("student_update", 1, None)]
    assert found == [*expected, ("teacher_update", 1, 0), ("student_generation", 1, None)]


def test_the_choice_is_that_of_its_trials(run):
    for record in choices(run):
        choice = record["chosen_rate"]
        scores = dict(choice["trials"])
        assert choice["rate"] == choose_rate(scores, True).rate
        assert list(scores) == list(RATES[: len(RATES) - (record["block"] > 0)])


def test_trials_end_at_the_first_validation(make_config, tiny_stream):
    late = {"eval_start": 2, "eval_step": 1, "epochs": 2}
    ran = follow(make_config(learning_rate="auto", **PLAIN, **late), FineTune, tiny_stream)
    for record in choices(ran):
        first = record["valid_score"][0]
        assert first == [2, dict(record["chosen_rate"]["trials"])[record["chosen_rate"]["rate"]]]


def test_a_stage_is_trained_as_if_its_rate_had_been_given(run, make_config, tiny_stream):
    rates = {}
    for record in choices(run):
        rates.setdefault((record["stage"], record["block"] > 0), record["chosen_rate"]["rate"])
    given = {f"{stage}_learning_rate": rate for (stage, later), rate in rates.items() if not later}
    given |= {f"{stage}_learning_rate": rate for (stage, later), rate in rates.items() if later}
    given["base_student_args"] = {"learning_rate": rates["student_generation", False]}
    config = make_config(epochs=2, **given, **teachers("BPR", "BPR"))
    again = follow(config, Following, tiny_stream)
    assert len(run.states) == 3
    for states, others in zip(run.states, again.states, strict=True):
        assert same_weights(states, others)


def test_a_rate_that_is_set_is_not_chosen(make_config, tiny_stream):
    config = make_config(learning_rate="auto", student_update_learning_rate=0.003, **PLAIN)
    strategy = FineTune(config)
    strategy.run(tiny_stream)
    assert [r["stage"] for r in choices(strategy)] == ["base"]


def test_trials_leave_no_trace_in_what_is_drawn(make_config, tiny_stream):
    torch.manual_seed(3)
    config = make_config(learning_rate="auto", **PLAIN)
    one, other = FineTune(config), FineTune(config)
    for strategy in (one, other):
        strategy.run(tiny_stream)
    assert one.result.to_dict()["metrics"] == other.result.to_dict()["metrics"]
