"""LWC-KD's contrast of layers and PIW's weights, against loops."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.data.similarity import similarity_graph
from recbole_ccd.loss.piw import ImitationWeight, cluster_loss, soft_assignment
from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.regularization import LWCKDRegularizer
from recbole_ccd.trainer import StageTrainer
from tests.model.small_models import scatter
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound, past_and_present


def contrast(anchors, ids, candidates, neighbours, n_old, temperature, weights):
    """The contrastive term by loops: mean over the anchors that have neighbours."""
    losses = []
    for place, anchor in enumerate(ids):
        positives = [j for j in range(1, n_old) if neighbours[anchor, j]]
        if not positives:
            continue
        scores = (anchors[anchor] * candidates[:n_old]).sum(dim=1) / temperature
        total = torch.logsumexp(scores[1:], dim=0)
        loss = -sum(scores[p] - total for p in positives) / len(positives)
        losses.append(loss * (weights[place] if weights is not None else 1.0))
    return sum(losses) / len(losses)


def naive_lwc_kd(config, block, frozen_layers, live_layers, users, items, weights):
    before = block.previous.train_matrix
    degree, tau = config["similarity_degree"], config["lwc_kd_temperature"]
    ui, uu = before.toarray(), similarity_graph(before, degree).toarray()
    iu, ii = ui.T, similarity_graph(before.T.tocsr(), degree).toarray()
    n_users, n_items = ui.shape
    total = 0
    for (old_u, old_i), (new_u, new_i) in zip(frozen_layers, live_layers, strict=True):
        total = total + contrast(old_u, users, new_i, ui, n_items, tau, weights)
        total = total + contrast(old_u, users, new_u, uu, n_users, tau, weights)
        total = total + contrast(old_i, items, new_u, iu, n_users, tau, None)
        total = total + contrast(old_i, items, new_i, ii, n_items, tau, None)
    return config["lwc_kd_weight"] * total / len(live_layers)


def split_layers(model, n_layers):
    return [torch.split(layer, [model.n_users, model.n_items]) for layer in model.layers()[:n_layers]]


@pytest.mark.parametrize("n_layers", [1, 2])
def test_lwc_kd_of_lightgcn_equals_loops_layer_by_layer(make_config, tiny_stream, n_layers):
    config, frozen, live = past_and_present(
        make_config, tiny_stream, "LightGCN", n_layers=n_layers, piw=False
    )
    scatter(live, seed=1)
    block = tiny_stream[1]
    losses = bound(LWCKDRegularizer(), config, block, frozen, live).batch_losses(batch_of(block))
    layers = [split_layers(model, n_layers) for model in (frozen, live)]
    expected = naive_lwc_kd(config, block, *layers, [3, 7, 20], [1, 5, 9], None)
    assert len(losses) == 1
    torch.testing.assert_close(losses[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["BPR", "NGCF"])
def test_lwc_kd_of_other_members_takes_their_final_vectors(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name, piw=False, lwc_kd_weight=0.7)
    scatter(live, seed=1)
    block = tiny_stream[1]
    (loss,) = bound(LWCKDRegularizer(), config, block, frozen, live).batch_losses(batch_of(block))
    vectors = [
        [(m.user_embedding.weight, m.item_embedding.weight) if name == "BPR" else m()] for m in (frozen, live)
    ]
    expected = naive_lwc_kd(config, block, *vectors, [3, 7, 20], [1, 5, 9], None)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)


def test_piw_weighs_the_user_terms_and_clusters_the_blocks_items(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "LightGCN", piw=True, piw_weight=0.5)
    scatter(live, seed=1, scale=1.0)
    block, batch = tiny_stream[1], batch_of(tiny_stream[1])
    plugin = bound(LWCKDRegularizer(), config, block, frozen, live)
    state = plugin.state_dict()
    learned = {name: value.clone() for name, value in state["imitation"].items()}
    # weights that differ enough to be seen
    learned["weight.hidden.weight"] *= 30
    learned["centers"] = torch.randn(3, 8, generator=torch.Generator().manual_seed(3))
    plugin.load_state_dict({**state, "imitation": learned})
    losses = plugin.batch_losses(batch)
    centers, matrices, perceptron = learned.pop("centers"), learned.pop("projections"), ImitationWeight(3, 8)
    perceptron.load_state_dict({name.removeprefix("weight."): value for name, value in learned.items()})
    assert centers.shape == (3, 8) and matrices.shape == (3, 8, 8)
    users = torch.tensor([3, 7, 20])
    interests = []
    for model in (frozen, live):
        vectors = model.user_embedding.weight[users]
        agreements = [vectors @ (center @ matrix) for center, matrix in zip(centers, matrices, strict=True)]
        interests.append(torch.stack(agreements, dim=1).softmax(dim=1))
    weights = perceptron(*interests)
    assert weights.std() > 0.1
    layers = [split_layers(model, live.n_layers) for model in (frozen, live)]
    expected = naive_lwc_kd(config, block, *layers, users.tolist(), [1, 5, 9], weights)
    torch.testing.assert_close(losses[0], expected, atol=1e-6, rtol=1e-5)
    # all items of the block, new ones among them, and not those of the batch alone
    items = torch.from_numpy(block.train_matrix.getnnz(axis=0)).nonzero().squeeze(1)
    assert len(items) > 5 and items.min() > 0 and items.max() >= block.n_old_items
    clustering = cluster_loss(soft_assignment(live.item_embedding.weight[items], centers, live.n_items - 2))
    torch.testing.assert_close(losses[1], 0.5 / 5 * clustering)


def test_the_clusters_loss_moves_the_clusters_and_no_item(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "LightGCN", piw=True)
    scatter(live, seed=1)
    plugin = bound(LWCKDRegularizer(), config, tiny_stream[1], frozen, live)
    _, clustering = plugin.batch_losses(batch_of(tiny_stream[1]))
    clustering.backward()
    assert all(p.grad is None for p in live.parameters())
    centers, *others = plugin.parameters()
    assert centers.grad.abs().sum() > 0 and all(p.grad is None for p in others)


def test_gradients_reach_the_live_member_and_piw_but_not_the_past(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "LightGCN", piw=True)
    scatter(live, seed=1)
    plugin = bound(LWCKDRegularizer(), config, tiny_stream[1], frozen, live)
    sum(plugin.batch_losses(batch_of(tiny_stream[1]))).backward()
    assert all(p.grad is None for p in frozen.parameters())
    parameters = [*live.parameters(), *plugin.parameters()]
    # the bias of the perceptron's output moves all weights alike where no unit is active
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)
    assert all(p.grad.abs().sum() > 0 for p in live.parameters())
    assert all(p.grad.abs().sum() > 0 for p in plugin.parameters()[:2])
    assert len(plugin.parameters()) == 6


def test_without_piw_there_is_nothing_more_to_learn(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "BPR", piw=False)
    assert bound(LWCKDRegularizer(), config, tiny_stream[1], frozen, live).parameters() == []


def test_the_past_stays_what_it_was_when_the_stage_began(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "BPR", piw=False)
    batch = batch_of(tiny_stream[1])
    plugin = bound(LWCKDRegularizer(), config, tiny_stream[1], frozen, live)
    before = plugin.batch_losses(batch)[0].item()
    scatter(frozen, seed=5)
    assert plugin.batch_losses(batch)[0].item() == before


def test_a_member_near_its_past_loses_less_than_one_far_away(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "BPR", piw=False)
    with torch.no_grad():
        frozen.user_embedding.weight.zero_()
        frozen.item_embedding.weight.zero_()
        # every user and item points the same way as its neighbours do
        matrix = torch.from_numpy(tiny_stream[0].train_matrix.toarray())
        u, s, v = torch.linalg.svd(matrix)
        frozen.user_embedding.weight.copy_(u[:, :8] * s[:8])
        frozen.item_embedding.weight.copy_(v[:8].T * s[:8])
    near = grow(frozen, config, tiny_stream[1])
    batch = batch_of(tiny_stream[1])
    losses = [
        bound(LWCKDRegularizer(), config, tiny_stream[1], frozen, m).batch_losses(batch)[0].item()
        for m in (near, live)
    ]
    assert losses[0] < losses[1]


def test_a_member_that_reads_rows_contrasts_the_items_of_its_users(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "ENMF", piw=False)
    block = tiny_stream[1]
    plugin = bound(LWCKDRegularizer(), config, block, frozen, live)
    batch = Interaction({"user_id": torch.tensor([3, 50])})
    expected = {i for u in (3, 50) for i in block.train_matrix[u].indices if i < block.n_old_items}
    assert plugin.earlier_items(batch).tolist() == sorted(expected)


def test_weights_decay_and_what_piw_learns_does_not(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "BPR", piw=True, weight_decay=0.01)
    trainer = StageTrainer(config.for_stage("teacher_update"), live)
    trainer.bind(tiny_stream[1], "an update", 3, previous=frozen).add(LWCKDRegularizer())
    decays = {
        id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]
    }
    assert {decays[id(p)] for p in live.parameters()} == {0.01}
    assert {decays[id(p)] for plugin in trainer.plugins for p in plugin.parameters()} == {0.0}
