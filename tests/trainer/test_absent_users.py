"""Stage 1 teaches the known users whom the block does not show, in a pass of their own."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole_ccd.trainer.distillation import DistillationTrainer

from recbole_ccd.trainer import make_trainer
from tests.model.small_models import small_model, state_of
from tests.trainer.test_distillation_trainer import eligible, fixed_teacher, knowledge_of, naive_rrd


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


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
def make_distillation(make_config, block, tmp_path):
    """Makes a trainer with a users' side only, that has been told a fixed teacher's lists."""

    def make(name="BPR", **keys):
        run = {"run_dir": str(tmp_path / "run"), "checkpoint_dir": str(tmp_path / "run")}
        weights = {"distill_user_weight": 0.5, "distill_item_weight": 0.0}
        config, model = small_model(make_config, name, block, **run, **{**weights, **keys})
        trainer = make_trainer(DistillationTrainer, config.for_stage("student_generation"), model)
        trainer.at_block(block, "block 1", seed=3)
        return trainer.learn_from(knowledge_of(block, fixed_teacher(block)))

    return make


def test_they_are_those_without_train_rows(make_distillation, block, absent):
    assert 5 < len(absent) < block.n_users - 5
    assert make_distillation()._absent.tolist() == absent


def test_each_is_visited_once_in_an_order_of_the_epoch(make_distillation, absent):
    trainer, visited = make_distillation(student_generation_train_batch_size=8), []
    trainer._teaching.of_users = lambda users: (
        visited.append(users.tolist()),
        trainer.model.user_embedding.weight.sum(),
    )[1]
    epochs = []
    for epoch in (0, 1, 0):
        visited.clear()
        trainer.after_epoch(epoch, show_progress=False)
        assert max(map(len, visited)) == 8
        epochs.append(sum(visited, []))
    assert all(sorted(users) == absent for users in epochs) and epochs[0] == epochs[2] != epochs[1]


def test_the_pass_is_a_step_down_their_loss(make_distillation, absent):
    trainer = make_distillation(learner="sgd", learning_rate=0.1, weight_decay=0.0)
    before = state_of(trainer.model)
    tables = [before[f"{who}_embedding.weight"].clone().requires_grad_() for who in ("user", "item")]
    trainer.after_epoch(0, show_progress=False)
    expected = sum(
        naive_rrd(
            tables[1] @ tables[0][user],
            trainer._knowledge.top_items[user],
            sorted(eligible(trainer, user, swapped=False)),
        )
        for user in absent
    )
    (0.5 * expected / trainer.config["train_batch_size"]).backward()
    for who, table in zip(("user", "item"), tables, strict=True):
        after = trainer.model.state_dict()[f"{who}_embedding.weight"]
        assert table.grad.abs().max() > 1e-4
        torch.testing.assert_close(after, table.detach() - 0.1 * table.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", ["kl", "listnet", "cd", "rd"])
def test_the_other_losses_reach_them_too(make_distillation, block, absent, loss):
    trainer = make_distillation(distill_loss=loss, learner="sgd", learning_rate=0.1, weight_decay=0.0)
    before = state_of(trainer.model)["user_embedding.weight"]
    trainer.after_epoch(0, show_progress=False)
    moved = (trainer.model.user_embedding.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert moved and set(moved) <= set(absent)


@pytest.mark.parametrize("keys", [{"distill_absent_users": False}, {"distill_user_weight": 0.0}])
def test_they_are_left_out_on_request(make_distillation, keys):
    trainer = make_distillation(weight_decay=0.1, **keys)
    before = state_of(trainer.model)
    trainer.after_epoch(0, show_progress=False)
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


def test_a_batch_teaches_its_own_users_alone(make_distillation, block, absent):
    trainer = make_distillation()
    present = [user for user in range(1, block.n_users) if user not in absent][:3]
    (loss,) = trainer.extra_losses(Interaction({"user_id": torch.tensor(present)}))
    loss.backward()
    gradient = trainer.model.user_embedding.weight.grad
    assert gradient.abs().sum(dim=1).nonzero().flatten().tolist() == present
