"""Stages that hold on to the past, with and without replay, of teacher and student."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole_ccd.trainer.replay import ReplayTrainer
from recbole_ccd.trainer.retaining import RetainingTrainer
from recbole_ccd.trainer.retention import (
    ContrastiveRetention,
    GraphSAILRetention,
    OutputRetention,
    PairRetention,
    make_retention,
)
from recbole_ccd.trainer.retention.base import cluster_centers
from recbole_ccd.trainer.student_update import PlainUpdateTrainer, RetainingStudentTrainer
from recbole_ccd.trainer.teacher_update import RetainingTeacherTrainer, TeacherUpdateTrainer

from recbole_ccd.model.growth import grow
from recbole_ccd.model.scoring import factors
from recbole_ccd.trainer import StageTrainer, make_trainer
from tests.model.small_models import scatter, small_model, state_of

NOTHING = {"lwc_kd_weight": 0.0, "piw": False, "output_kl_weight": 0.0}
GRAPHSAIL = {
    "graphsail_local_weight": 0.2,
    "graphsail_global_weight": 0.3,
    "graphsail_self_weight": 0.5,
    "graphsail_temperature": 0.7,
    "graphsail_clusters": 4,
}
NO_GRAPHSAIL = GRAPHSAIL | {f"graphsail_{name}_weight": 0.0 for name in ("local", "global", "self")}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_update(make_config, tiny_stream, tmp_path):
    """Makes a trainer on block 1, the frozen model of block 0, and the grown copy inside the trainer."""

    def make(name="BPR", stage=RetainingStudentTrainer, **keys):
        run = {"run_dir": str(tmp_path / "run"), "checkpoint_dir": str(tmp_path / "run")}
        config, old = small_model(make_config, name, tiny_stream[0], **run, **GRAPHSAIL | keys)
        torch.manual_seed(5)
        model = grow(old, config, tiny_stream[1])
        trainer = make_trainer(stage, config.for_stage(stage.stage), model)
        return trainer.at_block(tiny_stream[1], "block 1", seed=3), old

    return make


def trained(trainer):
    """The weights after a run, whatever was drawn from the global generators before."""
    torch.manual_seed(0)
    trainer.run(show_progress=False)
    return state_of(trainer.model)


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


def batch_of(block, users=(3, 7, 7, 20, 50)):
    items = torch.tensor([1, 5, 5, block.n_items - 1, 9])[: len(users)]
    return Interaction(
        {"user_id": torch.tensor(users), "item_id": items, "neg_item_id": torch.ones_like(items)}
    )


def test_stages_and_what_they_share():
    assert TeacherUpdateTrainer.stage == RetainingTeacherTrainer.stage == "teacher_update"
    assert RetainingStudentTrainer.stage == PlainUpdateTrainer.stage == "student_update"
    assert issubclass(TeacherUpdateTrainer, ReplayTrainer) and issubclass(
        TeacherUpdateTrainer, RetainingTrainer
    )
    for stage in (RetainingTeacherTrainer, RetainingStudentTrainer, PlainUpdateTrainer):
        assert issubclass(stage, StageTrainer) and not issubclass(stage, ReplayTrainer)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("LightGCN", ContrastiveRetention), ("NeuMF", PairRetention), ("MultiVAE", OutputRetention)],
)
@pytest.mark.parametrize("stage", [RetainingTeacherTrainer, RetainingStudentTrainer])
def test_terms_that_fit_the_model_are_found_and_learned_with(make_update, name, kind, stage):
    keys = {"lwc_kd_weight": 5.0, "output_kl_weight": 5.0}
    trainer, old = make_update(name, stage, **keys)
    assert trainer.retain(frozen=old) is trainer and type(trainer._retention) is kind
    before, frozen = state_of(trainer.model), state_of(old)
    held = trained(trainer)
    free = trained(make_update(name, stage, **keys)[0])
    assert not same(before, held) and not same(free, held)
    assert same(frozen, old.state_dict())


def test_the_terms_own_parameters_are_learned_too(make_update):
    trainer, old = make_update("LightGCN", RetainingTeacherTrainer, piw=True, learning_rate=0.01)
    groups = len(trainer.optimizer.param_groups)
    trainer.retain(frozen=old)
    assert len(trainer.optimizer.param_groups) == groups + 1
    centers = trainer._retention.parameters()[0].detach().clone()
    trained(trainer)
    assert not torch.equal(trainer._retention.parameters()[0], centers)


@pytest.mark.parametrize(
    ("name", "kind", "keys"),
    [
        ("BPR", None, NOTHING),
        ("LightGCN", None, NOTHING),
        ("NeuMF", None, NOTHING),
        ("BPR", GraphSAILRetention, NO_GRAPHSAIL),
        ("LightGCN", GraphSAILRetention, NO_GRAPHSAIL),
    ],
)
def test_without_weights_a_stage_is_plain_training(make_update, name, kind, keys):
    trainer, old = make_update(name, **keys, epochs=2)
    trainer.retain(frozen=old, kind=kind)
    assert trainer._retention is None and trainer.extra_losses(batch_of(trainer.block)) == ()
    assert len(trainer.optimizer.param_groups) == 1
    plain, _ = make_update(name, PlainUpdateTrainer, **keys, epochs=2)
    assert same(trained(plain), trained(trainer))


def test_a_stage_that_was_told_nothing_is_plain_training(make_update):
    assert same(trained(make_update()[0]), trained(make_update(stage=PlainUpdateTrainer)[0]))


def test_weights_of_other_terms_do_not_matter(make_config, tiny_stream):
    def retention(name, **keys):
        config, frozen = small_model(make_config, name, tiny_stream[0], **{**NOTHING, **NO_GRAPHSAIL, **keys})
        return make_retention(config, tiny_stream[1], frozen, grow(frozen, config, tiny_stream[1]), seed=0)

    assert retention("BPR", output_kl_weight=1.0, piw_weight=1.0, graphsail_self_weight=1.0) is None
    assert retention("NeuMF", lwc_kd_weight=1.0, piw=True) is None
    assert retention("BPR", piw=True, piw_weight=0.0) is None
    assert retention("BPR", lwc_kd_weight=1.0) is not None
    assert retention("NeuMF", output_kl_weight=1.0) is not None
    # the clusters' own loss is all that is left
    assert len(retention("BPR", piw=True, piw_weight=1.0).losses(batch_of(tiny_stream[1]))) == 1


def graphsail(make_update, name="BPR", **keys):
    trainer, old = make_update(name, **keys)
    scatter(trainer.model, seed=1)
    trainer.model.eval()
    return GraphSAILRetention(trainer.config, trainer.block, old, trainer.model, seed=0)


def naive_graphsail(retention, block, sides):
    """Local, global and self terms by loops over the users, then the items, of a batch."""
    old, new = (
        [vectors.detach() for vectors in factors(model)] for model in (retention.frozen, retention.live)
    )
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
            for centers in retention._centers:
                p, q = (torch.softmax(centers @ vectors[side][v] / 0.7, dim=0) for vectors in (old, new))
                divergences.append((p * (p / q).log()).sum())
            weights.append(len(mine) / (len(mine) + now.sum(axis=1 - side)[v]))
            squares.append(((new[side][v] - old[side][v]) ** 2).sum() * weights[-1])
        local.append(sum(changes) / len(changes))
        overall.append(sum(divergences) / len(ids))
        own.append(sum(squares) / sum(weights))
    return [sum(local), sum(overall), sum(own)]


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "ENMF"])
def test_graphsail_equals_loops(make_update, name):
    retention = graphsail(make_update, name)
    block = retention.block
    losses = retention.losses(batch_of(block))
    expected = naive_graphsail(retention, block, ([3, 7, 20], [1, 5, 9]))
    assert [term.dim() for term in losses] == [0, 0, 0]
    for term, weight, value in zip(losses, (0.2, 0.3, 0.5), expected, strict=True):
        assert value > 1e-4
        torch.testing.assert_close(term.detach(), weight * value, atol=1e-7, rtol=1e-4)


def test_graphsails_centres_are_those_of_users_and_of_items(make_update):
    retention = graphsail(make_update)
    users, items = retention._centers
    assert users.shape == items.shape == (4, 8) and not torch.equal(users, items)
    old = factors(retention.frozen)[0][1:]
    nearest = torch.cdist(old, users).argmin(dim=1)
    for cluster in range(4):
        torch.testing.assert_close(old[nearest == cluster].mean(dim=0).detach(), users[cluster])


def test_evidence_of_all_earlier_blocks_counts_as_old(make_config, tiny_stream):
    config, frozen = small_model(make_config, "BPR", tiny_stream[1], **GRAPHSAIL)
    block = tiny_stream[2]
    retention = GraphSAILRetention(config, block, frozen, grow(frozen, config, block), seed=0)
    for axis, weights in enumerate(retention._weights):
        past, now = (
            m.toarray().sum(axis=1 - axis) for m in (tiny_stream[1].train_so_far, block.train_matrix)
        )
        assert len(weights) == len(past) and past[1:].min() < past.max()
        expected = [old / (old + new) if old else 0.0 for old, new in zip(past, now, strict=False)]
        assert weights.tolist() == pytest.approx(expected)


def test_graphsail_is_nothing_until_the_model_changes(make_update):
    trainer, old = make_update("BPR")
    retention = GraphSAILRetention(trainer.config, trainer.block, old, trainer.model, seed=0)
    assert [term.item() for term in retention.losses(batch_of(trainer.block))] == pytest.approx(
        [0.0] * 3, abs=1e-6
    )


def test_graphsails_past_is_what_it_was_when_it_began(make_update):
    retention = graphsail(make_update)
    before = [term.item() for term in retention.losses(batch_of(retention.block))]
    scatter(retention.frozen, seed=9)
    assert [term.item() for term in retention.losses(batch_of(retention.block))] == before


def test_graphsails_gradients_reach_the_live_model_only(make_update):
    retention = graphsail(make_update, "LightGCN")
    sum(retention.losses(batch_of(retention.block))).backward()
    assert all(p.grad is None for p in retention.frozen.parameters())
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in retention.live.parameters())
    assert retention.parameters() == []


def test_a_graphsail_term_without_weight_is_left_out(make_update):
    losses = graphsail(make_update).losses
    fewer = graphsail(make_update, graphsail_global_weight=0.0)
    assert [term.item() for term in fewer.losses(batch_of(fewer.block))] == [
        term.item() for number, term in enumerate(losses(batch_of(fewer.block))) if number != 1
    ]
    assert "_centers" not in vars(fewer)


def test_a_batch_of_new_ids_has_as_many_terms_and_they_are_zero(make_update):
    retention = graphsail(make_update)
    block = retention.block
    ids = {"user_id": torch.tensor([block.n_users - 1]), "item_id": torch.tensor([block.n_items - 1])}
    losses = retention.losses(Interaction(ids))
    assert [term.item() for term in losses] == [0.0] * 3
    sum(losses).backward()
    assert all(p.grad.isfinite().all() for p in retention.live.parameters())


def test_the_more_weight_the_nearer_to_the_past(make_update):
    distances = []
    for weight in (0.0, 1.0, 100.0):
        keys = {**NO_GRAPHSAIL, "graphsail_self_weight": weight, "learning_rate": 0.02, "epochs": 3}
        trainer, old = make_update("BPR", **keys)
        after = trained(trainer.retain(frozen=old, kind=GraphSAILRetention))
        before = old.item_embedding.weight.detach()
        distances.append((after["item_embedding.weight"][: len(before)] - before).norm().item())
    assert distances[0] > distances[1] > distances[2]


def test_one_seed_one_result(make_update):
    results = []
    for _ in range(2):
        trainer, old = make_update("LightGCN")
        results.append(trained(trainer.retain(frozen=old, kind=GraphSAILRetention)))
    assert same(*results)


def test_there_are_never_more_clusters_than_vectors():
    vectors = torch.tensor([[0.0, 1.0], [4.0, 4.0], [9.0, 0.0]])
    assert sorted(cluster_centers(vectors, 10, seed=0).tolist()) == sorted(vectors.tolist())
    assert cluster_centers(vectors, 1, seed=0).tolist() == [pytest.approx([13 / 3, 5 / 3])]
