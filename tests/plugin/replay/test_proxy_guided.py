"""Replay in an update: the pass over the pairs, when they are redrawn, what an auto-encoder makes of them."""

import math

import pytest
import torch

import recbole_ccd.plugin.replay.steps as steps_module
from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import ProxyGuidedReplay
from recbole_ccd.plugin.replay.proxy_guided import ReplayDraws
from tests.model.small_models import all_scores, scatter, small_model, state_of
from tests.plugin.stages import stage_trainer, take_passes


@pytest.fixture
def make_update(make_config, tiny_stream, source_of):
    """Makes the trainer of an update on block 1, of a student or of a member of the teacher."""

    def make(name="BPR", role="student", sources=None, rank_with=None, seed=3, piece=None, **keys):
        block = tiny_stream[1] if piece is None else tiny_stream[1].parts(20)[piece]
        config, old = small_model(make_config, name, tiny_stream[0], **keys)
        model = grow(old, config, block)
        replay = ProxyGuidedReplay(role, [source_of(seed=1)] if sources is None else sources, rank_with)
        trainer = stage_trainer(config, model, block, f"{role}_update", replay, previous=old, seed=seed)
        return trainer.add(*chosen_regularizers(trainer.config, model))

    return make


def pairs_of(trainer):
    """Users, items and labels drawn last."""
    return trainer.plugins[0].state_dict()["pairs"]


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
    trainer.plugins[0].before_epoch(0)
    users, items, labels = pairs_of(trainer)
    assert 100 < len(users) < 500
    before = state_of(trainer.model)
    twin = [before[f"{who}_embedding.weight"].clone().requires_grad_() for who in ("user", "item")]
    p = torch.sigmoid((twin[0][users] * twin[1][items]).sum(dim=1))
    loss = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum()
    (0.8 * factor / keys["train_batch_size"] * loss).backward()
    take_passes(trainer, epoch)
    for who, own in zip(("user", "item"), twin, strict=True):
        after = trainer.model.state_dict()[f"{who}_embedding.weight"]
        assert own.grad.abs().max() > 1e-4
        torch.testing.assert_close(after, own.detach() - 0.5 * own.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("size", [None, 40, 10**6])
def test_so_many_pairs_make_a_step(make_update, monkeypatch, role, size):
    trainer = make_update(role=role, train_batch_size=70, **{f"{role}_replay_batch_size": size})
    trainer.plugins[0].before_epoch(0)
    sizes, replay_loss = [], steps_module.replay_loss

    def spy(scores, labels):
        sizes.append(len(labels))
        return replay_loss(scores, labels)

    monkeypatch.setattr(steps_module, "replay_loss", spy)
    take_passes(trainer)
    total, step = len(pairs_of(trainer)[0]), size or 70
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
    trainer = make_update(name, "teacher", [source], **keys)
    own, theirs = best(trainer.model), best(source.model)
    trainer.plugins[0].before_epoch(0)
    users, items, labels = pairs_of(trainer)
    steps = (all_scores(source.model)[users, items] - theirs.mean()) / theirs.std(correction=0)
    expected = torch.sigmoid(own.mean() + own.std(correction=0) * steps)
    torch.testing.assert_close(labels, expected, atol=1e-4, rtol=0)


def test_an_auto_encoder_has_no_scale_to_match(make_update):
    labels = []
    for kind in ("matched", "source"):
        trainer = make_update("MultiVAE", "teacher", teacher_replay_labels=kind)
        trainer.plugins[0].before_epoch(0)
        labels.append(pairs_of(trainer)[2])
    assert len(labels[0]) and torch.equal(*labels)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF"])
def test_passes_lower_the_cross_entropy(make_update, name):
    trainer = make_update(name, learning_rate=0.02)
    trainer.plugins[0].before_epoch(0)
    users, items, labels = pairs_of(trainer)
    bce = torch.nn.functional.binary_cross_entropy

    def loss():
        scores = all_scores(trainer.model)[users, items]
        return bce(torch.sigmoid(scores), labels).item() - bce(labels, labels).item()

    scatter(trainer.model, seed=8, scale=0.5)
    before = loss()
    for _ in range(20):
        take_passes(trainer)
    trainer.model.train()
    assert loss() < 0.7 * before


@pytest.mark.parametrize("keys", [{"student_replay_weight": 0.0}, {"sources": []}])
def test_without_weight_or_pairs_the_pass_changes_nothing(make_update, keys):
    trainer = make_update(**keys)
    before = state_of(trainer.model)
    trainer.plugins[0].before_epoch(0)
    take_passes(trainer)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_pairs_are_redrawn_on_schedule_against_the_current_ranks(make_update, monkeypatch):
    trainer = make_update(replay_redraw=2, epochs=5, stopping_step=10, learning_rate=0.05)
    calls, draw = [], ReplayDraws.draw

    def record(draws, live, epoch):
        calls.append((epoch, live is trainer.model, live.training, live.user_embedding.weight.sum().item()))
        return draw(draws, live, epoch)

    monkeypatch.setattr(ReplayDraws, "draw", record)
    trainer.run(show_progress=False)
    assert [call[:3] for call in calls] == [(0, True, False), (2, True, False), (4, True, False)]
    assert len({call[3] for call in calls}) == 3


def test_ranks_may_come_from_the_distilled_student(make_update, make_config, tiny_stream, monkeypatch):
    distilled = small_model(make_config, "BPR", tiny_stream[0], seed=42)[1]
    trainer = make_update(rank_with=distilled)
    asked, draw = [], ReplayDraws.draw
    monkeypatch.setattr(
        ReplayDraws, "draw", lambda draws, live, epoch: asked.append(live) or draw(draws, live, epoch)
    )
    trainer.plugins[0].before_epoch(0)
    assert asked == [distilled]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_one_seed_one_result(make_update, role):
    def run(seed):
        trainer = make_update("LightGCN", role, epochs=1, seed=seed)
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        return state_of(trainer.model)["user_embedding.weight"]

    first = run(3)
    assert torch.equal(first, run(3)) and not torch.equal(first, run(4))


def test_settings_of_the_block_and_the_role_are_read(make_update, monkeypatch, tiny_stream):
    made = []
    monkeypatch.setattr("recbole_ccd.plugin.replay.proxy_guided.ReplayDraws", lambda *args: made.append(args))
    keys = {
        "student_replay_candidates": [7, 8],
        "teacher_replay_candidates": [9, 10],
        "replay_temperature": 0.5,
    }
    make_update("BPR", "student", **keys)
    make_update("BPR", "teacher", **keys)
    assert [args[2:4] for args in made] == [(7, 0.5), (9, 0.5)]
    # what a user has seen in this block or the one before is no candidate
    assert all(args[1] is tiny_stream[1].recent_train_matrix for args in made)


def test_a_member_of_the_teacher_learns_piws_parts_too(make_update):
    trainer = make_update("LightGCN", "teacher", epochs=2, learning_rate=0.01, piw=True, regularizer="lwc_kd")
    _, regularizer = trainer.plugins
    parts = regularizer.parameters()
    before, frozen = [part.detach().clone() for part in parts], state_of(regularizer.frozen)
    trainer.run(show_progress=False)
    assert not torch.equal(parts[0], before[0])
    assert any(not torch.equal(part, old) for part, old in zip(parts[1:], before[1:], strict=True))
    assert all(torch.equal(v, frozen[k]) for k, v in regularizer.frozen.state_dict().items())


def test_an_auto_encoder_reads_replayed_pairs_as_weak_interactions(make_update, tiny_stream):
    trainer = make_update("MultiVAE", "teacher", pseudo_interaction_value=0.25)
    trainer.plugins[0].before_epoch(0)
    users, items, _ = pairs_of(trainer)
    block = tiny_stream[1]
    expected = torch.from_numpy(block.train_matrix.toarray())
    expected[users, items] = 0.25
    rows = trainer.plugins[0].training_rows(block.train_matrix)
    assert len(users) and torch.equal(torch.from_numpy(rows.toarray()), expected)
    assert rows.nnz == block.train_matrix.nnz + len(users)
    assert set(block.train_matrix.data.tolist()) == {1.0}


def test_an_auto_encoder_visits_everybody_known_and_has_no_pass_of_its_own(make_update, tiny_stream):
    trainer = make_update("MultiVAE", "teacher")
    assert trainer.plugins[0].visited_users().tolist() == list(range(1, tiny_stream[1].n_users))
    trainer.plugins[0].before_epoch(0)
    before = state_of(trainer.model)
    take_passes(trainer)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    assert make_update("BPR", "teacher").plugins[0].visited_users() is None


@pytest.mark.parametrize("eval_step", [1, 2])
def test_an_auto_encoder_is_ranked_by_the_rows_it_predicts_from(
    make_update, tiny_stream, monkeypatch, eval_step
):
    # whether a validation has just been or not
    trainer = make_update("MultiVAE", "teacher", replay_redraw=1, epochs=2, eval_step=eval_step)
    users, read, draw = torch.arange(tiny_stream[1].n_users), [], ReplayDraws.draw

    def record(draws, live, epoch):
        read.append(live.get_rating_matrix(users))
        return draw(draws, live, epoch)

    monkeypatch.setattr(ReplayDraws, "draw", record)
    trainer.run(show_progress=False)
    rows = torch.from_numpy(tiny_stream[1].train_so_far.toarray())
    assert len(read) == 2 and all(torch.equal(one, rows) for one in read)


# a pairwise batch of two rows is one positive and its negative
@pytest.mark.parametrize(("name", "piece"), [("MultiVAE", None), ("NeuMF", -1)])
def test_batches_with_and_without_earlier_users_add_up(make_update, name, piece):
    keys = {"regularizer": ["output_kl", "pair_kl"], "teacher_update_learning_rate": 0.001}
    trainer = make_update(name, "teacher", piece=piece, train_batch_size=2, sources=[], **keys)
    trainer.run(show_progress=False)
    assert trainer.epochs_run == 1 and len(trainer.plugins) == 2
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


@pytest.mark.parametrize(("name", "role"), [("BPR", "student"), ("MultiVAE", "teacher")])
def test_replayed_pairs_are_counted_by_source_in_every_epoch(make_update, source_of, name, role):
    sources = [source_of(seed=1, n_draws=2), source_of(seed=2, n_draws=1), source_of(seed=3, n_draws=0)]
    trainer = make_update(name, role, sources=sources, replay_redraw=2, epochs=3, stopping_step=10)
    trainer.run(show_progress=False)
    # 2 draws for each user that a source knows, replayed in epochs 0, 1 and, drawn anew, 2
    n_users = sources[0].model.n_users - 1
    assert trainer.history()["replayed"] == {"BPR1": 3 * 2 * n_users, "BPR2": 3 * n_users}
    # a pair that both have drawn is replayed once
    assert len(pairs_of(trainer)[0]) <= 3 * n_users


@pytest.mark.parametrize("keys", [{"student_replay_weight": 0.0}, {"sources": []}])
def test_nothing_is_counted_that_is_not_replayed(make_update, keys):
    trainer = make_update(**keys)
    trainer.run(show_progress=False)
    assert trainer.history()["replayed"] == {}
