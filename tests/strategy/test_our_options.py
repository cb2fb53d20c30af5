"""Options beyond the paper's method, in whole runs."""

import math

import pytest
import torch

from recbole_ccd.model.growth import build
from recbole_ccd.plugin.distillation.kl import SoftTargetKL
from recbole_ccd.plugin.replay import ProxyGuidedReplay
from recbole_ccd.quick_start import create_strategy, create_stream
from recbole_ccd.strategy import BaseModels, teacher_lists
from recbole_ccd.strategy.ccd import CCD, STUDENT_SIDE
from recbole_ccd.trainer import StageTrainer
from tests.conftest import few
from tests.model.small_models import all_scores, scatter
from tests.strategy.runs import (
    SIZES,
    STRATEGIES,
    block_rows,
    follow,
    matrices,
    noted_plugins,
    recorded,
    same_weights,
    teachers,
    triples,
    write_files,
)

KEYS = {"metric_decimal_place": 15, "learning_rate": 0.005, **teachers("BPR")}
# in this stream nobody is absent
TWO_BLOCKS = {"block_ratios": [0.6, 0.4], "update_distill_users": "all", **KEYS}
NEWER = ["speculative", "correlation", "comparative", "logits", "rce", "dcd", "unkd"]
TAUGHT = {"student_update_distill": 0.3}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Asking(recorded(CCD)):
    """CCD that records its models' weights, and what its teacher was asked for."""

    def teacher_rankings(self, block):
        self.told = [*getattr(self, "told", []), super().teacher_rankings(block)]
        return self.told[-1]


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    """Runs CCD on two blocks, once for the same settings."""
    finished = {}

    def run(**keys):
        if repr(keys) not in finished:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("run"))
                finished[repr(keys)] = follow(make_config(**TWO_BLOCKS | keys), Asking)
        return finished[repr(keys)]

    return run


def same_model(one, other, block, name="student"):
    return same_weights({"": one.states[block][name]}, {"": other.states[block][name]})


def is_finished(strategy, n_blocks):
    values = [value for R in matrices(strategy).values() for row in R for value in row]
    rows = [len(row) for row in strategy.result.summary("student", "recall@5")["R"]]
    return rows == list(range(1, n_blocks + 1)) and all(map(math.isfinite, values))


def starting(strategy):
    """A strategy that records which students it had before stage 1, and which after."""

    class Starting(strategy):
        def generate_student(self, block):
            before, after = self.student, super().generate_student(block)
            self.starts = [*getattr(self, "starts", []), (before, after)]
            return after

    return Starting


@pytest.mark.parametrize(
    ("name", "start"),
    [
        *[("ccd", "previous"), ("ccd", "fresh"), ("distill_each_block", "previous")],
        pytest.param("distill_each_block", "fresh", marks=pytest.mark.slow),
    ],
)
def test_where_a_new_student_starts(make_config, tiny_stream, monkeypatch, name, start):
    # without training a student is as it started
    monkeypatch.setattr(StageTrainer, "run", lambda *_: None)
    config = make_config(strategy=name, student_start=start, **KEYS)
    strategy = follow(config, starting(STRATEGIES[name]), tiny_stream)
    (first, _), *later = strategy.starts
    # CCD teaches on the block before, and the base block has been taught
    assert first is None and len(later) == (1 if name == "ccd" else 2)
    for before, after in later:
        for side in ("user", "item"):
            old, new = (getattr(model, f"{side}_embedding").weight for model in (before, after))
            assert old is not new and (len(new) > len(old)) == (name != "ccd")
            assert torch.equal(new[: len(old)], old) == (start == "previous")


@pytest.mark.parametrize("name", few(["ccd", "distill_each_block"]))
def test_a_warm_start_gives_another_student(make_config, tiny_stream, name):
    configs = (make_config(strategy=name, student_start=start, **KEYS) for start in ("previous", "fresh"))
    warm, cold = (follow(config, recorded(STRATEGIES[name]), tiny_stream) for config in configs)
    assert is_finished(warm, 3) and same_model(warm, cold, 0) and not same_model(warm, cold, 2)


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_a_frozen_student_that_keeps_its_predictions_predicts_the_same_for_ever(
    make_config, tiny_stream, graph
):
    class Scoring(STRATEGIES["static"]):
        def train_block(self, block):
            super().train_block(block)
            self.scores = [*getattr(self, "scores", []), all_scores(self.student)]

    drift = {}
    for growth in ("predictions", "embeddings"):
        config = make_config(strategy="static", base="plain", graph=graph, growth=growth, epochs=5)
        first, *later = follow(config, Scoring, tiny_stream).scores
        changes = [scores[: len(first), : first.shape[1]] - first for scores in later]
        drift[growth] = max(change[1:, 1:].abs().max().item() for change in changes)
    assert len(changes) == 2 and drift["predictions"] < 1e-4 * first.abs().max() < drift["embeddings"]


def test_a_new_student_keeps_predictions_where_a_block_brings_nobody(make_config, tmp_path):
    base = block_rows()[0]
    names = write_files(tmp_path, "files", triples([base, base[::2]]))
    keys = {"strategy": "distill_each_block", "growth": "predictions", "graph": "block"}
    files = {"dataset": "files", "data_path": tmp_path, "benchmark_filename": names}
    config = make_config(student_start="previous", **keys, **files, **teachers("BPR"))
    first, second = create_stream(config)
    assert (first.n_users, first.n_items) == (second.n_users, second.n_items)
    strategy = create_strategy(config)
    strategy.student = old = build(config, first)
    scatter(old, seed=1)
    before, after = all_scores(old), all_scores(strategy._new_student(config, second))
    torch.testing.assert_close(after[1:, 1:], before[1:, 1:], atol=1e-3 * before.abs().max().item(), rtol=0)
    # the graph is another one
    copied = build(config, second)
    copied.load_state_dict(old.state_dict())
    assert (all_scores(copied) - before)[1:, 1:].abs().max() > 0.1 * before.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(("graph", "start"), [("block", "fresh"), ("cumulative", "previous")])
def test_the_whole_method_runs_on_kept_predictions(make_config, tiny_stream, graph, start):
    keys = {"graph": graph, "student_start": start, "student_updates_per_block": 2, **KEYS}
    keys |= teachers("LightGCN")
    kept, copied = (
        follow(make_config(growth=growth, **keys), stream=tiny_stream)
        for growth in ("predictions", "embeddings")
    )
    assert is_finished(kept, 3) and same_weights(kept.states[0], copied.states[0])
    assert not same_model(kept, copied, 1) and not same_model(kept, copied, 1, "teacher-0")


def test_without_proxies(make_config, monkeypatch):
    noted = noted_plugins(monkeypatch)
    strategy = follow(make_config(proxies=[], **TWO_BLOCKS))
    assert is_finished(strategy, 2) and strategy.proxies == {}
    assert set(strategy.models()) == {"student", "teacher-0"}
    replaying = {label: plugin for label, plugin in noted if isinstance(plugin, ProxyGuidedReplay)}
    sources = {label: [source.name for source in plugin.sources] for label, plugin in replaying.items()}
    assert sources == {
        "block 1 student_update": [],
        "block 1 teacher_update member 0 (BPR)": ["student"],
    }


@pytest.mark.parametrize("pieces", few([1, 3], 1))
def test_going_on_with_distillation_changes_the_update_and_nothing_before(run, pieces):
    keys = {"student_updates_per_block": pieces} if pieces > 1 else {}
    plain, taught = run(**keys), run(**TAUGHT, **keys)
    assert is_finished(taught, 2) and same_weights(plain.states[0], taught.states[0])
    assert not same_model(plain, taught, 1)
    assert all(same_model(plain, taught, 1, proxy) for proxy in ("stability", "plasticity"))


def test_it_does_not_matter_who_trained_the_base_student_that_goes_on_with_distillation(run, make_config):
    config, shared = make_config(**TAUGHT, **TWO_BLOCKS), BaseModels()
    follow(make_config(strategy="static", **TWO_BLOCKS), STRATEGIES["static"], base_models=shared)
    assert set(shared.results) == {"teacher-0", "student-distilled"}
    exclusive, after = run(**TAUGHT), follow(config, base_models=shared)
    assert matrices(exclusive) == matrices(after)
    assert all(same_weights(*states) for states in zip(exclusive.states, after.states, strict=True))


@pytest.mark.parametrize(
    ("keys", "n_users"),
    [
        ({}, 8),
        ({"distill_item_weight": 0.0}, 0),
        ({"distill_loss": "kl"}, 0),
        # all those that draw, compare or learn a scale, at once; item sides are those of two
        ({"distill_loss": NEWER, "distill_draws": 6, "distill_propose_depth": 12}, 8),
        *(
            pytest.param({"distill_loss": loss}, 0, marks=pytest.mark.slow)
            for loss in ("listnet", "cd", "rd", "speculative", "comparative", "logits", "rce", "unkd")
        ),
    ],
)
def test_every_loss_teaches_a_whole_run_and_is_told_what_it_reads(run, keys, n_users):
    taught = run(**TAUGHT, **keys)
    assert is_finished(taught, 2)
    (rankings,) = taught.told
    assert (rankings.top_items.shape[1], rankings.top_users.shape[1]) == (8, n_users)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["NeuMF", "BPR", "ENMF"])
@pytest.mark.parametrize("compare", ["items", "users"])
def test_the_newer_losses_teach_any_student_in_blocks_that_bring_nobody(
    make_config, tmp_path, model, compare
):
    base = block_rows()[0]
    names = write_files(tmp_path, "files", triples([base, base[::2], base[1::2]]))
    keys = {"distill_loss": NEWER, "distill_compare": compare, "teacher_prune_rate": 0.1, "model": model}
    keys |= {"student_update_distill": 0.5, "teacher_update_distill": 0.5, "update_distill_users": "absent"}
    keys |= {**teachers("LightGCN", "MultiVAE"), **(SIZES["NeuMF"] if model == "NeuMF" else {})}
    files = {"dataset": "files", "data_path": tmp_path, "benchmark_filename": names}
    strategy = follow(make_config(**keys, **files, distill_draws=5, epochs=2, uninteresting_redraw=1))
    assert is_finished(strategy, 3)


@pytest.mark.parametrize("lists", few(["unseen", "seen_first"], "unseen"))
def test_ranks_of_members_are_told_to_a_loss_that_reads_them(run, make_config, monkeypatch, lists):
    keys = {**TWO_BLOCKS, **TAUGHT, "distill_loss": "kl"}
    spared = run(**TAUGHT, distill_loss="kl")
    assert spared.told[0].member_ranks is None
    monkeypatch.setattr(SoftTargetKL, "needs_member_ranks", True)
    asked = follow(make_config(**keys, distill_lists=lists), Asking)
    (rankings,) = asked.told
    listed = rankings.top_items > 0
    ranks = rankings.member_ranks[..., 0]
    assert rankings.member_ranks.shape == (*listed.shape, 1) and torch.equal(ranks > 0, listed)
    # of an only member they are the places
    places = torch.arange(1, listed.shape[1] + 1).expand_as(ranks)
    assert torch.equal(ranks[listed], places[listed].int()) == (lists == "unseen")
    assert set(asked.teacher_lists.store._slots) <= {STUDENT_SIDE}
    if lists == "unseen":
        assert all(same_weights(*states) for states in zip(asked.states, spared.states, strict=True))


def test_what_no_loss_reads_changes_nothing(run, make_config, monkeypatch):
    keys = {**TAUGHT, "distill_item_weight": 0.0}
    spared = run(**keys)
    monkeypatch.setattr(teacher_lists, "wants_item_lists", lambda config: True)
    asked = follow(make_config(**TWO_BLOCKS, **keys))
    assert all(same_weights(*states) for states in zip(spared.states, asked.states, strict=True))


@pytest.mark.parametrize("name", few(list(STRATEGIES), "ccd", "distill", "lwc_kd"))
def test_nothing_is_kept_that_has_served(run, make_config, name):
    keys = {**TWO_BLOCKS, "strategy": name}
    strategy = run() if name == "ccd" else follow(make_config(**keys), STRATEGIES[name])
    assert strategy.rankings is None
    # base models are kept for other runs alone
    assert strategy.stages.base_models is None


def test_the_base_students_settings_are_not_those_of_later_ones(run):
    keys = {
        "student_generation_epochs": 2,
        "deployed_student": "generated",
        "base_student_args": {"epochs": 1},
    }
    strategy = run(**keys, stopping_step=10)
    generated = [s for s in strategy.result.stages if s["stage"] == "student_generation"]
    assert [(s["block"], s["epochs"]) for s in generated] == [(0, 1), (1, 2)]


def test_what_the_student_side_ranks_high_may_be_a_negative(run):
    keys = {"deployed_student": "generated"}
    with_student, exclusive = run(**keys), run(**keys, exclude_student_items=False)
    excluded, listed = [], []
    for strategy in (with_student, exclusive):
        known = strategy.told[-1]
        lists = known.top_items[:, : strategy.config["exclusion_top_k"]].tolist()
        listed.append({(user, item) for user, row in enumerate(lists) for item in row if item})
        excluded.append(set(zip(*(part.tolist() for part in known.excluded.nonzero()), strict=True)))
    assert excluded[0] > listed[0] and excluded[1] == listed[1]
    assert not same_model(with_student, exclusive, 1)
