"""Updates that replay: the pass over the pairs, when they are redrawn, what an auto-encoder makes of them."""

import math

import pytest
import recbole_ccd.trainer.replay as replay_module
import torch
from recbole_ccd.trainer.student_update import StudentUpdateTrainer
from recbole_ccd.trainer.teacher_update import TeacherUpdateTrainer
from scipy.sparse import csr_matrix

from recbole_ccd.model.growth import grow
from recbole_ccd.trainer import make_trainer
from tests.model.small_models import all_scores, scatter, small_model, state_of


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_update(make_config, tiny_stream, source_of, tmp_path):
    """Makes the trainer of an update on block 1, of a student or of a member of the teacher."""

    def make(name="BPR", kind=StudentUpdateTrainer, sources=None, rank_with=None, seed=3, **keys):
        run = {"run_dir": str(tmp_path / "run"), "checkpoint_dir": str(tmp_path / "run")}
        block = tiny_stream[1]
        config, old = small_model(make_config, name, tiny_stream[0], **run, **keys)
        model = grow(old, config, block)
        trainer = make_trainer(kind, config.for_stage(kind.stage), model).at_block(block, "block 1", seed)
        trainer.replay_from([source_of(seed=1)] if sources is None else sources, rank_with)
        if kind is TeacherUpdateTrainer:
            return trainer.retain(frozen=old)
        return trainer.without(csr_matrix((block.n_users, block.n_items), dtype="float32"))

    return make


@pytest.mark.parametrize(
    ("epoch", "factor", "sizes"),
    [
        (0, 1.0, {}),
        (3, math.exp(-3 / 4), {}),
        (0, 1.0, {"train_batch_size": 50, "student_replay_batch_size": 500}),
    ],
)
def test_the_pass_is_a_step_down_the_annealed_cross_entropy(make_update, epoch, factor, sizes):
    keys = {"student_replay_weight": 0.8, "student_replay_decay": 4, "train_batch_size": 500} | sizes
    trainer = make_update(learner="sgd", learning_rate=0.5, weight_decay=0.0, **keys)
    trainer.before_epoch(0)
    users, items, labels = trainer.pairs
    assert 100 < len(users) < 500
    before = state_of(trainer.model)
    twin = [before[f"{who}_embedding.weight"].clone().requires_grad_() for who in ("user", "item")]
    p = torch.sigmoid((twin[0][users] * twin[1][items]).sum(dim=1))
    loss = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum()
    (0.8 * factor / keys["train_batch_size"] * loss).backward()
    trainer.after_epoch(epoch, show_progress=False)
    for who, own in zip(("user", "item"), twin, strict=True):
        after = trainer.model.state_dict()[f"{who}_embedding.weight"]
        assert own.grad.abs().max() > 1e-4
        torch.testing.assert_close(after, own.detach() - 0.5 * own.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "role"), [(StudentUpdateTrainer, "student"), (TeacherUpdateTrainer, "teacher")]
)
@pytest.mark.parametrize("size", [None, 40, 10**6])
def test_so_many_pairs_make_a_step(make_update, monkeypatch, kind, role, size):
    trainer = make_update(kind=kind, train_batch_size=70, **{f"{role}_replay_batch_size": size})
    trainer.before_epoch(0)
    sizes, replay_loss = [], replay_module.replay_loss

    def spy(scores, labels):
        sizes.append(len(labels))
        return replay_loss(scores, labels)

    monkeypatch.setattr(replay_module, "replay_loss", spy)
    trainer.after_epoch(0, show_progress=False)
    total, step = len(trainer.pairs[0]), size or 70
    assert sum(sizes) == total and len(sizes) == math.ceil(total / step)
    assert set(sizes[:-1]) <= {step}


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_matched_labels_are_on_the_scale_of_the_models_own_best(make_update, source_of, tiny_stream, name):
    source, seen = source_of(seed=1), torch.from_numpy(tiny_stream[1].recent_train_matrix.toarray()) > 0

    def best(model):
        scores = all_scores(model)
        scores[:, 0] = -torch.inf
        scores = scores.masked_fill(seen[: len(scores), : scores.shape[1]], -torch.inf)[1:]
        return scores.sort(dim=1, descending=True).values[:, :10].clamp(min=-1e9)

    keys = {"teacher_replay_labels": "matched", "teacher_replay_candidates": 10}
    trainer = make_update(name, TeacherUpdateTrainer, [source], **keys)
    own, theirs = best(trainer.model), best(source.model)
    trainer.before_epoch(0)
    users, items, labels = trainer.pairs
    steps = (all_scores(source.model)[users, items] - theirs.mean()) / theirs.std(correction=0)
    expected = torch.sigmoid(own.mean() + own.std(correction=0) * steps)
    torch.testing.assert_close(labels, expected, atol=1e-4, rtol=0)


def test_an_auto_encoder_has_no_scale_to_match(make_update):
    trainer = make_update("MultiVAE", TeacherUpdateTrainer, teacher_replay_labels="matched")
    trainer.before_epoch(0)
    assert len(trainer.pairs[0]) and trainer._replay._scale is None


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF"])
def test_passes_lower_the_cross_entropy(make_update, name):
    trainer = make_update(name, learning_rate=0.02)
    trainer.before_epoch(0)
    users, items, labels = trainer.pairs
    bce = torch.nn.functional.binary_cross_entropy

    def loss():
        scores = all_scores(trainer.model)[users, items]
        return bce(torch.sigmoid(scores), labels).item() - bce(labels, labels).item()

    scatter(trainer.model, seed=8, scale=0.5)
    before = loss()
    for _ in range(20):
        trainer.after_epoch(0, show_progress=False)
    trainer.model.train()
    assert loss() < 0.7 * before


@pytest.mark.parametrize("keys", [{"student_replay_weight": 0.0}, {"sources": []}])
def test_without_weight_or_pairs_the_pass_changes_nothing(make_update, keys):
    trainer = make_update(**keys)
    before = state_of(trainer.model)
    trainer.before_epoch(0)
    trainer.after_epoch(0, show_progress=False)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_pairs_are_redrawn_on_schedule_against_the_current_ranks(make_update):
    trainer = make_update(replay_redraw=2, epochs=5, stopping_step=10, learning_rate=0.05)
    calls, draw = [], trainer._replay.draw

    def record(live, epoch):
        calls.append((epoch, live is trainer.model, live.training, live.user_embedding.weight.sum().item()))
        return draw(live, epoch)

    trainer._replay.draw = record
    trainer.run(show_progress=False)
    assert [call[:3] for call in calls] == [(0, True, False), (2, True, False), (4, True, False)]
    assert len({call[3] for call in calls}) == 3


def test_ranks_may_come_from_the_distilled_student(make_update, make_config, tiny_stream):
    distilled = small_model(make_config, "BPR", tiny_stream[0], seed=42)[1]
    trainer = make_update(rank_with=distilled)
    asked = []
    trainer._replay.draw = lambda live, epoch: asked.append(live)
    trainer.before_epoch(0)
    assert asked == [distilled]


def test_the_exclusion_set_is_what_negatives_avoid(make_update):
    trainer = make_update()
    excluded = csr_matrix((3, 3), dtype="float32")
    assert trainer.without(excluded) is trainer and trainer.excluded() is excluded


@pytest.mark.parametrize("kind", [StudentUpdateTrainer, TeacherUpdateTrainer])
def test_one_seed_one_result(make_update, kind):
    def run(seed):
        trainer = make_update("LightGCN", kind, epochs=1, seed=seed)
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        return state_of(trainer.model)["user_embedding.weight"]

    first = run(3)
    assert torch.equal(first, run(3)) and not torch.equal(first, run(4))


def test_settings_of_the_block_and_the_role_are_read(make_update, monkeypatch, tiny_stream):
    made = []
    monkeypatch.setattr("recbole_ccd.trainer.replay.ProxyReplay", lambda *args: made.append(args))
    keys = {
        "student_replay_candidates": [7, 8],
        "teacher_replay_candidates": [9, 10],
        "replay_temperature": 0.5,
    }
    make_update("BPR", StudentUpdateTrainer, **keys)
    make_update("BPR", TeacherUpdateTrainer, **keys)
    assert [args[2:4] for args in made] == [(7, 0.5), (9, 0.5)]
    # what a user has seen in this block or the one before is no candidate
    assert all(args[1] is tiny_stream[1].recent_train_matrix for args in made)


def test_a_member_of_the_teacher_learns_piws_parts_too(make_update):
    trainer = make_update("LightGCN", TeacherUpdateTrainer, epochs=2, learning_rate=0.01, piw=True)
    parts = trainer._retention.parameters()
    before, frozen = [part.detach().clone() for part in parts], state_of(trainer._retention.frozen)
    trainer.run(show_progress=False)
    assert not torch.equal(parts[0], before[0])
    assert any(not torch.equal(part, old) for part, old in zip(parts[1:], before[1:], strict=True))
    assert all(torch.equal(v, frozen[k]) for k, v in trainer._retention.frozen.state_dict().items())


def test_an_auto_encoder_reads_replayed_pairs_as_weak_interactions(make_update, tiny_stream):
    trainer = make_update("MultiVAE", TeacherUpdateTrainer, pseudo_interaction_value=0.25)
    trainer.before_epoch(0)
    users, items, _ = trainer.pairs
    block = tiny_stream[1]
    expected = torch.from_numpy(block.train_matrix.toarray())
    expected[users, items] = 0.25
    rows = trainer.training_rows()
    assert len(users) and torch.equal(torch.from_numpy(rows.toarray()), expected)
    assert rows.nnz == block.train_matrix.nnz + len(users)
    assert set(block.train_matrix.data.tolist()) == {1.0}


def test_an_auto_encoder_visits_everybody_known_and_has_no_pass_of_its_own(make_update, tiny_stream):
    trainer = make_update("MultiVAE", TeacherUpdateTrainer)
    assert trainer.visited_users().tolist() == list(range(1, tiny_stream[1].n_users))
    trainer.before_epoch(0)
    before = state_of(trainer.model)
    trainer.after_epoch(0, show_progress=False)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    assert make_update("BPR", TeacherUpdateTrainer).visited_users() is None


@pytest.mark.parametrize("eval_step", [1, 2])
def test_an_auto_encoder_is_ranked_by_the_rows_it_predicts_from(make_update, tiny_stream, eval_step):
    # whether a validation has just been or not
    trainer = make_update("MultiVAE", TeacherUpdateTrainer, replay_redraw=1, epochs=2, eval_step=eval_step)
    users, read, draw = torch.arange(tiny_stream[1].n_users), [], trainer._replay.draw
    trainer._replay.draw = lambda live, epoch: (
        read.append(live.get_rating_matrix(users)),
        draw(live, epoch),
    )[1]
    trainer.run(show_progress=False)
    rows = torch.from_numpy(tiny_stream[1].train_so_far.toarray())
    assert len(read) == 2 and all(torch.equal(one, rows) for one in read)


@pytest.mark.parametrize("name", ["MultiVAE", "NeuMF"])
def test_batches_with_and_without_earlier_users_add_up(make_update, name):
    trainer = make_update(
        name, TeacherUpdateTrainer, train_batch_size=2, sources=[], teacher_update_learning_rate=0.001
    )
    if name == "NeuMF":
        # a pairwise batch of two rows is one positive and its negative
        trainer.block = trainer.block.parts(20)[-1]
    trainer.run(show_progress=False)
    assert trainer.epochs_run == 1
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


def test_a_pass_of_its_own_clips_gradients_too(make_config, tiny_stream):
    steps = []
    for limit in (None, {"max_norm": 1e-6}):
        config, model = small_model(make_config, "BPR", tiny_stream[0], seed=1)
        config["clip_grad_norm"], config["learner"], config["learning_rate"] = limit, "sgd", 1.0
        trainer = make_trainer(StudentUpdateTrainer, config, model)
        before = model.item_embedding.weight.detach().clone()
        trainer.step(model.item_embedding.weight.square().sum())
        steps.append((model.item_embedding.weight - before).norm().item())
    assert steps[0] > 1e-3 and steps[1] == pytest.approx(1e-6, rel=0.05)


@pytest.mark.parametrize(
    ("name", "kind"), [("BPR", StudentUpdateTrainer), ("MultiVAE", TeacherUpdateTrainer)]
)
def test_replayed_pairs_are_counted_by_source_in_every_epoch(make_update, source_of, name, kind):
    sources = [source_of(seed=1, n_draws=2), source_of(seed=2, n_draws=1), source_of(seed=3, n_draws=0)]
    trainer = make_update(name, kind, sources=sources, replay_redraw=2, epochs=3, stopping_step=10)
    trainer.run(show_progress=False)
    # 2 draws for each user that a source knows, replayed in epochs 0, 1 and, drawn anew, 2
    n_users = sources[0].model.n_users - 1
    assert trainer.learned()["replayed"] == {"BPR1": 3 * 2 * n_users, "BPR2": 3 * n_users}
    # a pair that both have drawn is replayed once
    assert len(trainer.pairs[0]) <= 3 * n_users


@pytest.mark.parametrize("keys", [{"student_replay_weight": 0.0}, {"sources": []}])
def test_nothing_is_counted_that_is_not_replayed(make_update, keys):
    trainer = make_update(**keys)
    trainer.run(show_progress=False)
    assert trainer.learned()["replayed"] == {}
