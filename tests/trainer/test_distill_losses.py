"""The losses that can take the place of RRD, in the trainer that uses them."""

import math

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole_ccd.trainer.distill_losses import USER_LOSSES
from recbole_ccd.trainer.distillation import DistillationTrainer

from recbole_ccd.config.checks import CHECKS
from recbole_ccd.trainer import make_trainer
from tests.conftest import few
from tests.model.small_models import all_scores, scatter, small_model, state_of
from tests.trainer.test_distillation_trainer import TOP, fixed_teacher, knowledge_of, vectors_of

# after which a loss can be told from none
EPOCHS = {"BPR": 3, "LightGCN": 3, "NeuMF": 5}
OTHERS = ["kl", "listnet", "cd", "rd"]
BATCH = Interaction({"user_id": torch.tensor([4, 9, 4, 30, 9])})


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_distillation(make_config, tiny_stream, tmp_path):
    """Makes a trainer with a loss that has been told a fixed teacher's lists for block 0."""

    def make(loss, name="BPR", short=(4,), **keys):
        run = {"run_dir": str(tmp_path / "run"), "checkpoint_dir": str(tmp_path / "run")}
        settings = {"distill_loss": loss, "distill_user_weight": 0.5, **run, **keys}
        config, model = small_model(make_config, name, tiny_stream[0], **settings)
        trainer = make_trainer(DistillationTrainer, config.for_stage("student_generation"), model)
        trainer.at_block(tiny_stream[0], "block 0", seed=3)
        return trainer.learn_from(knowledge_of(tiny_stream[0], fixed_teacher(tiny_stream[0]), short=short))

    return make


def loss_of(trainer, users=(4, 9, 30)):
    """The trainer's loss of users that is not RRD, and the loss itself."""
    return trainer._teaching._alternative(torch.tensor(users)), trainer._teaching._alternative


def listed(trainer, user):
    return [item for item in trainer._knowledge.top_items[user].tolist() if item]


def shares(values):
    return [value / sum(values) for value in values]


def test_every_loss_can_be_chosen():
    accepted = [name for name in ("rrd", *USER_LOSSES) if CHECKS["distill_loss"].accepts(name)]
    assert accepted == ["rrd", *OTHERS] and not CHECKS["distill_loss"].accepts("other")


@pytest.mark.parametrize(
    ("name", "layer"), [("BPR", "ego"), ("LightGCN", "ego"), ("LightGCN", "final"), ("NeuMF", "ego")]
)
def test_scores_of_a_few_items_are_those_of_the_layer(make_distillation, name, layer):
    trainer = make_distillation("kl", name, distill_layer=layer)
    users, items = torch.tensor([4, 9]), torch.tensor([[3, 0, 7], [1, 38, 3]])
    scores = trainer._teaching._alternative.scores(users, items)
    if name == "NeuMF":
        expected = all_scores(trainer.model)
    else:
        user_vectors, item_vectors = vectors_of(trainer.model, layer)
        expected = user_vectors @ item_vectors.T
    torch.testing.assert_close(scores, expected[users].gather(1, items))
    assert scores.requires_grad


@pytest.mark.parametrize("loss", ["kl", "listnet"])
def test_losses_on_the_list_equal_loops(make_distillation, loss):
    trainer = make_distillation(loss, distill_temperature=3.0)
    value, _ = loss_of(trainer)
    scores, expected = all_scores(trainer.model), 0.0
    for user in (4, 9, 30):
        items = listed(trainer, user)
        assert len(items) == (2 if user == 4 else TOP)
        p = shares([r ** (-1 / 3) for r in range(1, len(items) + 1)])
        s = [scores[user, item].item() for item in items]
        if loss == "kl":
            q = shares([math.exp(x / 3) for x in s])
            expected += 9 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        else:
            q = shares([math.exp(x) for x in s])
            expected -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    assert value.item() == pytest.approx(expected, rel=1e-4)
    # the sum over distinct users, weighted, divided by the rows of the batch
    (of_batch,) = trainer.extra_losses(BATCH)
    assert of_batch.item() == pytest.approx(0.5 * expected / 5, rel=1e-4)


def test_cd_equals_loops_on_what_it_draws(make_distillation):
    trainer = make_distillation("cd", distill_draws=4, uninteresting_redraw=1)
    trainer.before_epoch(1)
    users, drawn, draw, for_the_student = [4, 9, 30], [], trainer._teaching._alternative.draw, set()
    trainer._teaching._alternative.draw = lambda ids: drawn.append(draw(ids)) or drawn[-1]
    value, _ = loss_of(trainer, users)
    scores, expected = all_scores(trainer.model), 0.0
    for user, items in zip(users, drawn[0].tolist(), strict=True):
        places = {item: r for r, item in enumerate(listed(trainer, user), start=1)}
        assert len(set(items)) == 4 and 0 not in items
        for_the_student |= set(items) - set(places)
        for item in items:
            label = places[item] ** -0.5 if item in places else 0.0
            yes = torch.sigmoid(scores[user, item]).item()
            expected -= label * math.log(yes) + (1 - label) * math.log(1 - yes)
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert for_the_student


def test_rd_equals_loops_when_the_sample_is_everything(make_distillation):
    trainer = make_distillation(
        "rd", distill_rank_sample=1000, distill_rank_decay=4.0, distill_rank_slope=0.2
    )
    value, _ = loss_of(trainer)
    scores, train, expected = all_scores(trainer.model), trainer.block.train_matrix.toarray(), 0.0
    for user in (4, 9, 30):
        candidates = [i for i in range(1, trainer.block.n_items) if not train[user, i]]
        weights, n = [], len(candidates)
        for r, item in enumerate(listed(trainer, user), start=1):
            higher = sum((scores[user, other] > scores[user, item]).item() for other in candidates)
            rank = 1 + higher * (n - 1) // n
            weights.append(math.exp(-r / 4) * math.tanh(0.2 * max(0, rank - r)))
        assert sum(weights) > 0
        for weight, item in zip(shares(weights), listed(trainer, user), strict=True):
            expected -= weight * math.log(torch.sigmoid(scores[user, item]).item())
    assert value.item() == pytest.approx(expected, rel=1e-4)


def test_rd_estimates_on_a_new_sample_each_time(make_distillation):
    trainer = make_distillation("rd", distill_rank_sample=7)
    samples = [trainer._teaching._alternative._sample().tolist() for _ in range(2)]
    for sample in samples:
        assert len(set(sample)) == 7 and 0 < min(sample) and max(sample) < trainer.block.n_items
    assert samples[0] != samples[1]


def frequencies(trainer, user, n=3000):
    """How often each item is drawn for a user when one item is drawn."""
    drawn = trainer._teaching._alternative.draw(torch.full((n,), user))
    assert drawn.shape == (n, 1)
    return torch.bincount(drawn.flatten(), minlength=trainer.block.n_items) / n


def test_cd_draws_by_the_rank_of_the_teacher_and_then_of_the_student_too(make_distillation):
    trainer = make_distillation("cd", distill_draws=1, distill_rank_decay=2.0, uninteresting_redraw=2)
    items = listed(trainer, 9)

    def expected(ranks):
        values = shares([math.exp(-rank / 2) for rank in ranks.values()])
        result = torch.zeros(trainer.block.n_items)
        result[list(ranks)] = torch.tensor(values)
        return result

    teacher = {item: float(r) for r, item in enumerate(items, start=1)}
    for epoch in (0, 1):
        trainer.before_epoch(epoch)
        torch.testing.assert_close(frequencies(trainer, 9), expected(teacher), atol=0.04, rtol=0)
    trainer.before_epoch(2)
    scores = all_scores(trainer.model)[9]
    seen = trainer.block.train_matrix.toarray()[9] > 0
    scores[torch.from_numpy(seen)], scores[0] = -torch.inf, -torch.inf
    student = {item: float(r) for r, item in enumerate(scores.topk(TOP).indices.tolist(), start=1)}
    better = {i: min(ranks.get(i, math.inf) for ranks in (teacher, student)) for i in {**teacher, **student}}
    assert better != teacher
    torch.testing.assert_close(frequencies(trainer, 9), expected(better), atol=0.04, rtol=0)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF"])
def test_the_students_lists_are_its_best_unseen_items(make_distillation, name):
    trainer = make_distillation("cd", name, distill_layer="final")
    scores = all_scores(trainer.model)
    scores[torch.from_numpy(trainer.block.train_matrix.toarray()) > 0] = -torch.inf
    scores[:, 0] = -torch.inf
    assert torch.equal(trainer._teaching._alternative.top_items()[1:], scores[1:].topk(TOP).indices)


@pytest.mark.parametrize("loss", OTHERS)
@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_nothing_but_known_unseen_items_and_the_batchs_users_is_taught(make_distillation, loss, name):
    trainer = make_distillation(loss, name, uninteresting_redraw=1)
    train, asked = trainer.block.train_matrix.toarray(), []
    scores = trainer._teaching._alternative.scores

    def record(users, items):
        result = scores(users, items)
        result.retain_grad()
        asked.append((users, items, result))
        return result

    trainer._teaching._alternative.scores = record
    for epoch in (0, 1):
        trainer.before_epoch(epoch)
        trainer.model.train()
        (value,) = trainer.extra_losses(BATCH)
        value.backward()
    assert len(asked) == 2
    for users, items, result in asked:
        assert users.tolist() == [4, 9, 30] and items.shape == result.shape
        assert items.max() < trainer.block.n_items
        row, column = result.grad.nonzero(as_tuple=True)
        taught = items[row, column]
        assert len(taught) and taught.min() > 0
        assert not train[users[row], taught].any()
    if name == "BPR":
        users, items = trainer.model.user_embedding.weight.grad, trainer.model.item_embedding.weight.grad
        assert users.abs().sum(1).nonzero().flatten().tolist() == [4, 9, 30]
        assert not items[0].any() and items.any()


@pytest.mark.parametrize("loss", OTHERS)
def test_a_user_without_a_list_adds_nothing(make_distillation, loss):
    trainer = make_distillation(loss)
    trainer._teaching._alternative.lists[9] = 0
    users = trainer.model.user_embedding.weight
    value, _ = loss_of(trainer, (9,))
    (gradient,) = torch.autograd.grad(value, users)
    assert value.item() == 0 and not gradient.any()


@pytest.mark.parametrize("loss", OTHERS)
def test_there_is_no_item_side(make_distillation, loss):
    trainer = make_distillation(loss, distill_item_weight=1.0)
    before = state_of(trainer.model)
    trainer.after_epoch(0, show_progress=False)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    assert make_distillation(loss, distill_user_weight=0.0).extra_losses(BATCH) == ()


def agreement(trainer):
    """Share of the teacher's items that the student ranks as high, place r counting 1/r."""
    scores = all_scores(trainer.model)
    scores[torch.from_numpy(trainer.block.train_matrix.toarray()) > 0] = -torch.inf
    scores[:, 0] = -torch.inf
    top, taught = scores.topk(TOP, dim=1).indices[1:], trainer._knowledge.top_items[1:]
    worth = 1 / torch.arange(1.0, TOP + 1)
    hits = (taught[:, :, None] == top[:, None, :]).any(dim=2)
    return ((hits * worth).sum(dim=1) / worth.sum()).mean().item()


def trained(make_distillation, loss, name="BPR", weight=3.0, **keys):
    """A trainer after a few epochs from small weights."""
    rate = 0.03 if name == "NeuMF" else 0.05
    keys = {"distill_user_weight": weight, "learning_rate": rate, "uninteresting_redraw": 2, **keys}
    keys |= {"dropout_prob": 0.0} if name == "NeuMF" else {}
    trainer = make_distillation(loss, name, short=(), **{"epochs": EPOCHS[name], **keys})
    scatter(trainer.model, scale=0.1)
    trainer.run(show_progress=False)
    return trainer


@pytest.mark.parametrize(
    ("name", "losses"),
    [("BPR", OTHERS), pytest.param("NeuMF", OTHERS, marks=pytest.mark.slow)],
    ids=["BPR", "NeuMF"],
)
def test_every_loss_brings_the_student_nearer_to_the_teachers_list(make_distillation, name, losses):
    undistilled = agreement(trained(make_distillation, "kl", name, weight=0.0))
    after = {loss: agreement(trained(make_distillation, loss, name)) for loss in losses}
    assert {loss: share for loss, share in after.items() if share < undistilled + 0.05} == {}


@pytest.mark.parametrize("loss", few(["rrd", *OTHERS], "cd"))
def test_two_runs_are_equal_bit_for_bit(make_distillation, loss):
    keys = {"epochs": 3, "weight": 0.5, "distill_rank_sample": 10, "distill_draws": 3}
    one, other = (state_of(trained(make_distillation, loss, "LightGCN", **keys).model) for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_draws_depend_on_the_epoch_alone(make_distillation):
    losses = []
    for epochs in ((0, 1), (1, 0)):
        trainer = make_distillation("rd", distill_rank_sample=5)
        for epoch in epochs:
            trainer.before_epoch(epoch)
            losses.append(trainer.extra_losses(BATCH)[0].item())
    assert losses[0] == losses[3] != losses[1] == losses[2]


def test_rrd_does_not_know_the_others_settings(make_distillation):
    settings = [{}, {"distill_temperature": 5.0, "distill_draws": 1, "distill_rank_decay": 1.0}]
    one, other = (state_of(trained(make_distillation, "rrd", epochs=2, **keys).model) for keys in settings)
    assert all(torch.equal(one[key], other[key]) for key in one)
