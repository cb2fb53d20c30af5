"""Stage 1 reaches the known users whom the block does not show, in a pass of their own."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.plugin.distillation import DistillationLoss
from recbole_ccd.plugin.distillation.rrd import RelaxedRankingDistillation
from recbole_ccd.registry import registered
from tests.model.small_models import state_of
from tests.plugin.distillation.rankings import distilling, eligible, naive_rrd
from tests.plugin.stages import take_passes, terms_of


@pytest.fixture
def block(tiny_stream):
    """The first rows of a block, in which most users do not occur."""
    return tiny_stream[1].parts(60)[0]


@pytest.fixture
def absent(block):
    """Known users without a train row."""
    present = set(block.train.inter_feat["user_id"].tolist())
    return [user for user in range(1, block.n_users) if user not in present]


@pytest.fixture
def make_distillation(make_config, block):
    """Makes a stage 1 with a users' side only, with a fixed teacher's lists."""

    def make(name="BPR", **keys):
        weights = {"distill_user_weight": 0.5, "distill_item_weight": 0.0}
        return distilling(make_config, block, name, (), **{**weights, **keys})

    return make


def test_each_is_visited_once_in_an_order_of_the_epoch(make_distillation, block, absent, monkeypatch):
    trainer, visited = make_distillation(student_generation_train_batch_size=8).trainer, []

    def note(loss, users):
        visited.append(users.tolist())
        return loss.model.user_embedding.weight.sum()

    monkeypatch.setattr(RelaxedRankingDistillation, "user_loss", note)
    epochs = []
    for epoch in (0, 1, 0):
        visited.clear()
        take_passes(trainer, epoch)
        assert max(map(len, visited)) == 8
        epochs.append(sum(visited, []))
    assert 5 < len(absent) < block.n_users - 5
    assert all(sorted(users) == absent for users in epochs) and epochs[0] == epochs[2] != epochs[1]


def test_the_pass_is_a_step_down_their_loss(make_distillation, absent):
    stage = make_distillation(learner="sgd", learning_rate=0.1, weight_decay=0.0)
    trainer = stage.trainer
    before = state_of(trainer.model)
    tables = [before[f"{who}_embedding.weight"].clone().requires_grad_() for who in ("user", "item")]
    take_passes(trainer)
    expected = sum(
        naive_rrd(
            tables[1] @ tables[0][user],
            stage.rankings.top_items[user],
            sorted(eligible(trainer.block, stage.rankings, user, swapped=False)),
        )
        for user in absent
    )
    (0.5 * expected / trainer.config["train_batch_size"]).backward()
    for who, table in zip(("user", "item"), tables, strict=True):
        after = trainer.model.state_dict()[f"{who}_embedding.weight"]
        assert table.grad.abs().max() > 1e-4
        torch.testing.assert_close(after, table.detach() - 0.1 * table.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "loss", [name for name in sorted(registered(DistillationLoss.kind)) if name != "rrd"]
)
def test_the_other_losses_reach_them_too(make_distillation, absent, loss):
    keys = {"learner": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}
    trainer = make_distillation(distill_loss=loss, **keys).trainer
    before = state_of(trainer.model)["user_embedding.weight"]
    for plugin in trainer.plugins:
        plugin.before_epoch(0)
    take_passes(trainer)
    moved = (trainer.model.user_embedding.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert moved and set(moved) <= set(absent)


@pytest.mark.parametrize("keys", [{"distill_absent_users": False}, {"distill_user_weight": 0.0}])
def test_they_are_left_out_on_request(make_distillation, keys):
    trainer = make_distillation(weight_decay=0.1, **keys).trainer
    before = state_of(trainer.model)
    take_passes(trainer)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_a_batch_distils_to_its_own_users_alone(make_distillation, block, absent):
    trainer = make_distillation().trainer
    present = [user for user in range(1, block.n_users) if user not in absent][:3]
    (loss,) = terms_of(trainer, Interaction({"user_id": torch.tensor(present)}))
    loss.backward()
    gradient = trainer.model.user_embedding.weight.grad
    assert gradient.abs().sum(dim=1).nonzero().flatten().tolist() == present
