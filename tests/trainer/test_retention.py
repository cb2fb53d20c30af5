from copy import copy

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole_ccd.trainer.retention import ContrastiveRetention, OutputRetention, PairRetention, make_retention

from recbole_ccd.data.similarity import similarity_graph
from recbole_ccd.loss.piw import cluster_loss, soft_assignment
from recbole_ccd.model.growth import grow
from tests.model.small_models import scatter, small_model, state_of


def past_and_present(make_config, tiny_stream, name, **keys):
    """A frozen model of block 0 and its grown copy in block 1, with other weights."""
    config, frozen = small_model(make_config, name, tiny_stream[0], **keys)
    live = grow(frozen, config, tiny_stream[1])
    return config, frozen, live.eval()


def batch_of(block, old_users=(3, 7, 7, 20), new_users=(50,)):
    """Pairs of some users, old items, a new item, and a new user."""
    users = torch.tensor([*old_users, *new_users])
    items = torch.tensor([1, 5, 5, block.n_items - 1, 9, 2, 4, 8])[: len(users)]
    return Interaction({"user_id": users, "item_id": items, "neg_item_id": torch.ones_like(items)})


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
    losses = ContrastiveRetention(config, block, frozen, live, seed=0).losses(batch_of(block))
    layers = [split_layers(model, n_layers) for model in (frozen, live)]
    expected = naive_lwc_kd(config, block, *layers, [3, 7, 20], [1, 5, 9], None)
    assert len(losses) == 1
    torch.testing.assert_close(losses[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["BPR", "NGCF"])
def test_lwc_kd_of_other_members_takes_their_final_vectors(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name, piw=False, lwc_kd_weight=0.7)
    scatter(live, seed=1)
    block = tiny_stream[1]
    (loss,) = ContrastiveRetention(config, block, frozen, live, seed=0).losses(batch_of(block))
    vectors = [
        [(m.user_embedding.weight, m.item_embedding.weight) if name == "BPR" else m()] for m in (frozen, live)
    ]
    expected = naive_lwc_kd(config, block, *vectors, [3, 7, 20], [1, 5, 9], None)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)


def test_piw_weighs_the_user_terms_and_clusters_the_batchs_items(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "LightGCN", piw=True, piw_weight=0.5)
    scatter(live, seed=1, scale=1.0)
    block, batch = tiny_stream[1], batch_of(tiny_stream[1])
    retention = ContrastiveRetention(config, block, frozen, live, seed=0)
    with torch.no_grad():
        # weights that differ enough to be seen
        retention._imitation.weight.hidden.weight.mul_(30)
    losses = retention.losses(batch)
    centers, perceptron = retention._imitation.centers, retention._imitation.weight
    assert centers.shape == (3, 8)
    freedom, users, items = live.n_items - 2, torch.tensor([3, 7, 20]), torch.tensor([1, 5, 9])
    old, new = (soft_assignment(m.user_embedding.weight[users], centers, freedom) for m in (frozen, live))
    weights = perceptron(old, new)
    assert weights.std() > 0.1
    layers = [split_layers(model, live.n_layers) for model in (frozen, live)]
    expected = naive_lwc_kd(config, block, *layers, users.tolist(), items.tolist(), weights)
    torch.testing.assert_close(losses[0], expected, atol=1e-6, rtol=1e-5)
    clustering = cluster_loss(soft_assignment(live.item_embedding.weight[items], centers, freedom))
    torch.testing.assert_close(losses[1], 0.5 / 5 * clustering)


def test_gradients_reach_the_live_member_and_piw_but_not_the_past(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "LightGCN", piw=True)
    scatter(live, seed=1)
    retention = ContrastiveRetention(config, tiny_stream[1], frozen, live, seed=0)
    sum(retention.losses(batch_of(tiny_stream[1]))).backward()
    assert all(p.grad is None for p in frozen.parameters())
    parameters = [*live.parameters(), *retention.parameters()]
    # the bias of the perceptron's output moves all weights alike where no unit is active
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)
    assert all(p.grad.abs().sum() > 0 for p in live.parameters())
    assert retention.parameters()[0].grad.abs().sum() > 0
    assert len(retention.parameters()) == 5


def test_without_piw_there_is_nothing_more_to_learn(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "BPR", piw=False)
    assert ContrastiveRetention(config, tiny_stream[1], frozen, live, seed=0).parameters() == []


def test_the_past_stays_what_it_was_when_retention_began(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "BPR", piw=False)
    batch = batch_of(tiny_stream[1])
    retention = ContrastiveRetention(config, tiny_stream[1], frozen, live, seed=0)
    before = retention.losses(batch)[0].item()
    scatter(frozen, seed=5)
    assert retention.losses(batch)[0].item() == before


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
        ContrastiveRetention(config, tiny_stream[1], frozen, m, 0).losses(batch)[0].item()
        for m in (near, live)
    ]
    assert losses[0] < losses[1]


@pytest.mark.parametrize(
    ("name", "kind"), [("MultiVAE", OutputRetention), ("RecVAE", OutputRetention), ("CDAE", OutputRetention)]
)
def test_output_retention_is_zero_until_the_member_changes(make_config, tiny_stream, name, kind):
    config, frozen, live = past_and_present(make_config, tiny_stream, name)
    retention = make_retention(config, tiny_stream[1], frozen, live, seed=0)
    rows = live.get_rating_matrix(torch.tensor([3]))
    assert type(retention) is kind and retention.parameters() == []
    (loss,) = retention.losses(batch_of(tiny_stream[1]))
    assert abs(loss.item()) < 1e-6
    scatter(live, seed=1)
    (loss,) = retention.losses(batch_of(tiny_stream[1]))
    loss.backward()
    assert loss.item() > 1e-3
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in live.parameters())
    assert all(p.grad is None for p in frozen.parameters())
    assert torch.equal(live.get_rating_matrix(torch.tensor([3])), rows)


def test_output_retention_is_the_divergence_on_earlier_rows(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "MultiVAE", output_kl_weight=0.3)
    scatter(live, seed=1)
    (loss,) = OutputRetention(config, tiny_stream[1], frozen, live, seed=0).losses(batch_of(tiny_stream[1]))
    rows = torch.from_numpy(tiny_stream[0].train_matrix.toarray())
    total = 0.0
    for user in (3, 7, 20):
        wide = torch.zeros(1, live.n_items)
        wide[0, : frozen.n_items] = rows[user]
        p = frozen(rows[user][None])[0][0, 1:].softmax(dim=0)
        q = live(wide)[0][0, 1 : frozen.n_items].softmax(dim=0)
        total += (p * (p / q).log()).sum()
    torch.testing.assert_close(loss, 0.3 * total / 3, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_output_retention_reads_what_the_past_was_predicted_from(make_config, tiny_stream, graph):
    # a block before in which most users do not occur
    block, before = copy(tiny_stream[2]), tiny_stream[1].parts(60)[0]
    block.previous = before
    config, frozen = small_model(make_config, "MultiVAE", before, output_kl_weight=1.0, graph=graph)
    live = grow(frozen, config, block).eval()
    scatter(live, seed=1)
    users = torch.arange(1, before.n_users)
    batch = Interaction({"user_id": users})
    (loss,) = OutputRetention(config, block, frozen, live, seed=0).losses(batch)
    rows = before.train_so_far if graph == "cumulative" else before.train_matrix
    kept = np.flatnonzero(rows.getnnz(axis=1))
    # with the block's graph some have done nothing that the members could read
    assert (len(kept) < len(users)) == (graph == "block")
    old = torch.from_numpy(rows[kept].toarray())
    wide = torch.zeros(len(kept), live.n_items)
    wide[:, : frozen.n_items] = old
    p = frozen(old)[0][:, 1:].log_softmax(dim=1)
    q = live(wide)[0][:, 1 : frozen.n_items].log_softmax(dim=1)
    torch.testing.assert_close(loss, (p.exp() * (p - q)).sum(dim=1).mean(), atol=1e-6, rtol=1e-4)


def test_outputs_of_cdae_are_held_before_their_sigmoid(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "CDAE", output_kl_weight=1.0)
    scatter(live, seed=1)
    (loss,) = OutputRetention(config, tiny_stream[1], frozen, live, seed=0).losses(batch_of(tiny_stream[1]))
    users = torch.tensor([3, 7, 20])
    rows = torch.from_numpy(tiny_stream[0].train_matrix.toarray())[users]
    wide = torch.zeros(3, live.n_items)
    wide[:, : frozen.n_items] = rows
    p = frozen(rows, users)[:, 1:].log_softmax(dim=1)
    q = live(wide, users)[:, 1 : frozen.n_items].log_softmax(dim=1)
    torch.testing.assert_close(loss, (p.exp() * (p - q)).sum(dim=1).mean(), atol=1e-6, rtol=1e-4)


def test_pairs_held_are_no_more_than_a_batch_and_drawn_as_before(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "NeuMF", output_kl_weight=1.0)
    scatter(live, seed=1)
    block, batch = tiny_stream[1], batch_of(tiny_stream[1])
    whole = PairRetention(config, block, frozen, live, seed=0).losses(batch)[0].item()
    config["train_batch_size"] = 5
    retention = PairRetention(config, block, frozen, live, seed=0)
    state = retention.state()
    drawn = [retention.losses(batch)[0].item() for _ in range(800)]
    assert len(set(drawn)) > 100 and abs(sum(drawn) / len(drawn) - whole) < 0.1 * whole
    again = PairRetention(config, block, frozen, live, seed=1)
    again.load_state(state)
    assert [again.losses(batch)[0].item() for _ in range(3)] == drawn[:3]


@pytest.mark.parametrize("name", ["NeuMF", "DMF"])
def test_pair_retention_is_the_divergence_on_earlier_pairs(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name, output_kl_weight=0.3)
    retention = make_retention(config, tiny_stream[1], frozen, live, seed=0)
    assert type(retention) is PairRetention
    batch = batch_of(tiny_stream[1])
    if name == "NeuMF":
        assert abs(retention.losses(batch)[0].item()) < 1e-6
    scatter(live, seed=1)
    (loss,) = retention.losses(batch)
    terms = []
    for user in (3, 7, 20):
        for item in tiny_stream[0].train_matrix[user].indices:
            pair = torch.tensor([user]), torch.tensor([int(item)])
            p, q = torch.sigmoid(frozen(*pair)), torch.sigmoid(live(*pair))
            terms.append(p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())
    torch.testing.assert_close(loss, 0.3 * torch.cat(terms).mean(), atol=1e-6, rtol=1e-4)
    assert loss.item() > 0
    loss.backward()
    assert all(p.grad is None for p in frozen.parameters())


@pytest.mark.parametrize("name", ["BPR", "MultiVAE", "NeuMF"])
def test_a_batch_of_new_users_has_as_many_terms_and_they_are_zero(make_config, tiny_stream, name):
    config, frozen, live = past_and_present(make_config, tiny_stream, name, piw=False)
    scatter(live, seed=1)
    block = tiny_stream[1]
    batch = Interaction(
        {"user_id": torch.tensor([block.n_users - 1]), "item_id": torch.tensor([block.n_items - 1])}
    )
    (loss,) = make_retention(config, block, frozen, live, seed=0).losses(batch)
    assert loss.item() == 0.0


def test_a_member_that_reads_rows_contrasts_the_items_of_its_users(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "ENMF", piw=False)
    block = tiny_stream[1]
    retention = ContrastiveRetention(config, block, frozen, live, seed=0)
    batch = Interaction({"user_id": torch.tensor([3, 50])})
    expected = {i for u in (3, 50) for i in block.train_matrix[u].indices if i < block.n_old_items}
    assert retention.earlier_items(batch).tolist() == sorted(expected)


def test_the_frozen_member_keeps_its_weights_and_its_rows(make_config, tiny_stream):
    config, frozen, live = past_and_present(make_config, tiny_stream, "MultiVAE")
    frozen.train()
    before, rows = state_of(frozen), frozen.get_rating_matrix(torch.arange(5))
    retention = OutputRetention(config, tiny_stream[1], frozen, live, seed=0)
    retention.losses(batch_of(tiny_stream[1]))
    assert not frozen.training
    assert torch.equal(frozen.get_rating_matrix(torch.arange(5)), rows)
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())
