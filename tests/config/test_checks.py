"""Which values are possible, and what is said of the others."""

import pytest

from recbole_ccd.config import CCDConfig
from tests.config.refused import refused, write

WRONG = {
    "epochs": [0, -1, 1.5, "ten", True, None, [1]],
    "learning_rate": [0, -0.1, float("nan"), float("inf"), "fast", True, None],
    "train_batch_size": [0, 2.0],
    "eval_batch_size": [0],
    "eval_step": [0],
    "stopping_step": [-1],
    "weight_decay": [-1e-9],
    "embedding_size": [0, "8", 8.0],
    "seed": [-1, 2**32],
    "metric_decimal_place": [0],
    "learner": ["lbfgs", 3],
    "topk": [0, [], [10, 0], [10, "20"], None, True],
    "metrics": [["Recal"], [], 3, ["Recall", "AUC"], ["RMSE"], "LogLoss", ["ItemCoverage"], ["GiniIndex"]],
    "valid_metric": ["Recall@7", "Recall", "MRR@20", 3],
    "use_gpu": ["no", 1, None],
    "gpu_id": [-1, [0], None],
    "state": ["LOUD"],
    "graph": ["all", None],
    "mask_history": ["none"],
    "block_ratios": [[], [0.5, 0.6], [1.5, -0.5], [1.0, 0.0], "0.5", [0.5, "0.5"], None],
    "block_boundaries": [[], [3, 2], [2, 2], ["1998-01-01", 3], ["January"], "1998-01-01", [True, 2]],
    "benchmark_filename": [[], ["a", "a"], "a", [1]],
    "load_col": [["user_id"], "user_id"],
    "eval_args": [None, "full", ["RO"]],
    "train_neg_sample_args": ["uniform", 3],
    "student_update_epochs": [0, "3"],
    "base_learner": ["lbfgs"],
    "stability_ema": [1.1, -0.1, [], [0.5, 2], "0.5"],
    "student_replay_candidates": [0, [50, 0], 2.5, 4, [100, 3]],
    "student_replay_stability": [-1, 101, [1, 200]],
    "teacher_replay_student": [101],
    "distill_layer": ["middle"],
    "base_student_args": [3, {"learning_rate": 0}, {"distill_layer": "middle"}],
    "n_uninteresting_items": [0, "all"],
    "ensemble_exponent": [0],
    "lwc_kd_temperature": [0],
    "piw": ["yes", 1],
    "exclude_student_items": ["yes"],
    "teacher_models": [[], "LightGCN", [3]],
    "teacher_args": [[1], 3, {"embedding_size": 0}, {"MultiVAE": 3}, {"MultiVAE": {"latent_dimension": "a"}}],
    "deployed_student": ["both"],
    "replay_rank_student": ["teacher"],
    "rm_dup_inter": ["middle"],
    "show_epochs": [0],
    "shuffle": ["maybe"],
    "nproc": [2],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_impossible_values(key, value):
    message = refused(key, config_dict={key: value})
    assert "config_dict" in message
    assert ";" in message, "the remedy follows the problem"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("eval_args.split", {"LS": "train"}),
        ("eval_args.split", {"TS": [0.8, 0.1, 0.1]}),
        ("eval_args.split", {"RS": [0.8, 0.1]}),
        ("eval_args.split", {"RS": [0.0, 0.5, 0.5]}),
        ("eval_args.split", {"RS": [0.8, 0.1, 0.2]}),
        ("eval_args.split", {"RS": [1.1, -0.1, 0.0]}),
        ("eval_args.split", None),
        ("eval_args.mode", "uni100"),
        ("eval_args.mode", {"valid": "uni100"}),
        ("eval_args.order", "SO"),
        ("eval_args.group_by", "item"),
        ("train_neg_sample_args.sample_num", 0),
        ("train_neg_sample_args.distribution", "normal"),
        ("clip_grad_norm.max_norm", 0),
    ],
)
def test_impossible_values_in_dictionaries(path, value):
    key, part = path.split(".")
    refused(f"{path} is", "config_dict", "; give", config_dict={key: {part: value}})


def test_the_source_of_an_impossible_value_is_the_one_that_decided(tmp_path):
    file = write(tmp_path / "my.yaml", "epochs: 0\n")
    refused(file, config_file_list=[file])
    refused("command line", config_file_list=[file], argv=["--epochs=-3"])
    assert CCDConfig(config_file_list=[file], argv=["--epochs=3"])["epochs"] == 3
    refused("valid_metric", "Recall@20", "default", "recall@10", config_dict={"topk": 10})


RIGHT = {
    "learning_rate": [1],
    "weight_decay": [0],
    "clip_grad_norm": [None, {"max_norm": 5}],
    "block_ratios": [[1.0], [0.5, 0.25, 0.25]],
    "block_boundaries": [None, [881250949, 885000000.5], ["1997-12-01"]],
    "metrics": ["Recall", ["recall", "GAUC", "Hit"]],
    "valid_metric": ["NDCG@50", "ndcg@50"],
    "stability_ema": [1, [1.0, 0.9], 0.0],
    "student_replay_candidates": [[50, 100]],
    "eval_args": [
        {"split": {"RS": [1, 0, 0]}},
        {"mode": {"valid": "full", "test": "full"}},
        {"mode": {"test": "full"}},
    ],
    "train_neg_sample_args": [None],
    "gpu_id": [0, "0,1"],
    "learner": ["Adam", "sgd"],
    "rm_dup_inter": ["first"],
    "user_inter_num_interval": ["[5,inf)", None],
    "RATING_FIELD": [None, "stars"],
    "n_uninteresting_items": [100],
    "ensemble_rank_depth": [None, 100],
    "replay_rank_sample": [None, 1],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in RIGHT.items() for value in values]
)
def test_possible_values(key, value):
    CCDConfig(config_dict={key: value})


def test_the_teacher_ranks_as_many_items_as_are_asked_of_it():
    refused("ensemble_rank_depth is 99", "topk with 100", "raise", config_dict={"ensemble_rank_depth": 99})
    keys = {"ensemble_rank_depth": 30, "topk": [20]}
    refused("distill_top_k with 40", config_dict=keys)
    refused("exclusion_top_k with 31", config_dict={**keys, "distill_top_k": 30, "exclusion_top_k": 31})
    CCDConfig(config_dict={**keys, "distill_top_k": 30, "exclusion_top_k": 30})


@pytest.mark.parametrize(
    "names",
    [
        ["train", "valid", "test"],
        ["train", "test"],
        ["Train"],
        ["b0", "test"],
        ["b0_train", "b0_valid", "b0_test"],
        ["b0-train"],
        ["b0.train", "b0.val", "b0.test"],
    ],
)
def test_a_part_by_itself_is_no_block(names):
    shown = f"benchmark_filename is {names} (config_dict), where '"
    refused(shown, "b0.train, b0.valid, b0.test", config_dict={"benchmark_filename": names})


@pytest.mark.parametrize("names", [["latest", "contest"], ["trainers", "b.test.1"], ["x.train.old"]])
def test_a_block_may_be_called_much(names):
    assert CCDConfig(config_dict={"benchmark_filename": names})["benchmark_filename"] == names
