"""The student learns at once, the teacher later."""

import json
import shutil

import pytest

from recbole_ccd import load_student, resume, update
from recbole_ccd.report.writing import write_report
from recbole_ccd.strategy.teacher_lists import TeacherLists
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError, DataError
from tests.checkpoint.cases import Killed, document_of, killed_after
from tests.conftest import few, write_inter
from tests.experiment.update.conftest import block_rows
from tests.experiment.update.test_update_same_bits import assert_same
from tests.strategy.runs import HEADER, teachers


def rows_of(folder, role, metric="recall@5"):
    return document_of(folder)["metrics"][metric][role]["R"]


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The next block in two files, of which the second brings its own users and items too."""
    rows, folder = block_rows()[2], tmp_path_factory.mktemp("halves")
    files = [folder / "first.inter", folder / "second.inter"]
    for file, part in zip(
        files, (rows[:300], [*rows[300:], *[("late", f"i{i}") for i in range(40)]]), strict=True
    ):
        write_inter(file, part, HEADER)
    return files


@pytest.fixture(scope="module")
def opened(run_on, halves, tmp_path_factory):
    """Runs whose student has learned the first half, and both halves, while the teacher waits."""
    made, folder = [], run_on(2)
    for half in halves:
        folder = shutil.copytree(folder, tmp_path_factory.mktemp("opened") / "run")
        update(folder, half, cycle="student")
        made.append(folder)
    return made


@pytest.fixture
def opened_by(opened, tmp_path):
    """A copy of a run that was given one half or both."""
    return lambda n, to="run": shutil.copytree(opened[n - 1], tmp_path / to)


@pytest.mark.slow
def test_the_student_first_and_the_teacher_later(copy_of, run_on, new_block, tmp_path):
    folder, whole = copy_of(2), run_on(3)
    result = update(folder, new_block(2)[0], cycle="student")
    assert (result.n_rows("student"), result.n_rows("teacher")) == (3, 2)
    assert rows_of(folder, "student") == rows_of(whole, "student")
    assert rows_of(folder, "teacher") == rows_of(whole, "teacher")[:2]
    served = load_student(folder)
    users = served.user_tokens[1:].tolist()
    assert served.block == 2 and served.recommend(users).equals(load_student(whole).recommend(users))
    assert load_student(folder, "teacher").block == 1
    write_report(folder)
    update(folder, new_block(2)[0])
    assert_same(folder, whole, tmp_path)


@pytest.mark.slow
def test_a_generated_student_takes_the_place_of_the_updated_one(copy_of, run_on, new_block, tmp_path):
    folder, whole = (run(n, deployed_student="generated") for run, n in ((copy_of, 2), (run_on, 3)))
    update(folder, new_block(2)[0], cycle="student")
    assert rows_of(folder, "student")[:2] == rows_of(whole, "student")[:2]
    assert rows_of(folder, "student")[2] != rows_of(whole, "student")[2]
    update(folder, new_block(2)[0])
    assert_same(folder, whole, tmp_path)


def test_the_teacher_of_the_block_before_is_not_asked_again(copy_of, new_block, monkeypatch):
    asked, make, folder = [], TeacherLists.make, copy_of(2)

    def watched(self, teacher, block, item_lists):
        asked.append(block.index)
        return make(self, teacher, block, item_lists)

    monkeypatch.setattr(TeacherLists, "make", watched)
    update(folder, new_block(2)[0], cycle="student")
    # grown to the new block, to be distilled on
    assert asked == [2]


def test_stage_2_alone_is_trained(copy_of, new_block, monkeypatch):
    trained, run = [], StageTrainer.run

    def watched(self, *args):
        trained.append(self.config.stage)
        return run(self, *args)

    folder = copy_of(2)
    monkeypatch.setattr(StageTrainer, "run", watched)
    update(folder, new_block(2)[0], cycle="student")
    assert trained == ["student_update"]
    # nor is anything done twice
    update(folder, new_block(2)[0], cycle="student")
    assert trained == ["student_update"]
    update(folder)
    assert trained[1:] == ["teacher_update", "student_generation"]


def test_the_teacher_follows_without_the_file(copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2)
    update(folder, new_block(2)[0], cycle="student")
    update(folder)
    assert_same(folder, run_on(3), tmp_path)


def test_an_open_block_takes_more(opened_by, halves):
    folder = opened_by(1)
    first, known = rows_of(folder, "student"), len(load_student(folder).user_tokens)
    result = update(folder, halves[1], cycle="student")
    assert (result.n_blocks, result.n_rows("student"), result.n_rows("teacher")) == (3, 3, 2)
    second = rows_of(folder, "student")
    assert first[:2] == second[:2] and first[2] != second[2]
    served = load_student(folder)
    assert len(served.user_tokens) > known and "late" in served.user_tokens
    stages = [(s["block"], s["stage"]) for s in document_of(folder)["stages"] if s["block"] == 2]
    assert stages == [(2, "student_update")] * 2
    update(folder)
    assert rows_of(folder, "student") == second and len(rows_of(folder, "teacher")) == 3
    assert [len(row) for row in rows_of(folder, "teacher")] == [1, 2, 3]


def test_each_role_is_measured_on_the_arriving_block_before_it_learns(opened_by, opened):
    folder = opened_by(1)
    half, both = (document_of(run)["next"] for run in opened)
    recall = half["metrics"]["recall@5"]
    assert recall["student"]["next"][1] > 0 and recall["teacher"]["next"][1] is None
    assert recall["teacher"]["next"][0] > 0 and half["unserved"][1]["users"] > 0
    # of a block that is open all that has arrived counts
    assert both["metrics"]["recall@5"]["student"]["next"] != recall["student"]["next"]
    assert both["unserved"][1] != half["unserved"][1]
    update(folder)
    closed = document_of(folder)["next"]
    assert closed["metrics"]["recall@5"]["student"] == recall["student"]
    assert closed["metrics"]["recall@5"]["teacher"]["next"][1] > 0
    assert closed["unserved"] == half["unserved"]


@pytest.mark.slow
def test_a_full_cycle_takes_more_too(opened_by, halves, tmp_path):
    one, other = opened_by(2), opened_by(1, to="other")
    update(one)
    update(other, halves[1])
    assert_same(one, other, tmp_path)


@pytest.mark.parametrize("saves", few([2, 3, 5], 2, 5))
def test_an_interrupted_cycle_goes_on_as_what_it_was(saves, opened_by, opened, halves, tmp_path):
    folder, (before, whole) = opened_by(1), opened
    with pytest.raises(Killed), killed_after(saves):
        update(folder, halves[1], cycle="student")
    if json.loads((folder / "manifest.json").read_text())["open"]["arrivals"] == 1:
        assert repr(load_student(folder)) == repr(load_student(before))
    assert resume(folder).n_rows("teacher") == 2
    assert_same(folder, whole, tmp_path)


def test_what_should_not_have_come_is_let_go(opened_by, run_on, new_block, tmp_path):
    folder = opened_by(2)
    update(folder, new_block(2)[0], cycle="student", replace=True)
    assert rows_of(folder, "student") == rows_of(run_on(3), "student")
    assert "late" not in load_student(folder).user_tokens
    update(folder)
    assert_same(folder, run_on(3), tmp_path)


def test_a_damaged_open_block_is_learned_again(copy_of, run_on, new_block):
    folder = copy_of(2)
    update(folder, new_block(2)[0], cycle="student")
    (folder / "checkpoints" / "block-2-student-1" / "result.json").write_text("{")
    assert resume(folder).n_rows("student") == 3
    assert rows_of(folder, "student") == rows_of(run_on(3), "student")
    load_student(folder)


def test_a_student_without_a_teacher_has_one_cycle(copy_of, run_on, new_block, tmp_path):
    keys = {"strategy": "fine_tune", "base": "plain"}
    folder = copy_of(2, **keys)
    update(folder, new_block(2)[0], cycle="student")
    assert_same(folder, run_on(3, **keys), tmp_path)


def test_a_student_that_waits_for_its_teacher(copy_of, new_block):
    folder = copy_of(2, **teachers("BPR"), strategy="distill_each_block")
    with pytest.raises(ConfigError, match="cycle is student, and the student of strategy distill_each_block"):
        update(folder, new_block(2)[0], cycle="student")


def test_rows_of_an_earlier_block(copy_of, new_block):
    folder = copy_of(2, strategy="fine_tune", base="plain")
    update(folder, new_block(2)[0])
    update(folder, new_block(3)[0])
    with pytest.raises(
        DataError, match="b2.inter: these interactions are in block 2 already; give the next ones"
    ):
        update(folder, new_block(2)[0])
