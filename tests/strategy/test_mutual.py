"""Deep mutual learning: stages 2 and 3 in one."""

import math

import pytest

from recbole_ccd.config import CCDConfig
from recbole_ccd.experiment.update import _possible
from recbole_ccd.plugin.replay import MutualReplay
from recbole_ccd.quick_start import resume, run_ccd
from recbole_ccd.strategy.ccd import CCD
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError, ModelError
from tests.checkpoint.cases import Killed, assert_same_run, killed_when, run_in_parts, settings_of
from tests.conftest import few
from tests.strategy.runs import (
    SIZES,
    Recorded,
    follow,
    odd_stream,
    same_weights,
    teachers,
)

KEYS = {
    "metric_decimal_place": 15,
    "learning_rate": 0.005,
    "stopping_step": 10,
    "exclude_student_items": False,
}
TWO_BLOCKS = {"block_ratios": [0.6, 0.4], "epochs": 3, **KEYS}
MUTUAL = {"mutual_learning": True, "mutual_temperature": 0.1, "student_replay_batch_size": "joint"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def states(run, block, start):
    return {name: state for name, state in run.states[block].items() if name.startswith(start)}


def stages(run, block):
    return [(r["stage"], r["member"], r["epochs"]) for r in run.result.stages if r["block"] == block]


@pytest.fixture
def turns(monkeypatch):
    """The label of each stage that begins an epoch, in order."""
    noted, train = [], StageTrainer._train_epoch

    def note(trainer, *args, **kwargs):
        noted.append(trainer.label)
        return train(trainer, *args, **kwargs)

    monkeypatch.setattr(StageTrainer, "_train_epoch", note)
    return noted


def test_without_weight_it_is_one_stage_after_the_other(make_config, turns):
    # SGL draws from the global generators, and a student of the past is no source of the member's
    keys = {**TWO_BLOCKS, **teachers("MultiVAE"), "teacher_replay_student": 0, "embedding_size": 8}
    apart = follow(make_config("SGL", **keys))
    del turns[:]
    together = follow(make_config("SGL", **keys, mutual_learning=True, mutual_weight=0.0))
    for start in ("student", "teacher", "stability", "plasticity"):
        assert states(apart, 1, start) and same_weights(states(apart, 1, start), states(together, 1, start))
    student, member = "block 1 student_update", "block 1 teacher_update member 0 (MultiVAE)"
    assert [label for label in turns if label in (student, member)] == [student, member] * 3
    assert stages(apart, 1) == stages(together, 1)


def test_student_and_members_change_each_other(make_config, tiny_stream):
    class Noting(Recorded):
        """CCD that records the last plugin of each of the trainers that have met."""

        def prepare(self):
            super().prepare()
            self.met, run_in_turns = [], self.stages.run_in_turns

            def noting(block, parts, meet):
                def note(trainers):
                    meet(trainers)
                    self.met.append([trainer.plugins[-1] for trainer in trainers])

                return run_in_turns(block, parts, note)

            self.stages.run_in_turns = noting

    keys = {
        **KEYS,
        **teachers("BPR", "MultiVAE"),
        "epochs": 2,
        "replay_redraw": 1,
        "deployed_student": "updated",
    }
    off = follow(make_config(**keys), stream=tiny_stream)
    first, both = (
        follow(make_config(**keys, **MUTUAL, mutual_members=members), Noting, tiny_stream)
        for members in ("first", "all")
    )
    for run, n in ((first, 2), (both, 3)):
        assert [len(plugins) for plugins in run.met] == [n, n]
        assert all(isinstance(plugin, MutualReplay) for plugins in run.met for plugin in plugins)
        rows = run.result.summary("teacher", "recall@5")["R"]
        assert [len(row) for row in rows] == [1, 2, 3] and all(math.isfinite(v) for row in rows for v in row)
        records = [r for r in run.result.stages if "mutual" in r]
        assert len(records) == 2 * n and all(record["mutual"] > 0 for record in records)
        assert same_weights(states(off, 0, ""), states(run, 0, ""))
        for start in ("student", "teacher-0"):
            assert not same_weights(states(off, 1, start), states(run, 1, start))
    # the order of stages and of members is that of stages alone
    names = [name[:2] for name in stages(off, 1)]
    assert [name[:2] for name in stages(first, 1)] == names == [name[:2] for name in stages(both, 1)]


@pytest.mark.parametrize("saved", few(["student", "member", "all"], "student"))
def test_killed_after_a_stage_is_saved(tiny_folder, tmp_path, saved):
    def settings(name):
        mine = {
            "student_updates_per_block": 1,
            "deployed_student": "better",
            "epochs": 2,
            "mutual_bridge": True,
        }
        return {**settings_of("ccd-bpr", tiny_folder, tmp_path / name), **MUTUAL, **mine}

    wanted = {"student": "block-1-student_update", "member": "block-1-teacher_update-member-0"}.get(saved)
    run_ccd(config_dict=settings("whole"))
    if saved == "all":
        kills, _ = run_in_parts(settings("parts"))
        assert kills > 3
    else:
        with pytest.raises(Killed), killed_when(lambda manifest: wanted in [s.key for s in manifest.stages]):
            run_ccd(config_dict=settings("parts"))
        resume(tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("student", ["LightGCN", "BPR", "NeuMF"])
@pytest.mark.parametrize("member", ["LightGCN", "MultiVAE", "RecVAE", "NeuMF"])
def test_odd_blocks_and_models(make_config, tmp_path, student, member):
    data = odd_stream(tmp_path)
    sizes = SIZES.get(student, {"embedding_size": 8})
    config = make_config(student, **data, **sizes, **teachers(member, "BPR"), **MUTUAL, mutual_members="all")
    rows = follow(config).result.summary("student", "recall@5")["R"]
    assert [len(row) for row in rows] == [1, 2, 3, 4]


def test_what_cannot_work_is_refused(make_config):
    with pytest.raises(ConfigError, match="student_updates_per_block is 2 .*mutual_learning.*; make it 1"):
        make_config(**MUTUAL, student_updates_per_block=2)
    with pytest.raises(ConfigError, match="mutual_weight is 0.3 .*no effect without mutual_learning"):
        make_config(mutual_weight=0.3)
    with pytest.raises(ConfigError, match="mutual_draws is 11 .*more than student_replay_candidates"):
        make_config(**MUTUAL, mutual_draws=11)
    with pytest.raises(ConfigError, match="teacher_replay_student is 2 .*no effect with mutual_learning"):
        make_config(**MUTUAL, mutual_members="all", teacher_replay_student=2)
    config: CCDConfig = make_config(**MUTUAL)
    with pytest.raises(ConfigError, match="cycle is student, and with mutual_learning .*leave cycle out"):
        _possible(config, "student")
    assert _possible(config, "full") == "full"


def test_a_bridge_is_of_every_student_but_that_of_the_base_block(make_config):
    keys = {**KEYS, **teachers("BPR"), "block_ratios": [0.6, 0.4], "deployed_student": "generated"}
    off, on = (follow(make_config(**keys, mutual_bridge=bridge)) for bridge in (False, True))
    assert same_weights(states(off, 0, ""), states(on, 0, ""))
    assert same_weights(states(off, 1, "teacher"), states(on, 1, "teacher"))
    assert not same_weights(states(off, 1, "student"), states(on, 1, "student"))


def test_what_a_bridge_cannot_stand_between_is_refused(make_config, tiny_stream):
    for model, members, what in (
        ("BPR", ["MultiVAE", "BPR"], "the first of teacher_models, MultiVAE, does not score"),
        ("ENMF", ["BPR"], "the student, ENMF, does not learn from pairs"),
    ):
        config = make_config(model, mutual_bridge=True, **teachers(*members))
        with pytest.raises(ModelError, match=what):
            CCD(config).check(tiny_stream)
    with pytest.raises(ConfigError, match="no effect without mutual_bridge; set mutual_bridge: True"):
        make_config(mutual_bridge_temperature=2.0)
