"""Which student is deployed after a block: that of stage 2, or the one that stage 1 makes next."""

import pytest
import torch

from recbole_ccd.strategy.ccd import CCD
from tests.strategy.runs import Recorded, follow, same_weights, teachers


class Generating(Recorded):
    """CCD that records what stage 1 made of each block, and of which blocks its teacher was asked."""

    def prepare(self):
        super().prepare()
        self.asked, make = [], self.teacher_lists.make

        def noting(teacher, block, *wanted):
            # a teacher that was grown for its rankings is another one
            if teacher is self.teacher:
                self.asked.append(block.index)
            return make(teacher, block, *wanted)

        self.teacher_lists.make = noting

    def generate_student(self, block):
        student = super().generate_student(block)
        self.generated = {**getattr(self, "generated", {}), block.index: student.state_dict()}
        return student


@pytest.fixture(scope="module")
def runs(make_config, tiny_stream):
    """A run for each choice, on the same blocks."""
    keys = {"metric_decimal_place": 15, "learning_rate": 0.005, **teachers("BPR")}
    configs = {choice: make_config(deployed_student=choice, **keys) for choice in ("updated", "generated")}
    return {choice: follow(config, Generating, tiny_stream) for choice, config in configs.items()}


def test_the_generated_student_is_the_one_that_the_next_block_would_begin_with(runs):
    updated, generated = runs["updated"], runs["generated"]
    assert sorted(updated.generated) == [0, 1] and sorted(generated.generated) == [0, 1, 2]
    for block, state in generated.generated.items():
        assert same_weights({"": generated.states[block]["student"]}, {"": state})
    # base block and block 1 are learned alike until then
    for block in (0, 1):
        assert same_weights({"": updated.generated[block]}, {"": generated.generated[block]})
        teachers = [
            {name: state for name, state in run.states[block].items() if name.startswith("teacher")}
            for run in runs.values()
        ]
        assert same_weights(*teachers)


def test_the_teacher_is_asked_once_about_each_block(runs):
    assert runs["updated"].asked == [0, 1] and runs["generated"].asked == [0, 1, 2]


def test_the_updated_student_is_another(runs):
    one, other = (run.states[1]["student"] for run in runs.values())
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_nothing_is_prepared_twice(runs, tiny_stream):
    done = len(runs["generated"].generated), runs["generated"].student
    CCD.prepare_next_block(runs["generated"], tiny_stream[2])
    assert (len(runs["generated"].generated), runs["generated"].student) == done


@pytest.fixture(scope="module")
def better(make_config, tiny_stream):
    """The run that deploys whichever is better, on the same blocks."""
    keys = {"metric_decimal_place": 15, "learning_rate": 0.005, **teachers("BPR")}
    return follow(make_config(deployed_student="better", **keys), Generating, tiny_stream)


def valid_score(run, stage, block):
    (record,) = [r for r in run.result.stages if (r["stage"], r["block"]) == (stage, block)]
    return max(score for _, score in record["valid_score"])


def test_the_better_one_on_the_validation_parts_is_deployed(runs, better):
    kinds = []
    for block in (1, 2):
        scores = [valid_score(better, stage, block) for stage in ("student_update", "student_generation")]
        kinds.append("generated" if scores[1] >= scores[0] else "updated")
        generated = {"": better.generated[block]}
        deployed = {"": better.states[block]["student"]}
        assert same_weights(generated, deployed) == (kinds[-1] == "generated")
        # whichever it is, the blocks are learned as if it were the generated one
        assert same_weights(generated, {"": runs["generated"].generated[block]})


@pytest.mark.parametrize(
    ("updated", "generated", "wanted"),
    [
        ([[1, 0.1], [2, 0.4], [3, 0.2]], [[1, 0.3]], False),
        ([[1, 0.1], [2, 0.2]], [[1, 0.3], [2, 0.1]], True),
        # nothing to validate on
        ([], [], True),
    ],
)
def test_the_best_scores_decide(better, tiny_stream, monkeypatch, updated, generated, wanted):
    scores = {"student_update": updated, "student_generation": generated}
    records = [{"stage": stage, "block": 1, "valid_score": found} for stage, found in scores.items()]
    monkeypatch.setattr(better.result, "stages", records)
    assert better.deploys_generated(tiny_stream[1]) is wanted
