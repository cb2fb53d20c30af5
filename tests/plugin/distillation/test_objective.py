"""Several distillation losses in one objective, each with its weight."""

import pytest
import torch

from recbole_ccd.plugin.distillation import DistillationLoss, DistillationObjective, wants_item_lists
from recbole_ccd.registry import registered
from tests.config.refused import refused
from tests.model.small_models import small_model
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of

USERS = torch.tensor([4, 9, 30])


@pytest.fixture
def make_objective(make_config, tiny_stream):
    """Makes an objective, or one of our losses by itself, on the lists of block 0."""

    def make(losses, weights=None, exclusive=None, **keys):
        block = tiny_stream[0]
        settings = {"distill_user_weight": 0.5, "distill_item_weight": 0.25}
        settings |= {"distill_loss": losses, "distill_loss_weights": weights, **keys}
        config, model = small_model(make_config, "BPR", block, **settings)
        rankings = rankings_of(block, fixed_teacher(block))
        kind = DistillationObjective if exclusive is None else registered(DistillationLoss.kind)[exclusive]
        return kind(config, model, rankings, block.train_matrix, seed=3)

    return make


def test_it_is_the_weighted_sum_of_its_losses(make_objective):
    objective = make_objective(["rrd", "kl"], [2.0, 0.3])
    rrd, kl = (make_objective("rrd", exclusive=name) for name in ("rrd", "kl"))
    expected = 0.5 * (2.0 * rrd.user_loss(USERS) + 0.3 * kl.user_loss(USERS))
    assert torch.equal(objective.user_loss(USERS), expected)
    # the item side is that of the one loss that has any
    assert torch.equal(objective.item_loss(USERS), 0.25 * (2.0 * rrd.item_loss(USERS)))
    assert objective.has_users and objective.has_items


def test_losses_draw_by_themselves(make_objective):
    names = ["cd", "rd"]
    keys = {"distill_draws": 3, "distill_rank_sample": 5, "uninteresting_redraw": 1}
    several = [make_objective(order, **keys) for order in (names, names[::-1])]
    exclusive = [make_objective("rrd", exclusive=name, **keys) for name in names]
    for epoch in (0, 1, 2):
        for loss in (*several, *exclusive):
            loss.before_epoch(epoch)
        expected = 0.5 * (exclusive[0].user_loss(USERS) + exclusive[1].user_loss(USERS))
        # a sum of two is the same in either order
        assert all(torch.equal(objective.user_loss(USERS), expected) for objective in several)


@pytest.mark.parametrize(
    ("losses", "weights", "kept"), [(["rrd", "kl"], [1, 0], "rrd"), (["kl", "cd"], [0.0, 1], "cd")]
)
def test_a_loss_of_weight_zero_is_none(make_objective, losses, weights, kept):
    objective, single = make_objective(losses, weights), make_objective(kept)
    assert torch.equal(objective.user_loss(USERS), single.user_loss(USERS))
    assert objective.has_items == single.has_items
    assert objective.state_dict().keys() == {kept}


def test_without_any_weight_there_is_nothing(make_objective):
    objective = make_objective(["rrd", "kl"], [0, 0])
    assert not objective.has_users and not objective.has_items and objective.state_dict() == {}


def test_lists_of_items_are_wanted_for_a_side_that_is_taught(make_config):
    def wanted(**keys):
        return wants_item_lists(make_config(**keys))

    assert wanted() and wanted(distill_loss=["kl", "rrd"])
    assert not wanted(distill_loss=["kl", "rrd"], distill_loss_weights=[1, 0])
    assert not wanted(distill_item_weight=0.0) and not wanted(distill_loss="kl")


def test_it_goes_on_with_what_each_loss_has_drawn(make_objective):
    keys = {"uninteresting_redraw": 1, "n_uninteresting_items": 5}
    one, other = (make_objective(["rrd", "cd"], **keys) for _ in range(2))
    for epoch in (0, 1):
        one.before_epoch(epoch)
    other.load_state_dict(one.state_dict())
    for objective in (one, other):
        objective.before_epoch(2)
    assert torch.equal(one.user_loss(USERS), other.user_loss(USERS))


def test_lists_of_losses_and_weights_that_cannot_be_used():
    refused(
        "distill_loss is ['rrd', 'other']",
        "cd, comparative, correlation",
        argv=["--distill_loss=[rrd,other]"],
    )
    refused("distill_loss is ['kl', 'kl']", "different ones", argv=["--distill_loss=[kl,kl]"])
    refused("distill_loss is []", "give one of", argv=["--distill_loss=[]"])
    refused(
        "distill_loss_weights has 1 entries (command line), and distill_loss 2 (command line)",
        "give one per loss",
        argv=["--distill_loss=[rrd,kl]", "--distill_loss_weights=[1]"],
    )
    refused("distill_loss_weights is [-1]", "a number >= 0", argv=["--distill_loss_weights=[-1]"])
