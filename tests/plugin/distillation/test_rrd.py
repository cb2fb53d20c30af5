"""The list-wise loss of users and items, in stage 1 and by itself."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.plugin.distillation.rrd import RelaxedRankingDistillation
from recbole_ccd.ranking.uninteresting import UninterestingSampler
from tests.model.small_models import all_scores, scatter, small_model, state_of
from tests.plugin.distillation.rankings import (
    TOP,
    distilling,
    eligible,
    fixed_teacher,
    naive_rrd,
    rankings_of,
    vectors_of,
)
from tests.plugin.stages import take_passes, terms_of

WEIGHTS = {"distill_user_weight": 0.5, "distill_item_weight": 0.25}


@pytest.fixture
def make_distillation(make_config, tiny_stream):
    """Makes a stage 1 on block 0 with a fixed teacher's lists."""

    def make(name="BPR", short=(4,), **keys):
        return distilling(make_config, tiny_stream[0], name, short, **{**WEIGHTS, **keys})

    return make


@pytest.fixture
def make_loss(make_config, tiny_stream):
    """Makes the loss by itself, on the lists of block 0."""

    def make(name="BPR", short=(4,), **keys):
        block = tiny_stream[0]
        config, model = small_model(make_config, name, block, **{**WEIGHTS, **keys})
        rankings = rankings_of(block, fixed_teacher(block), short=short)
        return RelaxedRankingDistillation(config, model, rankings, block.train_matrix, seed=3), rankings

    return make


@pytest.fixture
def masks(monkeypatch):
    """The uninteresting columns that each row was given, by the number of columns of its side."""
    given, draw = {}, UninterestingSampler.windows

    def windows(sampler, rows, ineligible):
        drawn = draw(sampler, rows, ineligible)
        side = given.setdefault(sampler.n_columns, {})
        side.update(zip(rows.tolist(), drawn.mask(sampler.n_columns), strict=True))
        return drawn

    monkeypatch.setattr(UninterestingSampler, "windows", windows)
    return given


@pytest.mark.parametrize(
    ("name", "layer", "n"),
    [("BPR", "ego", None), ("BPR", "ego", 5), ("LightGCN", "ego", 5), ("LightGCN", "final", None)],
)
def test_the_user_side_loss_of_a_batch_equals_loops(make_distillation, masks, name, layer, n):
    stage = make_distillation(name, distill_layer=layer, n_uninteresting_items=n)
    block = stage.trainer.block
    batch = Interaction({"user_id": torch.tensor([4, 9, 4, 30, 9])})
    (loss,) = terms_of(stage.trainer, batch)
    users, items = vectors_of(stage.trainer.model, layer)
    expected = 0.0
    assert set(masks) == {block.n_items} and set(masks[block.n_items]) == {4, 9, 30}
    for user, mask in masks[block.n_items].items():
        drawn, allowed = set(mask.nonzero().flatten().tolist()), eligible(block, stage.rankings, user, False)
        assert drawn <= allowed and len(drawn) == (len(allowed) if n is None else n)
        expected = expected + naive_rrd(items @ users[user], stage.rankings.top_items[user], sorted(drawn))
    # the sum over distinct users, divided by the rows of the batch
    torch.testing.assert_close(loss, 0.5 * expected / 5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [None, 4])
def test_the_item_side_pass_is_a_step_down_the_loss_of_all_items(make_distillation, masks, n):
    steps = {"learner": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}
    stage = make_distillation("BPR", n_uninteresting_users=n, **steps)
    trainer, block = stage.trainer, stage.trainer.block
    before = state_of(trainer.model)
    users, items = trainer.model.user_embedding.weight, trainer.model.item_embedding.weight
    twin_users, twin_items = users.detach().clone().requires_grad_(), items.detach().clone().requires_grad_()
    take_passes(trainer)
    expected, given = 0.0, masks[block.n_users]
    assert set(given) == set(range(1, block.n_items))
    for item, mask in given.items():
        drawn, allowed = set(mask.nonzero().flatten().tolist()), eligible(block, stage.rankings, item, True)
        assert drawn <= allowed and len(drawn) == (len(allowed) if n is None else min(n, len(allowed)))
        expected = expected + naive_rrd(
            twin_users @ twin_items[item], stage.rankings.top_users[item], sorted(drawn)
        )
    (0.25 * expected / trainer.config["train_batch_size"]).backward()
    assert twin_users.grad.abs().max() > 1e-4
    torch.testing.assert_close(
        users, before["user_embedding.weight"] - 0.1 * twin_users.grad, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        items, before["item_embedding.weight"] - 0.1 * twin_items.grad, atol=1e-6, rtol=0
    )


def test_the_item_side_visits_every_item_once_in_an_order_of_the_epoch(make_distillation, monkeypatch):
    trainer = make_distillation("BPR", student_generation_train_batch_size=16).trainer
    visited = []

    def note(loss, items):
        visited.append(items.tolist())
        return loss.model.user_embedding.weight.sum()

    monkeypatch.setattr(RelaxedRankingDistillation, "item_loss", note)
    for epoch in (0, 1, 0):
        take_passes(trainer, epoch)
    epochs = [sum(visited[start : start + 3], []) for start in (0, 3, 6)]
    assert [len(batch) for batch in visited[:3]] == [16, 16, 6]
    assert all(sorted(items) == list(range(1, 39)) for items in epochs)
    assert epochs[0] == epochs[2] != epochs[1]


def test_scores_are_clamped(make_distillation):
    stage = make_distillation("BPR", distill_score_max=0.1)
    (loss,) = terms_of(stage.trainer, Interaction({"user_id": torch.tensor([9])}))
    users, items = vectors_of(stage.trainer.model, "ego")
    rest = sorted(eligible(stage.trainer.block, stage.rankings, 9, swapped=False))
    listed = stage.rankings.top_items[9]
    torch.testing.assert_close(
        loss, 0.5 * naive_rrd(items @ users[9], listed, rest, 0.1), rtol=1e-5, atol=1e-6
    )
    assert not torch.isclose(loss, 0.5 * naive_rrd(items @ users[9], listed, rest))


def test_a_side_of_weight_zero_is_left_out(make_distillation):
    trainer = make_distillation("BPR", distill_user_weight=0.0, distill_item_weight=0.0).trainer
    before = state_of(trainer.model)
    assert terms_of(trainer, Interaction({"user_id": torch.tensor([9])})) == ()
    take_passes(trainer)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_uninteresting_ones_are_redrawn_on_schedule(make_loss):
    loss, _ = make_loss(uninteresting_redraw=3)
    drawn = []
    for epoch in range(8):
        loss.before_epoch(epoch)
        drawn.append({side: state["columns"].tolist() for side, state in loss.state_dict().items()})
    assert drawn[0].keys() == {"users", "items"}
    for side in ("users", "items"):
        sets = [entry[side] for entry in drawn]
        assert sets[0] == sets[1] == sets[2] != sets[3] == sets[4] == sets[5] != sets[6] == sets[7]


def test_negatives_are_neither_train_items_nor_excluded(make_distillation):
    stage = make_distillation("BPR", epochs=2, short=())
    trainer = stage.trainer
    used = trainer.block.train_matrix.toarray() + stage.rankings.excluded.toarray()
    # a user whom the exclusion would leave without any negative keeps the train items out only
    starved = {user for user in range(len(used)) if (used[user, 1:] > 0).all()}
    seen, loss = [], trainer.model.calculate_loss

    def record(batch):
        seen.extend(zip(batch["user_id"].tolist(), batch["neg_item_id"].tolist(), strict=True))
        return loss(batch)

    trainer.model.calculate_loss = record
    trainer.run(show_progress=False)
    assert len(seen) == 2 * len(trainer.block.train)
    assert not [pair for pair in seen if pair[0] not in starved and used[pair]]


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_alone_estimate_the_same_loss(make_loss, tiny_stream, swapped):
    # so many shared columns that the estimate is nearly exact
    loss, rankings = make_loss("NeuMF", n_uninteresting_pairs=4000)
    rows = torch.tensor([4, 9, 30])
    scores = all_scores(loss.model)
    estimate = (loss.item_loss if swapped else loss.user_loss)(rows)
    exact = sum(
        naive_rrd(
            (scores.T if swapped else scores)[row],
            (rankings.top_users if swapped else rankings.top_items)[row],
            sorted(eligible(tiny_stream[0], rankings, row, swapped)),
        )
        for row in rows.tolist()
    )
    torch.testing.assert_close(estimate, exact, rtol=0.01, atol=0)


def test_shared_columns_are_drawn_for_each_batch(make_loss):
    loss, _ = make_loss("NeuMF", n_uninteresting_pairs=5)
    rows = torch.tensor([4, 9])

    def losses(epoch):
        loss.before_epoch(epoch)
        return [loss.user_loss(rows).item() for _ in range(4)]

    first, second = losses(1), losses(2)
    assert len({*first, *second}) == 8
    # whichever epochs have gone before, as after an interruption
    assert losses(1) == first


def test_a_student_of_pairs_learns_from_the_teacher(make_distillation):
    keys = {"dropout_prob": 0.0, "n_uninteresting_pairs": 30}
    stage = make_distillation("NeuMF", epochs=2, learning_rate=0.03, **keys)
    trainer, block = stage.trainer, stage.trainer.block
    users, items = torch.arange(1, block.n_users), torch.arange(1, block.n_items)
    watched = RelaxedRankingDistillation(trainer.config, trainer.model, stage.rankings, block.train_matrix, 3)

    def losses():
        with torch.no_grad():
            return [watched.user_loss(users).item(), watched.item_loss(items).item()]

    before = losses()
    trainer.run(show_progress=False)
    assert all(after < 0.95 * start for after, start in zip(losses(), before, strict=True))


def agreement(stage):
    """Share of the teacher's lists that is in the student's own, seen items left out."""
    scores = all_scores(stage.trainer.model)
    scores[:, 0] = -torch.inf
    seen = torch.from_numpy(stage.trainer.block.train_matrix.toarray()) > 0
    top = scores.masked_fill(seen, -torch.inf).topk(TOP, dim=1).indices[1:]
    return (top[:, :, None] == stage.rankings.top_items[1:, None, :]).any(dim=2).float().mean().item()


def test_a_distilled_student_agrees_with_the_teacher_more_than_an_undistilled_one(make_distillation):
    shares = []
    for weight in (0.0, 0.3):
        keys = {"distill_user_weight": weight, "distill_item_weight": weight}
        stage = make_distillation("BPR", epochs=5, learning_rate=0.05, short=(), **keys)
        trainer = stage.trainer
        scatter(trainer.model, scale=0.1)
        trainer.fit(trainer.block.train_loader(trainer.config, seed=1, exclude=stage.rankings.excluded))
        shares.append(agreement(stage))
    assert shares[1] > shares[0] + 0.1
