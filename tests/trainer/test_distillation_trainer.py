import pytest
import torch
from recbole.data.interaction import Interaction
from recbole_ccd.trainer.distillation import DistillationTrainer
from recbole_ccd.trainer.teaching import TeacherKnowledge

from recbole_ccd.data.pairs import pairs_matrix
from recbole_ccd.trainer import make_trainer
from tests.model.small_models import all_scores, scatter, small_model, state_of

TOP = 6


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fixed_teacher(block, seed=0):
    """Scores of users of three kinds for items of three kinds, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    users, items = torch.arange(block.n_users)[:, None], torch.arange(block.n_items)[None]
    return (users % 3 == items % 3) * 3.0 + torch.randn(block.n_users, block.n_items, generator=generator)


def knowledge_of(block, scores, excluded=2, short=()):
    """The teacher's lists, by sorting; the rows in ``short`` hold two entries only."""
    seen = torch.from_numpy(block.train_matrix.toarray()) > 0
    scores = scores.masked_fill(seen, -torch.inf)
    scores[0], scores[:, 0] = -torch.inf, -torch.inf
    order, by_user = scores.argsort(dim=1, descending=True), scores.argsort(dim=0, descending=True).T
    top_items, top_users = order[:, :TOP].clone(), by_user[:, :TOP].clone()
    top_items[0], top_users[0] = 0, 0
    for row in short:
        top_items[row, 2:], top_users[row, 2:] = 0, 0
    # items of places 10, 11, … are excluded without being listed
    hidden = order[:, 10 : 10 + excluded].clone()
    return TeacherKnowledge(
        top_items, top_users, pairs_matrix([top_items, hidden], block.n_users, block.n_items)
    )


@pytest.fixture
def make_distillation(make_config, tiny_stream, tmp_path):
    """Makes a trainer that has been told a fixed teacher's lists for block 0."""

    def make(name="BPR", short=(4,), **keys):
        run = {"run_dir": str(tmp_path / "run"), "checkpoint_dir": str(tmp_path / "run")}
        settings = {"distill_user_weight": 0.5, "distill_item_weight": 0.25, **run, **keys}
        config, model = small_model(make_config, name, tiny_stream[0], **settings)
        trainer = make_trainer(DistillationTrainer, config.for_stage("student_generation"), model)
        trainer.at_block(tiny_stream[0], "block 0", seed=3)
        return trainer.learn_from(knowledge_of(tiny_stream[0], fixed_teacher(tiny_stream[0]), short=short))

    return make


def spy_masks(side):
    """Records the uninteresting columns each row of a side is given."""
    masks, draw = {}, side.sampler.windows

    def windows(rows, ineligible):
        drawn = draw(rows, ineligible)
        masks.update(zip(rows.tolist(), drawn.mask(side.sampler.n_columns), strict=True))
        return drawn

    side.sampler.windows = windows
    return masks


def naive_rrd(scores, listed, uninteresting, score_max=10.0):
    """The list-wise loss of one row, as the formula is written."""
    scores = scores.clamp(max=score_max)
    listed = [j for j in listed.tolist() if j]
    rest = scores[uninteresting].exp().sum()
    loss = 0.0
    for r, column in enumerate(listed):
        loss = loss - (scores[column] - torch.log(scores[listed[r:]].exp().sum() + rest))
    return loss


def eligible(trainer, row, swapped):
    """Columns that are neither train nor listed nor excluded."""
    knowledge = trainer._knowledge
    ineligible = trainer.block.train_matrix.toarray() + knowledge.excluded.toarray()
    line = ineligible[:, row] if swapped else ineligible[row]
    listed = (knowledge.top_users if swapped else knowledge.top_items)[row].tolist()
    return {j for j in range(1, len(line)) if not line[j] and j not in listed}


def vectors_of(model, layer):
    if layer == "ego":
        return model.user_embedding.weight, model.item_embedding.weight
    return model()


@pytest.mark.parametrize(
    ("name", "layer", "n"),
    [("BPR", "ego", None), ("BPR", "ego", 5), ("LightGCN", "ego", 5), ("LightGCN", "final", None)],
)
def test_the_user_side_loss_of_a_batch_equals_loops(make_distillation, name, layer, n):
    trainer = make_distillation(name, distill_layer=layer, n_uninteresting_items=n)
    masks = spy_masks(trainer._teaching._users)
    batch = Interaction({"user_id": torch.tensor([4, 9, 4, 30, 9])})
    (loss,) = trainer.extra_losses(batch)
    users, items = vectors_of(trainer.model, layer)
    expected = 0.0
    assert set(masks) == {4, 9, 30}
    for user, mask in masks.items():
        drawn, allowed = set(mask.nonzero().flatten().tolist()), eligible(trainer, user, swapped=False)
        assert drawn <= allowed and len(drawn) == (len(allowed) if n is None else n)
        expected = expected + naive_rrd(
            items @ users[user], trainer._knowledge.top_items[user], sorted(drawn)
        )
    # the sum over distinct users, divided by the rows of the batch
    torch.testing.assert_close(loss, 0.5 * expected / 5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [None, 4])
def test_the_item_side_pass_is_a_step_down_the_loss_of_all_items(make_distillation, n):
    trainer = make_distillation(
        "BPR", n_uninteresting_users=n, learner="sgd", learning_rate=0.1, weight_decay=0.0
    )
    masks = spy_masks(trainer._teaching._items)
    before = state_of(trainer.model)
    users, items = trainer.model.user_embedding.weight, trainer.model.item_embedding.weight
    twin_users, twin_items = users.detach().clone().requires_grad_(), items.detach().clone().requires_grad_()
    trainer.after_epoch(0, show_progress=False)
    expected = 0.0
    assert set(masks) == set(range(1, trainer.block.n_items))
    for item, mask in masks.items():
        drawn, allowed = set(mask.nonzero().flatten().tolist()), eligible(trainer, item, swapped=True)
        assert drawn <= allowed and len(drawn) == (len(allowed) if n is None else min(n, len(allowed)))
        expected = expected + naive_rrd(
            twin_users @ twin_items[item], trainer._knowledge.top_users[item], sorted(drawn)
        )
    (0.25 * expected / trainer.config["train_batch_size"]).backward()
    assert twin_users.grad.abs().max() > 1e-4
    torch.testing.assert_close(
        users, before["user_embedding.weight"] - 0.1 * twin_users.grad, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        items, before["item_embedding.weight"] - 0.1 * twin_items.grad, atol=1e-6, rtol=0
    )


def test_the_item_side_visits_every_item_once_in_an_order_of_the_epoch(make_distillation):
    trainer = make_distillation("BPR", student_generation_train_batch_size=16)
    visited = []
    trainer._teaching._list_wise = lambda side, rows: (
        visited.append(rows.tolist()),
        trainer.model.user_embedding.weight.sum(),
    )[1]
    for epoch in (0, 1, 0):
        trainer.after_epoch(epoch, show_progress=False)
    epochs = [sum(visited[start : start + 3], []) for start in (0, 3, 6)]
    assert [len(batch) for batch in visited[:3]] == [16, 16, 6]
    assert all(sorted(items) == list(range(1, 39)) for items in epochs)
    assert epochs[0] == epochs[2] != epochs[1]


def test_scores_are_clamped(make_distillation):
    trainer = make_distillation("BPR", distill_score_max=0.1)
    (loss,) = trainer.extra_losses(Interaction({"user_id": torch.tensor([9])}))
    users, items = vectors_of(trainer.model, "ego")
    rest = sorted(eligible(trainer, 9, swapped=False))
    listed = trainer._knowledge.top_items[9]
    torch.testing.assert_close(
        loss, 0.5 * naive_rrd(items @ users[9], listed, rest, 0.1), rtol=1e-5, atol=1e-6
    )
    assert not torch.isclose(loss, 0.5 * naive_rrd(items @ users[9], listed, rest))


def test_a_side_of_weight_zero_is_left_out(make_distillation):
    trainer = make_distillation("BPR", distill_user_weight=0.0, distill_item_weight=0.0)
    before = state_of(trainer.model)
    assert trainer.extra_losses(Interaction({"user_id": torch.tensor([9])})) == ()
    trainer.after_epoch(0, show_progress=False)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_uninteresting_ones_are_redrawn_on_schedule(make_distillation):
    trainer = make_distillation("BPR", uninteresting_redraw=3)
    drawn = []
    trainer._teaching._users.sampler.redraw = lambda: drawn.append("users")
    trainer._teaching._items.sampler.redraw = lambda: drawn.append("items")
    counts = []
    for epoch in range(8):
        trainer.before_epoch(epoch)
        counts.append(len(drawn))
    assert counts == [0, 0, 0, 2, 2, 2, 4, 4] and drawn == ["users", "items"] * 2


def test_negatives_are_neither_train_items_nor_excluded(make_distillation):
    trainer = make_distillation("BPR", epochs=2, short=())
    used = trainer.block.train_matrix.toarray() + trainer._knowledge.excluded.toarray()
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
    assert trainer.excluded() is trainer._knowledge.excluded


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_alone_estimate_the_same_loss(make_distillation, swapped):
    # so many shared columns that the estimate is nearly exact
    trainer = make_distillation("NeuMF", n_uninteresting_pairs=4000)
    side = trainer._teaching._items if swapped else trainer._teaching._users
    rows = torch.tensor([4, 9, 30])
    scores = all_scores(trainer.model)
    estimate = trainer._teaching._list_wise(side, rows)
    exact = sum(
        naive_rrd(
            (scores.T if swapped else scores)[row],
            side.interesting[row],
            sorted(eligible(trainer, row, swapped)),
        )
        for row in rows.tolist()
    )
    torch.testing.assert_close(estimate, side.weight * exact, rtol=0.01, atol=0)


def test_shared_columns_are_drawn_for_each_batch(make_distillation):
    trainer = make_distillation("NeuMF", n_uninteresting_pairs=5)
    teaching, rows = trainer._teaching, torch.tensor([4, 9])

    def losses(epoch):
        teaching.before_epoch(epoch)
        return [teaching._list_wise(teaching._users, rows).item() for _ in range(4)]

    first, second = losses(1), losses(2)
    assert len({*first, *second}) == 8
    # whichever epochs have gone before, as after an interruption
    assert losses(1) == first


def test_a_student_of_pairs_learns_from_the_teacher(make_distillation):
    keys = {"dropout_prob": 0.0, "n_uninteresting_pairs": 30}
    trainer = make_distillation("NeuMF", epochs=2, learning_rate=0.03, **keys)
    users, items = torch.arange(1, trainer.block.n_users), torch.arange(1, trainer.block.n_items)

    def losses():
        with torch.no_grad():
            return [
                trainer._teaching._list_wise(s, rows).item()
                for s, rows in ((trainer._teaching._users, users), (trainer._teaching._items, items))
            ]

    before = losses()
    trainer.run(show_progress=False)
    assert all(after < 0.95 * start for after, start in zip(losses(), before, strict=True))


def agreement(trainer):
    """Share of the teacher's lists that is in the student's own, seen items left out."""
    scores = all_scores(trainer.model)
    scores[:, 0] = -torch.inf
    seen = torch.from_numpy(trainer.block.train_matrix.toarray()) > 0
    top = scores.masked_fill(seen, -torch.inf).topk(TOP, dim=1).indices[1:]
    return (top[:, :, None] == trainer._knowledge.top_items[1:, None, :]).any(dim=2).float().mean().item()


def test_a_distilled_student_agrees_with_the_teacher_more_than_an_undistilled_one(make_distillation):
    shares = []
    for weight in (0.0, 0.3):
        keys = {"distill_user_weight": weight, "distill_item_weight": weight}
        trainer = make_distillation("BPR", epochs=5, learning_rate=0.05, short=(), **keys)
        scatter(trainer.model, scale=0.1)
        trainer.fit(trainer.block.train_loader(trainer.config, seed=1, exclude=trainer.excluded()))
        shares.append(agreement(trainer))
    assert shares[1] > shares[0] + 0.1
