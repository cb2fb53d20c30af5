"""GraphSAIL's terms, and a student that they keep near its past."""

import pytest
import torch
from recbole.data.interaction import Interaction

import recbole_ccd.plugin.regularization.graphsail as graphsail_module
from recbole_ccd.model.growth import grow
from recbole_ccd.model.scoring import factors
from recbole_ccd.plugin.regularization import GraphSAILRegularizer
from recbole_ccd.plugin.regularization.base import cluster_centers
from recbole_ccd.utils.seeding import derive_seed
from tests.model.small_models import scatter, small_model, state_of
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound, past_and_present, stage_trainer

GRAPHSAIL = {
    "graphsail_local_weight": 0.2,
    "graphsail_global_weight": 0.3,
    "graphsail_self_weight": 0.5,
    "graphsail_temperature": 0.7,
    "graphsail_clusters": 4,
}
ALONE = {"graphsail_local_weight": 0.0, "graphsail_global_weight": 0.0}


@pytest.fixture
def make_graphsail(make_config, tiny_stream):
    """Makes the regularizer of a model that has changed, or not yet."""

    def make(name="BPR", changed=True, **keys):
        config, frozen, live = past_and_present(make_config, tiny_stream, name, **GRAPHSAIL | keys)
        if changed:
            scatter(live, seed=1)
        return bound(GraphSAILRegularizer(), config, tiny_stream[1], frozen, live)

    return make


@pytest.fixture
def trained(make_config, tiny_stream):
    """Trains a student on block 1 under the regularizer; gives its weights and those before."""

    def train(name="BPR", **keys):
        config, old = small_model(make_config, name, tiny_stream[0], **GRAPHSAIL | keys)
        torch.manual_seed(5)
        model = grow(old, config, tiny_stream[1])
        plugin = GraphSAILRegularizer()
        trainer = stage_trainer(config, model, tiny_stream[1], "student_update", plugin, previous=old)
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        return state_of(model), state_of(old)

    return train


def centers_of(plugin, old):
    """Four centres of the users and four of the items before the block."""
    seeds = [derive_seed(plugin.seed, "clusters", side) for side in ("users", "items")]
    return [cluster_centers(vectors[1:], 4, seed) for vectors, seed in zip(old, seeds, strict=True)]


def naive_graphsail(plugin, block, sides):
    """Local, global and self terms by loops over the users, then the items, of a batch."""
    old, new = ([vectors.detach() for vectors in factors(model)] for model in (plugin.frozen, plugin.live))
    before, now = torch.tensor(block.previous.train_matrix.toarray()), block.train_matrix.toarray()
    local, overall, own = [], [], []
    for side, ids in enumerate(sides):
        neighbours = before if side == 0 else before.T
        changes, divergences, squares, weights = [], [], [], []
        for v in ids:
            mine = neighbours[v].nonzero().flatten()
            if len(mine):
                agreement = [vectors[side][v] @ vectors[1 - side][mine].mean(dim=0) for vectors in (old, new)]
                changes.append((agreement[1] - agreement[0]) ** 2)
            for centers in centers_of(plugin, old):
                p, q = (torch.softmax(centers @ vectors[side][v] / 0.7, dim=0) for vectors in (old, new))
                divergences.append((p * (p / q).log()).sum())
            weights.append(len(mine) / (len(mine) + now.sum(axis=1 - side)[v]))
            squares.append(((new[side][v] - old[side][v]) ** 2).sum() * weights[-1])
        local.append(sum(changes) / len(changes))
        overall.append(sum(divergences) / len(ids))
        own.append(sum(squares) / sum(weights))
    return [sum(local), sum(overall), sum(own)]


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "ENMF"])
def test_graphsail_equals_loops(make_graphsail, name):
    plugin = make_graphsail(name)
    block = plugin.block
    losses = plugin.batch_losses(batch_of(block))
    expected = naive_graphsail(plugin, block, ([3, 7, 20], [1, 5, 9]))
    assert [term.dim() for term in losses] == [0, 0, 0]
    for term, weight, value in zip(losses, (0.2, 0.3, 0.5), expected, strict=True):
        assert value > 1e-4
        torch.testing.assert_close(term.detach(), weight * value, atol=1e-7, rtol=1e-4)


def test_evidence_of_all_earlier_blocks_counts_as_old(make_config, tiny_stream):
    settings = GRAPHSAIL | ALONE | {"graphsail_self_weight": 1.0}
    config, frozen = small_model(make_config, "BPR", tiny_stream[1], **settings)
    block = tiny_stream[2]
    live = grow(frozen, config, block)
    scatter(live, seed=1)
    plugin = bound(GraphSAILRegularizer(), config, block, frozen, live)
    sizes = {"user_id": frozen.n_users, "item_id": frozen.n_items}
    ids = torch.arange(1, max(sizes.values()))
    batch = Interaction({field: ids.clamp(max=n - 1) for field, n in sizes.items()})
    (loss,) = plugin.batch_losses(batch)
    expected = 0.0
    for axis, (old, new) in enumerate(zip(factors(frozen), factors(live), strict=True)):
        past, now = (
            m.toarray().sum(axis=1 - axis)[1 : len(old)]
            for m in (tiny_stream[1].train_so_far, block.train_matrix)
        )
        assert past.min() < past.max()
        weights = torch.tensor([a / (a + b) if a else 0.0 for a, b in zip(past, now, strict=False)])
        squares = (new[1 : len(old)] - old[1:]).square().sum(dim=1)
        expected = expected + (weights * squares).sum() / weights.sum()
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)


def test_graphsail_is_nothing_until_the_model_changes(make_graphsail):
    plugin = make_graphsail(changed=False)
    losses = plugin.batch_losses(batch_of(plugin.block))
    assert [term.item() for term in losses] == pytest.approx([0.0] * 3, abs=1e-6)


def test_graphsails_past_is_what_it_was_when_it_began(make_graphsail):
    plugin = make_graphsail()
    before = [term.item() for term in plugin.batch_losses(batch_of(plugin.block))]
    scatter(plugin.frozen, seed=9)
    assert [term.item() for term in plugin.batch_losses(batch_of(plugin.block))] == before


def test_graphsails_gradients_reach_the_live_model_only(make_graphsail):
    plugin = make_graphsail("LightGCN")
    sum(plugin.batch_losses(batch_of(plugin.block))).backward()
    assert all(p.grad is None for p in plugin.frozen.parameters())
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in plugin.live.parameters())
    assert plugin.parameters() == []


def test_centres_are_those_of_users_and_of_items(make_graphsail, monkeypatch):
    made, cluster = [], graphsail_module.cluster_centers
    monkeypatch.setattr(
        graphsail_module, "cluster_centers", lambda *args: made.append(cluster(*args)) or made[-1]
    )
    plugin = make_graphsail()
    plugin.batch_losses(batch_of(plugin.block))
    for vectors, centers in zip(factors(plugin.frozen), made, strict=True):
        assert centers.shape == (4, 8)
        nearest = torch.cdist(vectors[1:], centers).argmin(dim=1)
        for number, center in enumerate(centers):
            torch.testing.assert_close(vectors[1:][nearest == number].mean(dim=0).detach(), center)


def test_a_graphsail_term_without_weight_is_left_out(make_graphsail, monkeypatch):
    every, fewer = make_graphsail(), make_graphsail(graphsail_global_weight=0.0)
    losses = [term.item() for term in every.batch_losses(batch_of(every.block))]
    monkeypatch.setattr(graphsail_module, "cluster_centers", None)  # and nothing is made for it
    assert [term.item() for term in fewer.batch_losses(batch_of(fewer.block))] == [losses[0], losses[2]]


def test_a_batch_of_new_ids_has_as_many_terms_and_they_are_zero(make_graphsail):
    plugin = make_graphsail()
    block = plugin.block
    ids = {"user_id": torch.tensor([block.n_users - 1]), "item_id": torch.tensor([block.n_items - 1])}
    losses = plugin.batch_losses(Interaction(ids))
    assert [term.item() for term in losses] == [0.0] * 3
    sum(losses).backward()
    assert all(p.grad.isfinite().all() for p in plugin.live.parameters())


def test_the_more_weight_the_nearer_to_the_past(trained):
    distances = []
    for weight in (0.0, 1.0, 100.0):
        keys = {**ALONE, "graphsail_self_weight": weight, "learning_rate": 0.02, "epochs": 3}
        after, before = (state["item_embedding.weight"] for state in trained(**keys))
        distances.append((after[: len(before)] - before).norm().item())
    assert distances[0] > distances[1] > distances[2]


def test_one_seed_one_result(trained):
    one, other = (trained("LightGCN")[0] for _ in range(2))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
