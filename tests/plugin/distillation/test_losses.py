"""The losses on a few items of each user, by themselves and in stage 1."""

import math

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.loss import row_correlation
from recbole_ccd.plugin.distillation import DistillationLoss
from recbole_ccd.registry import registered
from tests.config.refused import refused
from tests.conftest import few
from tests.model.small_models import all_scores, scatter, state_of
from tests.plugin.distillation.rankings import TOP, vectors_of
from tests.plugin.stages import take_passes, terms_of

# after which a loss can be told from none
EPOCHS = {"BPR": 3, "LightGCN": 3, "NeuMF": 5}
OLDER = ["kl", "listnet", "cd", "rd"]
NEWER = ["speculative", "correlation", "comparative", "logits", "rce", "dcd", "unkd"]
OTHERS = [*OLDER, *NEWER]
# what these say is in which order a list is, and nothing of what is above items outside it
WITHIN = ["correlation", "comparative", "logits"]
WITH_ITEM_SIDE = ["correlation", "dcd"]
BATCH = Interaction({"user_id": torch.tensor([4, 9, 4, 30, 9])})
USERS = torch.tensor([4, 9, 30])


def listed(loss, user):
    return [item for item in loss.lists[user].tolist() if item]


def shares(values):
    return [value / sum(values) for value in values]


def test_every_loss_can_be_chosen(make_config):
    assert sorted(registered(DistillationLoss.kind)) == sorted(["rrd", *OTHERS])
    for name in ("rrd", *OTHERS):
        assert make_config(distill_loss=name)["distill_loss"] == name
    refused(
        "distill_loss is 'other'", ", ".join(sorted(["rrd", *OTHERS])), config_dict={"distill_loss": "other"}
    )


@pytest.mark.parametrize(
    ("name", "layer"), [("BPR", "ego"), ("LightGCN", "ego"), ("LightGCN", "final"), ("NeuMF", "ego")]
)
def test_scores_of_a_few_items_are_those_of_the_layer(make_loss, name, layer):
    loss = make_loss("kl", name, distill_layer=layer)
    users, items = torch.tensor([4, 9]), torch.tensor([[3, 0, 7], [1, 38, 3]])
    scores = loss.scores(users, items)
    if name == "NeuMF":
        expected = all_scores(loss.model)
    else:
        user_vectors, item_vectors = vectors_of(loss.model, layer)
        expected = user_vectors @ item_vectors.T
    torch.testing.assert_close(scores, expected[users].gather(1, items))
    assert scores.requires_grad


@pytest.mark.parametrize("name", ["kl", "listnet"])
def test_losses_on_the_list_equal_loops(make_loss, make_distillation, name):
    loss = make_loss(name, distill_temperature=3.0)
    scores, expected = all_scores(loss.model), 0.0
    for user in USERS.tolist():
        items = listed(loss, user)
        assert len(items) == (2 if user == 4 else TOP)
        p = shares([r ** (-1 / 3) for r in range(1, len(items) + 1)])
        s = [scores[user, item].item() for item in items]
        if name == "kl":
            q = shares([math.exp(x / 3) for x in s])
            expected += 9 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        else:
            q = shares([math.exp(x) for x in s])
            expected -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert loss.user_loss(USERS).item() == pytest.approx(expected, rel=1e-4)
    # the sum over distinct users, weighted, divided by the rows of the batch
    (of_batch,) = terms_of(make_distillation(name, distill_temperature=3.0).trainer, BATCH)
    assert of_batch.item() == pytest.approx(0.5 * expected / 5, rel=1e-4)


def test_cd_equals_loops_on_what_it_draws(make_loss):
    loss = make_loss("cd", distill_draws=4, uninteresting_redraw=1)
    loss.before_epoch(1)
    drawn, draw, for_the_student = [], loss.draw, set()
    loss.draw = lambda ids: drawn.append(draw(ids)) or drawn[-1]
    value = loss.user_loss(USERS)
    scores, expected = all_scores(loss.model), 0.0
    for user, items in zip(USERS.tolist(), drawn[0].tolist(), strict=True):
        places = {item: r for r, item in enumerate(listed(loss, user), start=1)}
        assert len(set(items)) == 4 and 0 not in items
        for_the_student |= set(items) - set(places)
        for item in items:
            label = places[item] ** -0.5 if item in places else 0.0
            yes = torch.sigmoid(scores[user, item]).item()
            expected -= label * math.log(yes) + (1 - label) * math.log(1 - yes)
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert for_the_student


def test_rd_equals_loops_when_the_sample_is_everything(make_loss, tiny_stream):
    loss = make_loss("rd", distill_rank_sample=1000, distill_rank_decay=4.0, distill_rank_slope=0.2)
    scores, train, expected = all_scores(loss.model), loss.seen.toarray(), 0.0
    for user in USERS.tolist():
        candidates = [i for i in range(1, tiny_stream[0].n_items) if not train[user, i]]
        weights, n = [], len(candidates)
        for r, item in enumerate(listed(loss, user), start=1):
            higher = sum((scores[user, other] > scores[user, item]).item() for other in candidates)
            rank = 1 + higher * (n - 1) // n
            weights.append(math.exp(-r / 4) * math.tanh(0.2 * max(0, rank - r)))
        assert sum(weights) > 0
        for weight, item in zip(shares(weights), listed(loss, user), strict=True):
            expected -= weight * math.log(torch.sigmoid(scores[user, item]).item())
    assert loss.user_loss(USERS).item() == pytest.approx(expected, rel=1e-4)


def test_rd_estimates_on_a_new_sample_each_time(make_loss, tiny_stream):
    loss = make_loss("rd", distill_rank_sample=7)
    asked, scores = [], loss.scores
    loss.scores = lambda users, items: asked.append(items[:, TOP:]) or scores(users, items)
    for _ in range(2):
        loss.user_loss(USERS)
    for sample in asked:
        assert torch.equal(sample, sample[:1].expand(3, 7)), "the same for all users of a batch"
        assert len(sample[0].unique()) == 7 and 0 < sample.min() and sample.max() < tiny_stream[0].n_items
    assert not torch.equal(*asked)


def frequencies(loss, user, n=3000):
    """How often each item is drawn for a user when one item is drawn."""
    drawn = loss.draw(torch.full((n,), user))
    assert drawn.shape == (n, 1)
    return torch.bincount(drawn.flatten(), minlength=loss.n_items) / n


def test_cd_draws_by_the_rank_of_the_teacher_and_then_of_the_student_too(make_loss):
    loss = make_loss("cd", distill_draws=1, distill_rank_decay=2.0, uninteresting_redraw=2)
    items = listed(loss, 9)

    def expected(ranks):
        values = shares([math.exp(-rank / 2) for rank in ranks.values()])
        result = torch.zeros(loss.n_items)
        result[list(ranks)] = torch.tensor(values)
        return result

    teacher = {item: float(r) for r, item in enumerate(items, start=1)}
    for epoch in (0, 1):
        loss.before_epoch(epoch)
        torch.testing.assert_close(frequencies(loss, 9), expected(teacher), atol=0.04, rtol=0)
    loss.before_epoch(2)
    scores = all_scores(loss.model)[9]
    seen = loss.seen.toarray()[9] > 0
    scores[torch.from_numpy(seen)], scores[0] = -torch.inf, -torch.inf
    student = {item: float(r) for r, item in enumerate(scores.topk(TOP).indices.tolist(), start=1)}
    better = {i: min(ranks.get(i, math.inf) for ranks in (teacher, student)) for i in {**teacher, **student}}
    assert better != teacher
    torch.testing.assert_close(frequencies(loss, 9), expected(better), atol=0.04, rtol=0)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF"])
def test_the_students_lists_are_its_best_unseen_items(make_loss, name):
    loss = make_loss("cd", name, distill_layer="final")
    scores = all_scores(loss.model)
    scores[torch.from_numpy(loss.seen.toarray()) > 0] = -torch.inf
    scores[:, 0] = -torch.inf
    assert torch.equal(loss.top_items()[1:], scores[1:].topk(TOP).indices)


@pytest.mark.parametrize("loss", OTHERS)
@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_nothing_but_known_unseen_items_and_the_batchs_users_is_distilled(
    make_distillation, monkeypatch, loss, name
):
    trainer = make_distillation(loss, name, uninteresting_redraw=1).trainer
    train, asked = trainer.block.train_matrix.toarray(), []
    scores = DistillationLoss.scores

    def record(self, users, items):
        result = scores(self, users, items)
        # proposals are made without a gradient
        if result.requires_grad:
            result.retain_grad()
            asked.append((users, items, result))
        return result

    monkeypatch.setattr(DistillationLoss, "scores", record)
    (plugin,) = trainer.plugins
    for epoch in (0, 1):
        plugin.before_epoch(epoch)
        trainer.model.train()
        (value,) = terms_of(trainer, BATCH)
        value.backward()
    assert len(asked) == 2
    for users, items, result in asked:
        assert users.tolist() == [4, 9, 30] and items.shape == result.shape
        assert items.max() < trainer.block.n_items
        row, column = result.grad.nonzero(as_tuple=True)
        distilled = items[row, column]
        assert len(distilled) and distilled.min() > 0
        assert not train[users[row], distilled].any()
    if name == "BPR":
        users, items = trainer.model.user_embedding.weight.grad, trainer.model.item_embedding.weight.grad
        assert users.abs().sum(1).nonzero().flatten().tolist() == [4, 9, 30]
        assert not items[0].any() and items.any()


@pytest.mark.parametrize("name", OTHERS)
def test_a_user_without_a_list_adds_nothing(make_loss, name):
    loss = make_loss(name)
    loss.lists[9] = 0
    if name == "unkd":
        loss._group_lists[9] = 0
    value = loss.user_loss(torch.tensor([9]))
    (gradient,) = torch.autograd.grad(value, loss.model.user_embedding.weight)
    assert value.item() == 0 and not gradient.any()


@pytest.mark.parametrize("loss", [name for name in OTHERS if name not in WITH_ITEM_SIDE])
def test_there_is_no_item_side(make_distillation, make_loss, loss):
    trainer = make_distillation(loss, distill_item_weight=1.0).trainer
    before = state_of(trainer.model)
    take_passes(trainer)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    assert terms_of(make_distillation(loss, distill_user_weight=0.0).trainer, BATCH) == ()
    with pytest.raises(ValueError, match="has no item side"):
        make_loss(loss).item_loss(USERS)


def agreement(stage):
    """Share of the teacher's items that the student ranks as high, place r counting 1/r."""
    scores = all_scores(stage.trainer.model)
    scores[torch.from_numpy(stage.trainer.block.train_matrix.toarray()) > 0] = -torch.inf
    scores[:, 0] = -torch.inf
    top, listed = scores.topk(TOP, dim=1).indices[1:], stage.rankings.top_items[1:]
    worth = 1 / torch.arange(1.0, TOP + 1)
    hits = (listed[:, :, None] == top[:, None, :]).any(dim=2)
    return ((hits * worth).sum(dim=1) / worth.sum()).mean().item()


def order(stage):
    """Mean correlation of the student's scores with the places of a list, from -1 to 1 for its order."""
    listed = stage.rankings.top_items[1:]
    scores = all_scores(stage.trainer.model)[1:].gather(1, listed)
    places = torch.arange(1.0, TOP + 1).expand_as(scores)
    return -row_correlation(scores, places, listed > 0).mean().item()


def trained(make_distillation, loss, name="BPR", weight=3.0, **keys):
    """A stage after a few epochs from small weights."""
    rate = 0.03 if name == "NeuMF" else 0.05
    keys = {"distill_user_weight": weight, "learning_rate": rate, "uninteresting_redraw": 2, **keys}
    keys |= {"dropout_prob": 0.0} if name == "NeuMF" else {}
    stage = make_distillation(loss, name, short=(), **{"epochs": EPOCHS[name], **keys})
    scatter(stage.trainer.model, scale=0.1)
    stage.trainer.run(show_progress=False)
    return stage


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_every_loss_brings_the_student_nearer_to_the_teachers_list(make_distillation, name):
    losses = [loss for loss in OTHERS if loss not in WITHIN]
    undistilled = agreement(trained(make_distillation, "kl", name, weight=0.0))
    after = {loss: agreement(trained(make_distillation, loss, name)) for loss in losses}
    assert {loss: share for loss, share in after.items() if share < undistilled + 0.05} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_so_does_every_loss_within_a_list_in_its_order(make_distillation, name):
    undistilled = order(trained(make_distillation, "kl", name, weight=0.0))
    after = {loss: order(trained(make_distillation, loss, name)) for loss in WITHIN}
    assert {loss: value for loss, value in after.items() if value < undistilled + 0.1} == {}


@pytest.mark.parametrize("loss", few(["rrd", *OTHERS], "cd"))
def test_two_runs_are_equal_bit_for_bit(make_distillation, loss):
    keys = {"epochs": 3, "weight": 0.5, "distill_rank_sample": 10, "distill_draws": 3}
    one, other = (
        state_of(trained(make_distillation, loss, "LightGCN", **keys).trainer.model) for _ in range(2)
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_draws_depend_on_the_epoch_alone(make_loss):
    losses = []
    for epochs in ((0, 1), (1, 0)):
        loss = make_loss("rd", distill_rank_sample=5)
        for epoch in epochs:
            loss.before_epoch(epoch)
            losses.append(loss.user_loss(USERS).item())
    assert losses[0] == losses[3] != losses[1] == losses[2]


def test_rrd_does_not_know_the_others_settings(make_distillation):
    settings = [{}, {"distill_temperature": 5.0, "distill_draws": 1, "distill_rank_decay": 1.0}]
    stages = [trained(make_distillation, "rrd", epochs=2, **keys) for keys in settings]
    one, other = (state_of(stage.trainer.model) for stage in stages)
    assert all(torch.equal(one[key], other[key]) for key in one)
