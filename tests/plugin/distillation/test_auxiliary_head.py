"""The auxiliary head: what is distilled through it, what it leaves alone, and how it goes on."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.plugin.distillation.auxiliary_head import AuxiliaryHead
from tests.model.small_models import state_of
from tests.plugin.distillation.rankings import distilling
from tests.plugin.stages import take_passes, terms_of

BATCH = Interaction({"user_id": torch.tensor([4, 9, 4, 30, 9])})
SGD = {"learner": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}


class Given:
    """Shows vectors as they are given."""

    def __init__(self, users, items):
        self._vectors = torch.tensor(users), torch.tensor(items)

    def vectors(self):
        return self._vectors


@pytest.fixture
def make_distillation(make_config, tiny_stream):
    """Makes a stage 1 on block 0 with a fixed teacher's lists, through a head."""

    def make(name="BPR", head="auxiliary", **keys):
        weights = {"distill_user_weight": 0.5, "distill_item_weight": 0.25}
        return distilling(make_config, tiny_stream[0], name, **{**weights, "distill_head": head, **keys})

    return make


def head_of(trainer):
    (plugin,) = trainer.plugins
    return plugin._objective._view


def test_the_number_of_the_formula():
    head = AuxiliaryHead(Given([[1.0, 0.0]], [[1.0, 1.0], [0.0, 2.0]]), None, 0.0, seed=0)
    with torch.no_grad():
        head.parameters()[1].copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    users, items = head.vectors()
    distilled = (users @ items.T)[0]
    assert distilled.tolist() == [1.0, 2.0]

    def loss(scores):
        return (torch.logsumexp(scores, 0) - scores[0]).item()

    # of two items in order the second is beyond doubt
    assert loss(distilled) == pytest.approx(1.313262, abs=1e-6)
    assert loss(torch.tensor([1.0, 0.0])) == pytest.approx(0.313262, abs=1e-6)


@pytest.mark.parametrize("loss", ["rrd", "rd"])
@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_at_the_identity_it_is_distillation_without_a_head(make_distillation, loss, name):
    found = []
    for head in ("shared", "auxiliary"):
        trainer = make_distillation(name, head, distill_loss=loss, distill_layer="final").trainer
        (plugin,), (term,) = trainer.plugins, terms_of(trainer, BATCH)
        items = plugin._objective.item_loss(torch.arange(1, 9)) if loss == "rrd" else 0.0
        (term + items).backward()
        gradients = [
            table.weight.grad for table in (trainer.model.user_embedding, trainer.model.item_embedding)
        ]
        found.append([term.detach(), *gradients])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_teacher_reaches_the_head_and_the_base_loss_does_not(make_distillation):
    trainer = make_distillation(**SGD).trainer
    before = [value.detach().clone() for value in head_of(trainer).parameters()]
    for batch in trainer.block.train_loader(trainer.config, seed=1):
        trainer.model.calculate_loss(batch).backward()
    assert all(value.grad is None for value in head_of(trainer).parameters())
    served = state_of(trainer.model)
    take_passes(trainer)
    assert all(not torch.equal(*pair) for pair in zip(before, head_of(trainer).parameters(), strict=True))
    # what the student is served by has moved too, as its vectors are shared
    assert not torch.equal(served["item_embedding.weight"], trainer.model.item_embedding.weight)


def test_a_step_behind_the_head_is_that_of_the_formula(make_distillation):
    keys = {"distill_loss": "kl", "distill_item_weight": 0.0, **SGD}
    trainer = make_distillation(distill_head_size=5, distill_head_tie=0.3, **keys).trainer
    head, model = head_of(trainer), trainer.model
    with torch.no_grad():
        for value in head.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    users, items = torch.tensor([4, 9, 30]), trainer.plugins[0]._rankings.top_items
    (p_u, p_i, b_u, b_i), identity = head.parameters(), torch.eye(8, 5)
    expected = 0.0
    for user in users.tolist():
        listed = [item for item in items[user].tolist() if item]
        a = torch.stack(
            [
                (model.user_embedding.weight[user] @ p_u + b_u) @ (model.item_embedding.weight[j] @ p_i + b_i)
                for j in listed
            ]
        )
        p = torch.softmax(-torch.arange(1.0, len(listed) + 1).log() / 2, 0)
        expected = expected + 0.5 * 4 * (p * (p.log() - torch.log_softmax(a / 2, 0))).sum()
        expected = expected + 0.3 * ((p_u - identity).square().sum() + (p_i - identity).square().sum())
    (term,) = terms_of(trainer, BATCH)
    torch.testing.assert_close(term, expected / 5)


@pytest.mark.parametrize("size", [3, 8, 11])
def test_it_starts_as_the_identity(make_distillation, size):
    one, other = (head_of(make_distillation(distill_head_size=size).trainer) for _ in range(2))
    for found, again in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(found, again)
    for projection in one.parameters()[:2]:
        assert projection.shape == (8, size)
        assert torch.equal(projection[:, :8], torch.eye(8, size)[:, :8])
        assert size < 9 or 0 < projection[:, 8:].abs().max() < 0.1


def test_its_parameters_are_trained_and_saved(make_distillation):
    trainer = make_distillation(epochs=2).trainer
    trainer.run(show_progress=False)
    state = trainer.plugins[0].state_dict()
    fresh = make_distillation().trainer
    assert not torch.equal(head_of(fresh).parameters()[0], head_of(trainer).parameters()[0])
    fresh.plugins[0].load_state_dict(state)
    for one, other in zip(head_of(fresh).parameters(), head_of(trainer).parameters(), strict=True):
        assert torch.equal(one, other)
    assert make_distillation(head="shared").trainer.plugins[0].parameters() == []
