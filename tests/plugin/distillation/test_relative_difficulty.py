"""Relative difficulty in a stage: which interactions weigh what, and when nothing does."""

import pytest
import torch

from recbole_ccd.plugin.distillation import RelativeDifficulty
from recbole_ccd.plugin.distillation.relative_difficulty import member_ranks
from tests.model.small_models import all_scores, small_model, state_of
from tests.plugin.stages import stage_trainer

KEYS = {"epochs": 4, "difficulty_warmup": 0.5, "difficulty_rank": 5, "distill_rank_sample": 10**6}


@pytest.fixture
def make_stage(make_config, tiny_stream):
    """Makes a stage 1 with these ranks of what it learns, or those of two models."""

    def make(name="BPR", ranks=None, weighted=True, **keys):
        block, ways = tiny_stream[0], {"distill_weighting": "relative_difficulty", **KEYS, **keys}
        members = [
            small_model(make_config, member, block, seed)[1] for member, seed in (("BPR", 5), ("NeuMF", 6))
        ]
        config, model = small_model(make_config, name, block, **ways)
        ranks = member_ranks(members, block.train_matrix) if ranks is None else ranks
        plugins = [RelativeDifficulty(ranks)] if weighted else []
        return stage_trainer(config, model, block, "student_generation", *plugins), members

    return make


def batch_of(trainer):
    return next(iter(trainer.block.train_loader(trainer.config, seed=1)))


def rows(model, batch, users, items):
    """BPR of each interaction from vectors, as it is written."""
    user, positive, negative = (
        table[batch[field]]
        for table, field in ((users, "user_id"), (items, "item_id"), (items, "neg_item_id"))
    )
    return -torch.log(torch.sigmoid((user * positive).sum(1) - (user * negative).sum(1)))


def rank(scores, user, item, train):
    others = [j for j in range(1, len(scores[user])) if not train[user, j]]
    return 1 + sum(int(scores[user, j] > scores[user, item]) for j in others), len(others)


def weights_by_a_loop(trainer, members, batch, warming):
    train, found = trainer.block.train_matrix.toarray(), []
    scores = [all_scores(model) for model in (trainer.model, *members)]
    for user, item in zip(batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True):
        (of_student, n), *of_members = (rank(of, user, item, train) for of in scores)
        ranks = [found_rank for found_rank, _ in of_members]
        # estimated on all candidates
        of_student = 1 + (of_student - 1) * (n - 1) // n
        hard = (ranks[0] * ranks[1]) ** 0.5 > 5, of_student > 5
        found.append(min(ranks) / max(ranks) if warming else 1.0 if hard[0] != hard[1] else 0.1)
    weights = torch.tensor(found)
    return weights / weights.mean()


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_a_batch_is_weighed_as_by_a_loop(make_stage, name, epoch):
    trainer, members = make_stage(name, **({"reg_weight": 0.0} if name == "LightGCN" else {}))
    (plugin,), batch = trainer.plugins, batch_of(trainer)
    plugin.before_epoch(epoch)
    weights = weights_by_a_loop(trainer, members, batch, warming=epoch < 2)
    assert weights.min() < 1 < weights.max()
    users, items = (
        trainer.model()
        if name == "LightGCN"
        else (trainer.model.user_embedding.weight, trainer.model.item_embedding.weight)
    )
    expected = (weights * rows(trainer.model, batch, users, items)).mean()
    found = trainer._with_extra(None)(batch)
    torch.testing.assert_close(found, expected)
    # afterwards it is the loss that it was
    plain, _ = make_stage(name, weighted=False, **({"reg_weight": 0.0} if name == "LightGCN" else {}))
    assert torch.equal(trainer.model.calculate_loss(batch), plain.model.calculate_loss(batch))


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NGCF"])
def test_equal_weights_change_no_bit(make_stage, tiny_stream, name):
    ones = torch.ones(tiny_stream[0].train_matrix.nnz, 2, dtype=torch.int32)
    after = []
    for keys in ({"weighted": False}, {"ranks": ones, "difficulty_floor": 1.0}):
        trainer, _ = make_stage(
            name, epochs=3, **keys, **({"message_dropout": 0.0} if name == "NGCF" else {})
        )
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        after.append((state_of(trainer.model), trainer.history()))
    assert after[0][0].keys() == after[1][0].keys() and after[0][1] == after[1][1]
    assert all(torch.equal(value, after[1][0][key]) for key, value in after[0][0].items())


def test_it_is_said_of_a_single_member(make_stage, tiny_stream, caplog):
    n = tiny_stream[0].train_matrix.nnz
    with caplog.at_level("INFO", "recbole_ccd"):
        make_stage(ranks=torch.randint(1, 9, (n, 1)))
    assert "a teacher of one member always agrees with itself" in caplog.text
