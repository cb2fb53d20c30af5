"""What the authors' program does and the method does not, by keys; what the method says of block 1."""

import pytest
import torch
import yaml

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.catalogue import properties_dir
from recbole_ccd.plugin.replay import ReplayScheme
from recbole_ccd.quick_start import create_stream
from recbole_ccd.strategy.ccd import CCD
from recbole_ccd.trainer import StageTrainer
from tests.model.small_models import all_scores
from tests.strategy.runs import follow, noted_plugins, teachers

KEYS = {**teachers("BPR"), "exclusion_top_k": 6, "distill_top_k": 8, "distill_absent_users": False}
AS_THE_PROGRAM = {
    "distill_lists": "seen_first",
    "student_side_lists": "all",
    "exclude_teacher_negatives": True,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Watched(CCD):
    """CCD that keeps what stage 3 began with, and the teacher's lists."""

    def teacher_rankings(self, block):
        rankings = super().teacher_rankings(block)
        self.told = {**getattr(self, "told", {}), block.index: rankings}
        return rankings

    def update_teacher(self, block):
        models = {**self.proxies, "student": self.student}
        self.began = {**getattr(self, "began", {}), block.index: (block, self._ranked, models)}
        return super().update_teacher(block)


def excluded_pairs(monkeypatch):
    """A dictionary that is going to hold what each stage excludes."""
    noted, exclude = {}, StageTrainer.exclude

    def note(trainer, pairs):
        noted[trainer.label] = pairs
        return exclude(trainer, pairs)

    monkeypatch.setattr(StageTrainer, "exclude", note)
    return noted


def sources_of(noted):
    """The draws of each source of replay, stage by stage."""
    return {
        label: {source.name: source for source in plugin.sources}
        for label, plugin in noted
        if isinstance(plugin, ReplayScheme)
    }


def top(model, k):
    """Each user's best items among all that a model knows, by a full sort, as sets, row = user id."""
    scores = all_scores(model)
    scores[:, 0] = -torch.inf
    return [set(row.tolist()) for row in scores.topk(k).indices]


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({}, "stability"),
        ({"student_replay_stability": [0, 4], "teacher_replay_stability": [0, 2]}, "plasticity"),
        ({"proxies": ["plasticity"]}, "plasticity"),
    ],
)
def test_in_block_1_the_proxies_are_one_model_that_is_drawn_from_once(make_config, monkeypatch, keys, first):
    noted = noted_plugins(monkeypatch)
    strategy = follow(make_config(**KEYS, **keys), Watched)
    sources = {label: set(found) for label, found in sources_of(noted).items()}
    both = set(strategy.proxies)
    assert sources["block 1 student_update"] == {first}
    assert sources["block 1 teacher_update member 0 (BPR)"] == {first, "student"}
    assert sources["block 2 student_update"] == both
    assert sources["block 2 teacher_update member 0 (BPR)"] == both | {"student"}
    records = {(r["block"], r["stage"]): r.get("replayed") for r in strategy.result.stages}
    assert set(records[1, "student_update"]) == {first} and set(records[2, "student_update"]) == both


@pytest.fixture(scope="module")
def as_the_program(make_config, tmp_path_factory):
    """A run with all three keys, its stream, what it noted, and what its stages exclude."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        config = make_config(**KEYS, **AS_THE_PROGRAM)
        stream, noted, excluded = create_stream(config), noted_plugins(patch), excluded_pairs(patch)
        yield follow(config, Watched, stream), stream, sources_of(noted), excluded


def test_lists_of_stage_1_can_begin_with_what_has_been_seen(as_the_program):
    strategy, stream, _, _ = as_the_program
    assert len(strategy.told) == 2
    for index, rankings in strategy.told.items():
        seen = stream[index].train_matrix
        for lists, rows in ((rankings.top_items, seen), (rankings.top_users, seen.T.tocsr())):
            for row, ids in enumerate(lists.tolist()):
                own, kept = set(rows[row].indices.tolist()), [entry for entry in ids if entry]
                lead = min(len(own), len(ids))
                assert set(kept[:lead]) <= own and not set(kept[lead:]) & own
                assert len(kept) == len(set(kept)) == (len(ids) if row else 0)


def test_members_negatives_can_leave_out_what_all_sides_rank_high(as_the_program, make_config, monkeypatch):
    strategy, _, _, excluded = as_the_program
    for index, (block, ranked, models) in strategy.began.items():
        expected = {(u, i) for u, row in enumerate(ranked.top_items[:, :6].tolist()) for i in row if i}
        for model in models.values():
            lists = top(model, 6)
            expected |= {(u, i) for u in range(1, len(lists)) for i in lists[u]}
        pairs = excluded[f"block {index} teacher_update member 0 (BPR)"]
        assert pairs.shape == (block.n_users, block.n_items)
        assert set(zip(*(part.tolist() for part in pairs.nonzero()), strict=True)) == expected
        # the student's own negatives too are by lists that may hold what has been seen
        seen = torch.from_numpy(block.recent_train_matrix.toarray()) > 0
        student = torch.from_numpy(excluded[f"block {index} student_update"].toarray()) > 0
        assert (student & seen[: student.shape[0], : student.shape[1]]).any()
    plain = excluded_pairs(monkeypatch)
    follow(make_config(**KEYS), Watched)
    assert plain["block 1 teacher_update member 0 (BPR)"] is None
    assert plain["block 1 student_update"] is not None


def test_members_can_replay_what_the_student_ranks_high_among_all(as_the_program):
    strategy, _, sources, _ = as_the_program
    for index, (block, _, models) in strategy.began.items():
        found = sources[f"block {index} teacher_update member 0 (BPR)"]
        seen = torch.from_numpy(block.recent_train_matrix.toarray()) > 0
        assert found["student"].of_all and not found["stability"].of_all
        lists = top(models["student"], 10)
        ids = found["student"].candidates.tolist()
        assert all(set(ids[user]) == lists[user] for user in range(1, len(lists)))
        assert any(seen[user, item] for user in range(1, len(lists)) for item in lists[user])
        held = found["stability"].candidates.long()
        assert not (seen[: len(held)].gather(1, held) & (held > 0)).any()


@pytest.mark.parametrize("preset", ["paper-yelp", "paper-gowalla"])
def test_presets_are_the_programs_moments_lists_and_masks(preset):
    config = CCDConfig(config_dict={"preset": preset, "dataset": preset.replace("paper-", "") + "-ccd"})
    expected = {
        "distill_lists": "seen_first",
        "student_side_lists": "all",
        "exclude_teacher_negatives": True,
        "valid_mask_test": True,
        "valid_blocks": "current",
        "graph": "block",
    }
    assert {key: config[key] for key in expected} == expected
    for stage in ("student_generation", "student_update", "teacher_update"):
        staged = config.for_stage(stage)
        # epochs 1 and 6 of 10 are validated, and no later one can be saved
        moments = (staged["eval_start"], staged["eval_step"], staged["epochs"], staged["stopping_step"])
        assert moments == (1, 5, 6, 1)
    base = config.for_stage("base")
    assert (base["epochs"], base["eval_start"], base["eval_step"], base["stopping_step"]) == (200, None, 2, 9)
    assert (base["learning_rate"], base["train_batch_size"], base["weight_decay"]) == (0.001, 512, 1.95e-7)
    # nothing of the data set's own file is left that the program does otherwise
    assert config["train_neg_sample_args"]["dynamic"] is False and config["deployed_student"] == "updated"
    assert config["student_replay_batch_size"] is None and config["teacher_replay_decay"] == 5


def test_the_auto_encoders_of_gowalla_have_their_own_weight_decay():
    config = CCDConfig(config_dict={"preset": "paper-gowalla", "dataset": "gowalla-ccd"})
    members = [config.for_member(m) for m in range(7)]
    assert [member["model"] for member in members] == ["MultiVAE"] * 2 + ["BPR"] * 5
    assert members[0].for_stage("base")["weight_decay"] == 1e-4
    assert members[0].for_stage("teacher_update")["weight_decay"] == 1e-4
    assert members[2].for_stage("teacher_update")["weight_decay"] == 4.9e-8
    assert members[2]["embedding_size"] == 64 and config["embedding_size"] == 16


@pytest.mark.parametrize(("name", "n_parts"), [("gowalla-ccd", 18), ("amazon-games", 6)])
def test_files_of_data_sets_hold_facts_alone(name, n_parts):
    values = yaml.safe_load((properties_dir() / "dataset" / f"{name}.yaml").read_text())
    assert values.keys() == {"load_col", "benchmark_filename"}
    config = CCDConfig(config_dict={"dataset": name})
    assert config["load_col"]["inter"] == ["user_id", "item_id"]
    assert len(config["benchmark_filename"]) == n_parts
