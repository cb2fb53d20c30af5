"""Batches, epochs and validations by the size of a block."""

import math

import pytest

from recbole_ccd.data.schedule import batch_size_for, rate_for, rows_to_visit, scheduled, steps_of


@pytest.mark.parametrize(
    ("rows", "batch"),
    [(1, 32), (640, 32), (8000, 512), (40_000, 2048), (120_000, 8192), (10_000_000, 8192)],
)
def test_a_batch_is_a_twentieth_of_an_epoch_within_bounds(rows, batch):
    assert batch_size_for(rows) == batch


def test_blocks_of_all_sizes_are_learned_by_about_as_many_steps(make_config, tiny_stream):
    block = tiny_stream[0]
    config = scheduled(make_config(epochs="auto", eval_step="auto", train_batch_size="auto"), block)
    rows = len(block.train)
    assert config["train_batch_size"] == batch_size_for(rows)
    steps = math.ceil(rows / config["train_batch_size"])
    assert steps == steps_of(rows, config["train_batch_size"])
    assert 0.5 < steps * config["eval_step"] / 100 < 1.5
    assert config["epochs"] == 20 * config["eval_step"]


def test_what_is_set_stays_and_the_rest_follows_from_it(make_config, tiny_stream):
    block = tiny_stream[0]
    given = make_config(epochs=7, eval_step="auto", train_batch_size=len(block.train))
    config = scheduled(given, block)
    assert (config["epochs"], config["eval_step"], config["train_batch_size"]) == (7, 100, len(block.train))
    assert given["eval_step"] == "auto"
    plain = make_config()
    assert scheduled(plain, block) is plain


def test_rates_by_batch_grow_with_its_root(make_config, tiny_stream):
    assert [rate_for(size) for size in (512, 2048, 8192)] == [0.0025, 0.005, 0.01]
    block = tiny_stream[0]
    config = scheduled(make_config(learning_rate="by_batch", train_batch_size=512), block)
    assert (config["learning_rate"], config["train_batch_size"]) == (0.0025, 512)
    config = scheduled(make_config(learning_rate="by_batch", train_batch_size="auto"), block)
    assert config["learning_rate"] == rate_for(batch_size_for(len(block.train)))


@pytest.mark.parametrize(
    ("model", "graph", "decay"),
    [("LightGCN", "cumulative", 1e-6), ("LightGCN", "block", 0.0), ("BPR", "cumulative", 0.0)],
)
def test_weights_decay_where_no_row_is_idle(make_config, tiny_stream, model, graph, decay):
    config = make_config(model, graph=graph, weight_decay="auto")
    assert scheduled(config, tiny_stream[0])["weight_decay"] == decay
    assert scheduled(make_config(model, weight_decay=0.01), tiny_stream[0])["weight_decay"] == 0.01


def test_weights_decay_by_the_interactions_so_far(make_config, tiny_stream):
    config, n_so_far = make_config(weight_decay="by_size"), 0
    for block in tiny_stream:
        n_so_far += len(block.train)
        assert scheduled(config, block)["weight_decay"] == 0.3 / n_so_far
        # who learns the past again has no more of it
        assert scheduled(config, block.with_all_earlier())["weight_decay"] == 0.3 / n_so_far


def test_weights_decay_by_the_users_so_far_where_rows_are_learned(make_config, tiny_stream):
    config, users = make_config("MultiVAE", weight_decay="by_size"), set()
    for block in tiny_stream:
        users |= set(block.train.inter_feat["user_id"].tolist())
        assert scheduled(config, block)["weight_decay"] == 0.3 / len(users)


def test_models_that_learn_from_whole_rows_visit_users(make_config, tiny_stream):
    block = tiny_stream[1]
    users = len(set(block.train.inter_feat["user_id"].tolist()))
    assert rows_to_visit(make_config("MultiVAE"), block) == users < len(block.train)
    assert rows_to_visit(make_config("BPR"), block) == len(block.train)
