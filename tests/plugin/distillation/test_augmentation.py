"""Augmented users: mixtures of two, and users on a part of the graph, under the same losses."""

from dataclasses import replace

import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.data.sparse import pairs_matrix
from recbole_ccd.model.graph_part import drawn_pairs, graph_of, without
from recbole_ccd.plugin.distillation import DistillationLoss, DistillationObjective, check_ways
from recbole_ccd.plugin.distillation.edge_dropout import EdgeDropout
from recbole_ccd.plugin.distillation.kl import SoftTargetKL
from recbole_ccd.plugin.distillation.mixup import Mixup
from recbole_ccd.plugin.distillation.student import StudentView
from recbole_ccd.plugin.distillation.weighted import DistillationTask, WeightedLosses, chosen_losses
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.registry import registered
from recbole_ccd.utils.errors import ConfigError
from recbole_ccd.utils.seeding import torch_generator
from tests.loss.test_mixup import naive
from tests.model.small_models import all_scores, small_model
from tests.plugin.distillation.rankings import eligible, fixed_teacher, naive_rrd, rankings_of, vectors_of

USERS, PARTNERS = torch.tensor([4, 9, 30]), torch.tensor([9, 11, 30])
SHARES = torch.tensor([0.7, 0.2, 0.5])


@pytest.fixture
def make_task(make_config, tiny_stream):
    """Makes what is distilled on block 0."""

    def make(name="BPR", loss="rrd", **keys):
        block = tiny_stream[0]
        settings = {"distill_user_weight": 0.5, "distill_loss": loss, **keys}
        ways = {key: settings.pop(key) for key in ("augmentation_drop",) if key in settings}
        config, model = small_model(make_config, name, block, **settings)
        for key, value in ways.items():
            config[key] = value
        view = StudentView(model, config["distill_layer"])
        rankings = rankings_of(block, fixed_teacher(block), short=(4,))
        return DistillationTask(config, chosen_losses(config), model, rankings, block.train_matrix, 3, view)

    return make


def mixup_of(task):
    return Mixup(task, WeightedLosses(task))


def dropout_of(task):
    return EdgeDropout(task, WeightedLosses(task))


def objective_of(task):
    return DistillationObjective(task.config, task.model, task.rankings, task.seen, task.seed)


class Given(StudentView):
    """Shows vectors as they are given."""

    def __init__(self, users, items):
        self._vectors = torch.tensor(users), torch.tensor(items)

    def vectors(self):
        return self._vectors


def test_the_number_of_the_formula(make_task):
    lists, none = torch.tensor([[0, 0], [1, 2], [2, 3]]), torch.zeros(4, 0, dtype=torch.int64)
    rankings = TeacherRankings(lists, none, pairs_matrix([lists], 3, 4), lists)
    # 3 is in the list of one of the two, and yet none of those of their mixture
    rankings = replace(rankings, excluded=csr_matrix((3, 4)))
    view = Given([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    task = replace(make_task(), rankings=rankings, seen=csr_matrix((3, 4)), view=view)
    losses = mixup_of(task).losses_of(torch.tensor([1]), torch.tensor([2]), torch.tensor([0.7]))
    assert losses.user_loss(torch.tensor([1])).item() == pytest.approx(1.508502, abs=1e-5)


@pytest.mark.parametrize(("name", "layer"), [("BPR", "ego"), ("LightGCN", "final")])
def test_a_mixture_is_a_user_between_two(make_task, tiny_stream, name, layer):
    task = make_task(name, distill_layer=layer)
    mixup = mixup_of(task)
    loss = mixup.losses_of(USERS, PARTNERS, SHARES).user_loss(torch.arange(1, 4))
    (users, items), expected = vectors_of(task.model, layer), 0.0
    lists = mixup._task.rankings.top_items
    for u, v, share in zip(USERS.tolist(), PARTNERS.tolist(), SHARES, strict=True):
        listed = torch.tensor(naive(lists[u].tolist(), lists[v].tolist(), share.item()))
        rest = set.intersection(*(_free(tiny_stream[0], task.rankings, user) for user in (u, v)))
        scores = items @ (share * users[u] + (1 - share) * users[v])
        expected = expected + naive_rrd(scores, listed, sorted(rest - set(listed.tolist())))
    torch.testing.assert_close(loss, expected)


def _free(block, rankings, user):
    """Columns that a user has neither seen nor is excluded from."""
    listed = {j for j in rankings.top_items[user].tolist() if j}
    excluded = set(rankings.excluded[user].indices.tolist())
    return eligible(block, rankings, user, swapped=False) | (listed - excluded)


@pytest.mark.parametrize("loss", ["rrd", "kl", "cd", "rd", "listnet"])
def test_a_mixture_of_one_user_is_the_user(make_task, loss):
    task = make_task(loss=loss, distill_rank_sample=1000, distill_draws=10**4)
    mixture = mixup_of(task).losses_of(USERS, USERS, SHARES)
    plain = WeightedLosses(task)
    torch.testing.assert_close(mixture.user_loss(torch.arange(1, 4)), plain.user_loss(USERS))
    # who has no share in it does not count
    alone = mixup_of(task).losses_of(USERS, USERS.flip(0), torch.ones(3))
    if loss in ("kl", "listnet"):
        assert torch.equal(alone.user_loss(torch.arange(1, 4)), plain.user_loss(USERS))


@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
@pytest.mark.parametrize("loss", sorted({*registered(DistillationLoss.kind)} - {"comparative"}))
def test_the_losses_of_users_add_up(make_task, name, loss):
    losses = WeightedLosses(make_task(name, loss))
    losses.before_epoch(0)
    whole = losses.user_loss(USERS)
    # what is drawn for a batch is drawn anew
    losses.before_epoch(0)
    found = losses.user_losses(USERS)
    assert found.shape == (3,) and found.sum().item() == pytest.approx(whole.item(), rel=1e-5)


def test_mixtures_with_the_largest_loss_are_learned(make_task):
    task = make_task(loss="kl", distill_augmentation="mixup", distill_pick=3)
    mixup, made = mixup_of(task), []
    losses_of = mixup.losses_of
    mixup.losses_of = lambda *args: made.append((args, losses_of(*args))) or made[-1][1]
    value = mixup.user_loss(USERS)
    ((users, partners, shares), losses) = made[0]
    assert users.tolist() == USERS.tolist() * 3 and ((0 < shares) & (shares < 1)).all()
    for pool in partners.split(3):
        assert sorted(pool.tolist()) == USERS.tolist()
    each = sorted(losses.user_losses(torch.arange(1, 10)).tolist(), reverse=True)
    assert value.item() == pytest.approx(sum(each[:3]), rel=1e-5) and each[2] > each[3]


def test_losses_that_do_not_tell_are_not_picked_from(make_config, monkeypatch):
    config = make_config("BPR", distill_loss=["rrd", "kl"], distill_augmentation="mixup", distill_pick=2)
    check_ways(config)
    monkeypatch.delattr(SoftTargetKL, "user_losses")
    with pytest.raises(
        ConfigError, match="^distill_pick is 2, and distill_loss kl does not tell the loss of"
    ):
        check_ways(config)
    with pytest.raises(ValueError, match="does not tell"):
        SoftTargetKL.user_losses(None, USERS)


@pytest.mark.parametrize("kind", ["mixup", "edge_dropout"])
def test_the_term_is_added_with_its_weight(make_task, kind):
    keys = {"loss": ["kl", "rd"], "distill_loss_weights": [1.0, 2.0], "distill_layer": "final"}
    plain, one, none = (
        make_task("LightGCN", **keys, distill_augmentation=way, augmentation_weight=weight)
        for way, weight in ((None, 1.0), (kind, 0.3), (kind, 0.0))
    )
    augmentation = {"mixup": mixup_of, "edge_dropout": dropout_of}[kind](one)
    for epoch in (0, 1):
        found = []
        for objective in map(objective_of, (plain, one, none)):
            objective.before_epoch(epoch)
            found.append(objective.user_loss(USERS))
        augmentation.before_epoch(epoch)
        expected = found[0] + 0.5 * 0.3 * augmentation.user_loss(USERS)
        torch.testing.assert_close(found[1], expected)
        assert torch.equal(found[0], found[2]) and found[0] != found[1]


def test_draws_of_mixtures_depend_on_the_epoch_alone(make_task):
    found = []
    for epochs in ((0, 1), (1, 0)):
        mixup = mixup_of(make_task(loss="rd", distill_rank_sample=5))
        for epoch in epochs:
            mixup.before_epoch(epoch)
            found.append([mixup.user_loss(USERS).item() for _ in range(2)])
    assert found[0] == found[3] != found[1] == found[2] and found[0][0] != found[0][1]


@pytest.mark.parametrize("name", ["LightGCN", "SGL", "NGCF"])
def test_users_are_distilled_on_the_part_of_the_graph_that_is_left(make_task, name):
    keys = {"message_dropout": 0.0} if name == "NGCF" else {}
    task = make_task(name, "kl", distill_layer="final", augmentation_drop=0.3, **keys)
    dropout, graph = dropout_of(task), graph_of(task.model)
    dropout.before_epoch(2)
    dropped = drawn_pairs(graph, 0.3, torch_generator(3, "dropped edges", 2))
    left = without(task.model, dropped)
    expected = WeightedLosses(replace(task, view=StudentView(left, "final"))).user_loss(USERS)
    assert torch.equal(dropout.user_loss(USERS), expected)
    assert not torch.equal(expected, WeightedLosses(task).user_loss(USERS))


def test_without_a_dropped_edge_it_is_the_plain_term(make_task):
    task = make_task("LightGCN", "kl", distill_layer="final", augmentation_drop=0.0)
    before = all_scores(task.model)
    assert torch.equal(dropout_of(task).user_loss(USERS), WeightedLosses(task).user_loss(USERS))
    assert torch.equal(before, all_scores(task.model))


@pytest.mark.parametrize("loss", ["speculative", "rce", "dcd", "correlation", "comparative", "logits"])
def test_any_loss_learns_of_mixtures(make_task, loss):
    task = make_task(loss=loss, distill_augmentation="mixup", distill_layer="final")
    task.model.train()
    objective = objective_of(task)
    objective.before_epoch(0)
    task.model.train()
    alone = objective_of(make_task(loss=loss))
    alone.before_epoch(0)
    value = objective.user_loss(USERS)
    assert torch.isfinite(value) and not torch.equal(value, alone.user_loss(USERS))
    assert task.model.training
    value.backward()
    assert task.model.user_embedding.weight.grad[USERS].abs().sum(dim=1).all()


def test_what_a_loss_learns_is_one_for_users_and_mixtures(make_task):
    task = make_task(loss="logits", distill_augmentation="mixup")
    objective = objective_of(task)
    shift, _ = objective.parameters()
    terms = [objective._losses, objective._augmentation]
    gradients = [torch.autograd.grad(term.user_loss(USERS), shift)[0] for term in terms]
    objective._augmentation.before_epoch(0)
    (both,) = torch.autograd.grad(objective.user_loss(USERS), shift)
    torch.testing.assert_close(both, 0.5 * sum(gradients))
    assert all(gradients)
