"""PISA's terms: who has moved, what draws them, and the forward model."""

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.loss import info_nce, interest_shift, interests
from recbole_ccd.model.growth import grow
from recbole_ccd.model.scoring import factors
from recbole_ccd.plugin.base import PluginContext, TrainerPlugin
from recbole_ccd.plugin.regularization import PISARegularizer
from recbole_ccd.plugin.regularization.base import cluster_centers
from recbole_ccd.utils.seeding import derive_seed
from tests.model.small_models import scatter, small_model, state_of
from tests.plugin.stages import past_and_present, stage_trainer

PISA = {"pisa_clusters": 4, "pisa_share": 0.25, "pisa_weight": 0.7}


@pytest.fixture
def make_pisa(make_config, tiny_stream):
    """Makes the regularizer in block 1, with a forward model that is given."""

    def make(name="BPR", **keys):
        config, frozen, live = past_and_present(make_config, tiny_stream, name, **PISA | keys)
        forward = grow(frozen, config, tiny_stream[1]).eval()
        scatter(forward, seed=1)
        scatter(live, seed=2)
        plugin, asked = PISARegularizer(), []
        context = PluginContext(config, tiny_stream[1], live, frozen, 0, lambda: asked.append(1) or forward)
        plugin.bind(context)
        plugin.before_epoch(0)
        plugin.before_epoch(1)
        assert asked == [1]
        return plugin, forward

    return make


def shifts(plugin, forward):
    """The divergence of each user of the block who was known before, by sets of items."""
    (old_users, old_items), (users, items) = factors(plugin.frozen), factors(forward)
    centers = cluster_centers(old_items[1:].detach(), 4, derive_seed(plugin.seed, "clusters"))
    nearest = ((old_items[1:, None] - centers[None]) ** 2).sum(dim=2).argmin(dim=1)
    moved = torch.stack([items[1 : len(old_items)][nearest == c].mean(dim=0) for c in range(4)])
    degrees = plugin.block.train_matrix.getnnz(axis=1)
    known = [u for u in range(1, plugin.frozen.n_users) if degrees[u]]
    p = interests(old_users[known], centers, 0.5)
    q = interests(users[known], moved, 0.5)
    return dict(zip(known, interest_shift(p, q).tolist(), strict=True))


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_those_who_move_are_drawn_forward_and_the_others_back(make_pisa, name):
    plugin, forward = make_pisa(name, pisa_item_weight=0.0)
    shift = shifts(plugin, forward)
    order = sorted(shift, key=shift.get)
    quarter = len(order) // 4
    stayed, moved = order[:quarter], order[len(order) - quarter :]
    assert quarter > 4
    everybody = torch.arange(plugin.live.n_users)
    (loss,) = plugin.batch_losses(Interaction({"user_id": everybody}))
    mean, expected = sum(shift.values()) / len(shift), 0.0
    for users, model, sign in ((moved, forward, 1), (stayed, plugin.frozen, -1)):
        places = torch.arange(quarter)
        live, reference = (factors(which)[0][sorted(users)] for which in (plugin.live, model))
        weights = torch.tensor([shift[u] - mean for u in sorted(users)]).sigmoid()
        weights = weights if sign > 0 else 1 - weights
        expected = expected + (weights * info_nce(live, reference, places, 0.5)).sum() / quarter
    torch.testing.assert_close(loss, 0.7 * expected, atol=1e-6, rtol=1e-5)
    loss.backward()
    assert all(p.grad is None for model in (forward, plugin.frozen) for p in model.parameters())
    assert plugin.live.user_embedding.weight.grad.abs().sum() > 0


def test_items_that_they_have_had_draw_them_too(make_pisa):
    plugin, forward = make_pisa()
    users = torch.arange(1, plugin.frozen.n_users)
    for matrix in (plugin.block.train_matrix, plugin.earlier):
        held, seen = matrix.toarray() > 0, set()
        for _ in range(30):
            owners, items = plugin._neighbours(matrix, users)
            assert owners.tolist() == [n for n, user in enumerate(users.tolist()) if held[user].any()]
            assert all(held[users[n], i] for n, i in zip(owners.tolist(), items.tolist(), strict=True))
            seen |= {i for n, i in zip(owners.tolist(), items.tolist(), strict=True) if n == owners[0]}
        assert len(seen) > 1
    batch = Interaction({"user_id": users})
    state = plugin.state_dict()
    by_both = plugin.batch_losses(batch)[0].item()
    plugin.load_state_dict(state)
    assert plugin.batch_losses(batch)[0].item() == by_both
    assert by_both > make_pisa(pisa_item_weight=0.0)[0].batch_losses(batch)[0].item()


def test_a_batch_without_any_of_them_has_a_term_that_is_zero(make_pisa):
    plugin, _ = make_pisa()
    (loss,) = plugin.batch_losses(Interaction({"user_id": torch.tensor([plugin.live.n_users - 1])}))
    loss.backward()
    assert loss.item() == 0.0
    assert [
        term.item()
        for term in make_pisa(pisa_share=0.0)[0].batch_losses(Interaction({"user_id": torch.arange(20)}))
    ] == [0.0]


@pytest.mark.parametrize("name", ["LightGCN", "SGL"])
def test_the_forward_model_is_what_fine_tuning_makes_and_disturbs_nothing(make_config, tiny_stream, name):
    class Asking(TrainerPlugin):
        name = "asking"
        forward = None

        def bind(self, context):
            super().bind(context)
            self.fine_tuned = context.fine_tuned

        def before_epoch(self, epoch):
            if epoch == 0:
                self.forward = self.fine_tuned()

    after = []
    for plugins in ([], [Asking()]):
        config, old = small_model(make_config, name, tiny_stream[0], epochs=2)
        torch.manual_seed(5)
        model = grow(old, config, tiny_stream[1])
        trainer = stage_trainer(config, model, tiny_stream[1], "student_update", *plugins, previous=old)
        torch.manual_seed(0)
        np.random.seed(0)
        trainer.run(show_progress=False)
        after.append(state_of(model))
    assert all(torch.equal(value, after[1][key]) for key, value in after[0].items())
    forward = plugins[0].forward.state_dict()
    assert all(torch.equal(value, forward[key]) for key, value in after[0].items())
