"""The bridge between a frozen member and the student, against its formulas."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.loss import soft_target_kl
from recbole_ccd.plugin.distillation import BridgeDistillation
from tests.model.small_models import all_scores, small_model
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of
from tests.plugin.stages import stage_trainer


@pytest.fixture
def bridged(make_config, tiny_stream):
    """Makes a stage 1 with a bridge to a frozen member, and the member."""

    def make(name="BPR"):
        block = tiny_stream[1]
        config, student = small_model(make_config, name, block, seed=1)
        config["mutual_bridge"] = True
        member = small_model(make_config, "LightGCN", block, embedding_size=16)[1].requires_grad_(False)
        plugin = BridgeDistillation(member, rankings_of(block, fixed_teacher(block), short=(4,)).top_items)
        return stage_trainer(config, student, block, "student_generation", plugin), plugin, member

    return make


def batch(model, users=(3, 4, 3)):
    fields = {"user_id": users, "item_id": (5, 6, 7), "neg_item_id": (8, 9, 10)}
    return Interaction({field: torch.tensor(ids) for field, ids in fields.items()})


def test_divergence_of_the_source():
    # a bridge of (3/4, 1/4) at T = 4, and a student that knows nothing: 16 (3/4 log 3/2 + 1/4 log 1/2)
    bridge = 4 * torch.tensor([[0.75, 0.25]]).log()
    found = soft_target_kl(torch.zeros(1, 2), bridge, torch.ones(1, 2).bool(), 4.0)
    torch.testing.assert_close(found, torch.tensor([2.092993]), atol=1e-5, rtol=0)


def test_terms_by_their_formulas(bridged):
    trainer, plugin, member = bridged()
    model, lists = trainer.model, plugin._lists
    z, s = all_scores(member), all_scores(model)
    torch.manual_seed(5)
    with torch.no_grad():
        plugin._items.normal_()
    a = z + (plugin._users @ plugin._items.T).detach()
    interaction = batch(model)

    def kl(target, learner):
        terms = []
        for user in (3, 4):
            items = [i for i in lists[user].tolist() if i]
            assert len(items) == (2 if user == 4 else 6)
            p, q = ((scores[user, items] / 4).softmax(0) for scores in (target, learner))
            terms.append(16 * (p * (p / q).log()).sum())
        return sum(terms) / 2

    users, liked, other = (interaction[f] for f in ("user_id", "item_id", "neg_item_id"))
    wanted = (a[users, other] - a[users, liked]).exp().log1p().mean() + kl(z, a) + kl(s, a), kl(a, s)
    of_bridge, of_student = plugin.batch_losses(interaction)
    torch.testing.assert_close((of_bridge.detach(), of_student.detach()), wanted, atol=1e-4, rtol=1e-4)
    # each side learns by its own terms
    of_bridge.backward()
    assert plugin._items.grad.any() and model.user_embedding.weight.grad is None
    plugin._items.grad = None
    of_student.backward()
    assert plugin._items.grad is None and model.user_embedding.weight.grad.any()


@pytest.mark.parametrize("name", ["LightGCN", "NeuMF"])
def test_it_begins_as_the_member_and_learns_beside_the_student(bridged, name):
    trainer, plugin, member = bridged(name)
    users = torch.arange(1, trainer.block.n_users)
    items = torch.arange(trainer.block.n_items).expand(len(users), -1)
    before = all_scores(member)
    torch.testing.assert_close(plugin.scores(users, items).detach(), before[1:])
    student = [part.clone() for part in trainer.model.parameters()]
    trainer.run(show_progress=False)
    assert not torch.allclose(plugin.scores(users, items).detach(), before[1:])
    assert torch.equal(all_scores(member), before)
    assert any(not torch.equal(*pair) for pair in zip(student, trainer.model.parameters(), strict=True))
    state = {key: value.clone() for key, value in plugin.state_dict().items()}
    again, other, _ = bridged(name)
    other.load_state_dict(state)
    torch.testing.assert_close(other.scores(users, items), plugin.scores(users, items), atol=0, rtol=0)
