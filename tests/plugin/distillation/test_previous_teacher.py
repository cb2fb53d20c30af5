"""Stages 2 and 3 distil the teacher before the block: over the users and items of then, and no others."""

import numpy as np
import pytest
import torch

import recbole_ccd.plugin.distillation.rd as rd_module
from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.distillation import DistillationLoss, PreviousTeacherDistillation
from recbole_ccd.plugin.distillation.cd import CollaborativeDistillation
from recbole_ccd.plugin.distillation.rrd import RelaxedRankingDistillation
from recbole_ccd.registry import registered
from tests.conftest import few
from tests.model.small_models import small_model, state_of
from tests.plugin.distillation.rankings import fixed_teacher, naive_rrd, rankings_of
from tests.plugin.stages import stage_trainer, take_passes

LOSSES = sorted(registered(DistillationLoss.kind))
# steps that leave alone what has no gradient
PLAIN_STEPS = {"learner": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}


@pytest.fixture
def rankings(tiny_stream):
    """A fixed teacher's lists of block 0."""
    return rankings_of(tiny_stream[0], fixed_teacher(tiny_stream[0]))


@pytest.fixture
def make_update(make_config, tiny_stream, rankings):
    """Makes the trainer of an update on block 1, of the student or of a member, without replay."""

    def make(name="BPR", block=None, role="student", distilled=True, **keys):
        block = tiny_stream[1] if block is None else block
        weights = {
            "student_update_distill": 0.5,
            "distill_user_weight": 0.4,
            "distill_item_weight": 0.2,
            "update_distill_users": "all",
        }
        config, old = small_model(make_config, name, tiny_stream[0], **{**weights, **keys})
        torch.manual_seed(5)
        model = grow(old, config, block)
        plugins = [PreviousTeacherDistillation(role, rankings)] if distilled else []
        return stage_trainer(config, model, block, f"{role}_update", *plugins)

    return make


def only_passes(trainer, epoch=0):
    """The weights after what comes before and after an epoch's batches."""
    for plugin in trainer.plugins:
        plugin.before_epoch(epoch)
    trainer.model.train()
    take_passes(trainer, epoch)
    return state_of(trainer.model)


@pytest.fixture
def visited(monkeypatch):
    """Notes which ids passes visit; they take no step."""
    noted = []

    def note(what):
        def loss(self, ids):
            noted.append((what, ids.tolist()))
            return 0 * self.model.user_embedding.weight.sum()

        return loss

    for what in ("user", "item"):
        monkeypatch.setattr(RelaxedRankingDistillation, f"{what}_loss", note(f"{what}s"))
    return noted


def test_users_and_items_of_then_are_visited_once_per_epoch(make_update, tiny_stream, visited):
    trainer, orders = make_update(train_batch_size=16), []
    for epoch in (0, 1, 0):
        visited.clear()
        only_passes(trainer, epoch)
        kinds = [what for what, _ in visited]
        assert kinds == sorted(kinds, reverse=True) and max(len(ids) for _, ids in visited) == 16
        ids = {kind: sum((ids for what, ids in visited if what == kind), []) for kind in ("users", "items")}
        assert sorted(ids["users"]) == list(range(1, tiny_stream[0].n_users))
        assert sorted(ids["items"]) == list(range(1, tiny_stream[0].n_items))
        orders.append(ids)
    assert orders[0] == orders[2] != orders[1]


def test_absent_users_alone_are_visited(make_update, tiny_stream, visited):
    # every user of this stream interacts in the whole block
    piece = tiny_stream[1].parts(4)[0]
    active = set(piece.train.inter_feat["user_id"].tolist())
    absent = sorted(set(range(1, tiny_stream[0].n_users)) - active)
    only_passes(make_update(block=piece, update_distill_users="absent", train_batch_size=16))
    assert absent and {what for what, _ in visited} == {"users"}
    assert sorted(sum((ids for _, ids in visited), [])) == absent


def test_a_member_of_the_teacher_steps_down_its_own_weight(make_update):
    keys = {**PLAIN_STEPS, "learning_rate": 100.0, "distill_item_weight": 0.0, "train_batch_size": 500}
    keys["distill_user_weight"] = 0.01

    def step(weight):
        keys["teacher_update_distill"], keys["student_update_distill"] = weight, 7.0
        trainer = make_update(role="teacher", **keys)
        before = state_of(trainer.model)["user_embedding.weight"]
        return only_passes(trainer)["user_embedding.weight"] - before

    assert step(1.0).abs().max() > 1e-3
    torch.testing.assert_close(step(0.25), 0.25 * step(1.0), atol=1e-6, rtol=0)


def test_a_graph_model_is_held_by_its_final_embeddings(make_update):
    trainer = make_update("LightGCN", distill_layer="ego", update_distill_layer="final")
    (plugin,), users = trainer.plugins, torch.arange(1, 5)
    of_users = next(iter(plugin.after_epoch(0))).loss
    taught = of_users(users)
    final = trainer.model()
    with torch.no_grad():
        for table, values in zip(
            (trainer.model.user_embedding, trainer.model.item_embedding), final, strict=True
        ):
            table.weight.copy_(values)
    assert not torch.isclose(of_users(users), taught)
    trainer.model.n_layers = 0
    torch.testing.assert_close(of_users(users), taught)
    assert trainer.config["distill_layer"] == "ego"


@pytest.mark.parametrize("swapped", [False, True])
def test_a_pass_is_a_step_down_the_weighted_loss(make_update, tiny_stream, rankings, swapped):
    off = {"distill_user_weight" if swapped else "distill_item_weight": 0.0}
    trainer = make_update(train_batch_size=500, **PLAIN_STEPS, **off)
    old, before = tiny_stream[0], state_of(trainer.model)
    tables = [before[f"{who}_embedding.weight"].clone().requires_grad_() for who in ("user", "item")]
    after = only_passes(trainer)
    # neither what was seen then nor what has been since is pushed down
    seen = tiny_stream[1].train_matrix.toarray()[: old.n_users, : old.n_items] + old.train_matrix.toarray()
    barred = rankings.excluded.toarray() + seen
    rows, columns = reversed(tables) if swapped else tables
    barred, lists = (barred.T, rankings.top_users) if swapped else (barred, rankings.top_items)
    expected = 0.0
    for row in range(1, len(barred)):
        listed = lists[row]
        rest = [c for c in np.flatnonzero(barred[row] == 0).tolist() if c and c not in listed.tolist()]
        expected = expected + naive_rrd(columns @ rows[row], listed, rest)
    (0.5 * (0.2 if swapped else 0.4) * expected / 500).backward()
    for who, table in zip(("user", "item"), tables, strict=True):
        assert table.grad.abs().max() > 1e-4
        torch.testing.assert_close(
            after[f"{who}_embedding.weight"], table.detach() - 0.1 * table.grad, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_new_users_and_items_are_left_alone(make_update, tiny_stream, loss):
    trainer = make_update(distill_loss=loss, uninteresting_redraw=1, **PLAIN_STEPS)
    old = tiny_stream[0].n_users, tiny_stream[0].n_items
    tables = trainer.model.user_embedding.weight, trainer.model.item_embedding.weight
    with torch.no_grad():
        # loud enough to be in every list of the student's own
        tables[1][old[1] :] *= 30
    before = state_of(trainer.model)
    after = only_passes(trainer, epoch=1)
    for who, n_old in zip(("user", "item"), old, strict=True):
        one, other = before[f"{who}_embedding.weight"], after[f"{who}_embedding.weight"]
        assert len(one) > n_old and torch.equal(one[n_old:], other[n_old:])
        assert not torch.equal(one[:n_old], other[:n_old])


@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_the_students_own_lists_are_of_what_the_teacher_knows(make_update, tiny_stream, monkeypatch, name):
    found = []
    top_items = CollaborativeDistillation.top_items

    def note(loss, k):
        found.append(top_items(loss, k))
        return found[-1]

    monkeypatch.setattr(CollaborativeDistillation, "top_items", note)
    only_passes(make_update(name, distill_loss="cd", uninteresting_redraw=1), epoch=1)
    (own,) = found
    assert len(own) == tiny_stream[0].n_users and 0 < own.max() < tiny_stream[0].n_items


@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_ranks_are_estimated_among_what_the_teacher_knows(make_update, tiny_stream, monkeypatch, name):
    asked, estimated = [], rd_module.estimated_ranks

    def note(listed, sampled, usable, n_candidates):
        asked.append((sampled, usable, n_candidates))
        return estimated(listed, sampled, usable, n_candidates)

    monkeypatch.setattr(rd_module, "estimated_ranks", note)
    trainer = make_update(name, distill_loss="rd", distill_rank_sample=10**6)
    users = next(iter(trainer.plugins[0].after_epoch(0)))
    users.loss(torch.tensor([1, 2]))
    ((sampled, usable, n_candidates),) = asked
    n_items = tiny_stream[0].n_items - 1
    seen = tiny_stream[1].recent_train_matrix[1:3, : n_items + 1].getnnz(axis=1)
    assert sampled.shape == (2, n_items)
    assert usable.sum(dim=1).tolist() == n_candidates.tolist() == (n_items - seen).tolist()


@pytest.mark.parametrize(
    "keys",
    [
        {"distill_user_weight": 0.0, "distill_item_weight": 0.0},
        {"distill_loss": "kl", "distill_user_weight": 0.0},
    ],
)
def test_sides_without_weight_take_no_step(make_update, keys):
    trainer = make_update(weight_decay=0.1, **keys)
    # a step without gradients would still decay weights
    before = state_of(trainer.model)
    after = only_passes(trainer)
    assert all(torch.equal(value, after[key]) for key, value in before.items())


# these draw numbers, the others do not
@pytest.mark.parametrize("loss", few(LOSSES, "rrd", "cd", "rd", "unkd"))
def test_one_seed_one_result_and_another_than_without(make_update, loss):
    def trained(distilled):
        trainer = make_update("LightGCN", distilled=distilled, distill_loss=loss, epochs=2)
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        return state_of(trainer.model)["user_embedding.weight"]

    assert torch.equal(trained(True), trained(True)) and not torch.equal(trained(True), trained(False))


def test_a_piece_of_a_block_is_learned_likewise(make_update, tiny_stream):
    piece = tiny_stream[1].parts(4)[0]
    assert tiny_stream[0].n_items <= piece.n_items < tiny_stream[1].n_items
    trainer = make_update(block=piece)
    trainer.run(show_progress=False)
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())
