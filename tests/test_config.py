"""CCDConfig: where settings come from, what is refused and how, and the views of stages and members."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
import yaml
from recbole.config import Config
from recbole.utils import ModelType, argument_list

from recbole_ccd.config import STAGE_KEYS, STAGES, CCDConfig
from recbole_ccd.config.catalogue import general_models, names_of, properties_dir
from recbole_ccd.config.sources import ConfigLoader
from recbole_ccd.errors import ConfigError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(*parts, **sources):
    """The message with which a configuration is refused; it must hold every part and be one line."""
    with pytest.raises(ConfigError) as caught:
        CCDConfig(**sources)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


# defaults


def test_defaults_are_ccd_with_a_compact_lightgcn_on_ml_100k():
    config = CCDConfig()
    assert (config["model"], config["dataset"], config["strategy"]) == ("LightGCN", "ml-100k", "ccd")
    assert config.model_class.__module__ == "recbole_ccd.model.lightgcn"
    assert config["embedding_size"] == 8
    assert config["MODEL_TYPE"] == ModelType.GENERAL
    assert config["normalize_all"] is None
    assert config["data_path"].rstrip("/").endswith("dataset_example/ml-100k")
    assert config["replay_temperature"] == 1e-4


def test_ccd_as_a_model_is_the_default_student():
    assert CCDConfig(argv=["--model=CCD"])["model"] == "LightGCN"
    assert CCDConfig(model="CCD", argv=["--strategy=ccd"]).model == "LightGCN"


@pytest.mark.parametrize("model", ["BPR", "MultiVAE", "NeuMF", "EASE", "Pop"])
def test_other_general_and_traditional_students(model):
    config = CCDConfig(model=model)
    assert config["model"] == model == config.model_class.__name__
    knows_size = model in ("BPR",)
    assert config["embedding_size"] == (8 if knows_size else None)


def test_a_model_class_is_taken_as_it_is():
    from recbole.model.general_recommender import BPR

    class Mine(BPR):
        pass

    config = CCDConfig(model=Mine)
    assert config.model_class is Mine and config["model"] == "Mine"


def test_every_properties_file_is_valid_for_every_student():
    for dataset in names_of("dataset"):
        for strategy in names_of("strategy"):
            for preset in [None, *names_of("preset")]:
                for model in ("LightGCN", "MultiVAE"):
                    settings = {"strategy": strategy, "preset": preset}
                    config = CCDConfig(model, dataset, config_dict=settings)
                    assert config["strategy"] == strategy


def test_every_key_of_ours_is_explained_where_its_default_stands():
    for path in properties_dir().rglob("*.yaml"):
        if path.parent.name in ("preset", "ablation"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and line[0].isalpha():
                assert "# (" in line, f"{path.name}: {line}"


def test_yelp_blocks():
    config = CCDConfig(dataset="yelp-ccd", config_dict={"data_path": "/some/where"})
    assert config["data_path"] == "/some/where/yelp-ccd"
    assert len(config["benchmark_filename"]) == 18
    assert config["benchmark_filename"][:4] == ["block0.train", "block0.valid", "block0.test", "block1.train"]
    assert config["load_col"] == {"inter": ["user_id", "item_id"]}
    assert config["teacher_args"] == {"embedding_size": 128, "n_layers": 2}


# precedence


def test_later_sources_win(tmp_path):
    one = write(tmp_path / "one.yaml", "epochs: 1\nseed: 1\ntopk: [1, 20]\nstopping_step: 1\neval_step: 1\n")
    two = write(tmp_path / "two.yaml", "epochs: 2\nseed: 2\nstopping_step: 22\n")
    three = write(tmp_path / "three.yaml", "stopping_step: 33\n")
    config = CCDConfig(
        config_file_list=[one, two],
        config_dict={"epochs": 3, "seed": 3},
        argv=["--epochs=4", f"--config_files={three}"],
    )
    assert config["epochs"] == 4
    assert config["seed"] == 3
    assert config["stopping_step"] == 33
    assert config["topk"] == [1, 20]
    assert config["train_batch_size"] == 2048
    assert "config_files" not in config


def test_config_files_argument_names_several(tmp_path):
    one = write(tmp_path / "one.yaml", "epochs: 7\nmodel: BPR\n")
    two = write(tmp_path / "two.yaml", "seed: 8\n")
    config = CCDConfig(argv=[f"--config_files={one} {two}"])
    assert (config["epochs"], config["seed"], config["model"]) == (7, 8, "BPR")
    assert CCDConfig(config_file_list=f"{one} {two}")["seed"] == 8


def test_dictionaries_are_merged_deeply(tmp_path):
    file = write(
        tmp_path / "a.yaml", "eval_args: {split: {RS: [0.6, 0.2, 0.2]}}\nload_col: {user: [user_id]}\n"
    )
    config = CCDConfig(
        config_file_list=[file],
        config_dict={"teacher_args": {"MultiVAE": {"latent_dimension": 16}}},
        argv=["--train_neg_sample_args.sample_num=3", "--teacher_args.MultiVAE.dropout_prob=0.1"],
    )
    assert config["eval_args"]["split"] == {"RS": [0.6, 0.2, 0.2]}
    assert config["eval_args"]["group_by"] == "user"
    assert config["load_col"] == {"inter": ["user_id", "item_id", "rating", "timestamp"], "user": ["user_id"]}
    assert config["train_neg_sample_args"]["sample_num"] == 3
    assert config["train_neg_sample_args"]["distribution"] == "uniform"
    args = {"embedding_size": 64, "MultiVAE": {"latent_dimension": 16, "dropout_prob": 0.1}}
    assert config["teacher_args"] == args


def test_data_path_of_the_bundled_data_set(tmp_path):
    bundled = CCDConfig(config_dict={"data_path": str(tmp_path)})["data_path"]
    assert "dataset_example" in bundled
    (tmp_path / "ml-100k").mkdir()
    assert CCDConfig(config_dict={"data_path": tmp_path})["data_path"] == str(tmp_path / "ml-100k")


def test_command_line_of_the_process_is_not_read(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--epochs=1", "--nonsense=3", "-x", "tests"])
    assert CCDConfig()["epochs"] == 40


# reading values


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("--learning_rate=1e-4", "learning_rate", 1e-4),
        ("--weight_decay=1E-5", "weight_decay", 1e-5),
        ("--topk=[20, 10]", "topk", [20, 10]),
        ("--use_gpu=false", "use_gpu", False),
        ("--run_dir=a=b", "run_dir", "a=b"),
        ("--run_dir=2020", "run_dir", "2020"),
        ("--run_dir=~", "run_dir", None),
        ("--gpu_id=", "gpu_id", ""),
        ("--gpu_id=0,1", "gpu_id", "0,1"),
        ("--user_inter_num_interval=[5,inf)", "user_inter_num_interval", "[5,inf)"),
        ("--block_boundaries=[1997-12-01, 1998-01-01 12:00:00]", "block_boundaries", None),
    ],
)
def test_arguments_are_yaml(argument, key, value):
    config = CCDConfig(argv=[argument, "--valid_metric=recall@20"])
    if key == "block_boundaries":
        value = ["1997-12-01", "1998-01-01 12:00:00"]
    assert config[key] == value and type(config[key]) is type(value)


def test_nothing_is_evaluated(tmp_path):
    marker = tmp_path / "evaluated"
    code = f"__import__('pathlib').Path('{marker}').touch()"
    config = CCDConfig(config_dict={"checkpoint_dir": code}, argv=[f"--run_dir={code}"])
    assert config["run_dir"] == config["checkpoint_dir"] == code
    refused("epochs", "command line", argv=[f"--epochs={code}"])
    file = write(
        tmp_path / "tag.yaml", f"seed: 1\nepochs: !!python/object/apply:pathlib.Path.touch ['{marker}']\n"
    )
    refused("tag.yaml", "line 2", config_file_list=[file])
    assert not marker.exists()


def test_dictionary_values_are_taken_as_they_are_and_copied():
    settings = {
        "topk": (10, 20),
        "seed": np.int64(3),
        "teacher_args": {"embedding_size": 4},
        "run_dir": "1e3",
    }
    before = copy.deepcopy(settings)
    config = CCDConfig(config_dict=settings)
    config["topk"].append(5)
    config["teacher_args"]["embedding_size"] = 5
    assert settings == before
    assert config["run_dir"] == "1e3"
    assert type(config["seed"]) is int
    refused("epochs is '3'", "config_dict", config_dict={"epochs": "3"})


def test_recbole_and_yaml_globals_are_left_alone():
    lists = {name: copy.copy(value) for name, value in vars(argument_list).items() if isinstance(value, list)}
    loaders = (yaml.FullLoader, yaml.SafeLoader)
    resolvers = [copy.deepcopy(loader.yaml_implicit_resolvers) for loader in loaders]
    CCDConfig(dataset="ml-100k").for_member(0)
    assert {name: getattr(argument_list, name) for name in lists} == lists
    assert [loader.yaml_implicit_resolvers for loader in loaders] == resolvers
    assert yaml.load("1e-4", Loader=ConfigLoader) == 1e-4


def test_unreadable_arguments_are_text_and_refused():
    refused("topk", "command line", argv=["--topk=" + "[" * 1500])
    refused("config_dict", "dictionary", config_dict=["epochs"])


def test_it_is_a_recbole_config_that_can_be_printed():
    config = CCDConfig()
    assert isinstance(config, Config)
    assert "ensemble_exponent" in str(config) and "Continual" in str(config)
    assert config.epochs == 40 and config["no_such_key"] is None


# unknown keys


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"learnin_rate": 0.1}, ["'learnin_rate'", "config_dict", "'learning_rate'"]),
        ({"Epochs": 1}, ["'Epochs'", "'epochs'"]),
        ({"student_update_epoch": 1}, ["'student_update_epochs'"]),
        ({"distil_top_k": 1}, ["'distill_top_k'"]),
        ({"eval_args": {"splits": {}}}, ["'eval_args.splits'", "'eval_args.split'"]),
        ({"train_neg_sample_args": {"number": 1}}, ["train_neg_sample_args.number", "did you mean"]),
        ({"clip_grad_norm": {"max_nrm": 1}}, ["clip_grad_norm.max_norm"]),
        ({"latent_dimension": 3}, ["'latent_dimension'", "MultiVAE", "put it under teacher_args"]),
        ({"mlp_embedding_size": 3}, ["'mlp_embedding_size'", "NeuMF", "LightGCN"]),
        ({"teacher_args": {"n_layer": 3}}, ["'teacher_args.n_layer'", "config_dict", "'n_layers'"]),
        ({"teacher_args": {"BPR": {"n_layers": 3}}}, ["'teacher_args.BPR.n_layers'"]),
        ({"teacher_args": {"topk": [3]}}, ["'teacher_args.topk'"]),
        (
            {"teacher_args": {"NeuMF": {"mf_embedding_size": 3}}},
            ["'teacher_args.NeuMF'", "add NeuMF to teacher_models"],
        ),
        ({"MODEL_TYPE": 1}, ["'MODEL_TYPE'"]),
        ({"config_files": "a.yaml"}, ["'config_files'", "command line"]),
        ({1: 2}, ["1", "not text"]),
    ],
)
def test_unknown_keys_name_the_source_and_the_nearest_known_key(settings, parts):
    refused(*parts, config_dict=settings)


def test_unknown_keys_of_files_and_arguments(tmp_path):
    file = write(tmp_path / "my.yaml", "seed: 1\nepoch: 3\n")
    refused("'epoch'", file, "'epochs'", config_file_list=[file])
    refused("'epoch'", "command line", "'epochs'", argv=["--epoch=3"])
    refused("'eval_args.mod'", "command line", "'eval_args.mode'", argv=["--eval_args.mod=full"])


def test_defaults_for_the_teacher_that_fit_no_member_are_left_out():
    config = CCDConfig(dataset="yelp-ccd", config_dict={"teacher_models": ["BPR"]})
    assert config["teacher_args"] == {"embedding_size": 128}


@pytest.mark.parametrize("argument", ["epochs=3", "-epochs=3", "--epochs", "--=3", "--a..b=3", "three", ""])
def test_malformed_arguments(argument):
    refused("--key=value", repr(argument), argv=[argument])


def test_arguments_given_twice():
    refused("--epochs", "twice", argv=["--epochs=3", "--epochs=4"])
    assert CCDConfig(argv=["--epochs=3", "--epochs=3"])["epochs"] == 3


# files


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"epochs: 3\nseed: 1\nepochs: 4\n", ["line 3", "'epochs'", "twice"]),
        (b"seed: 1\neval_args:\n  order: RO\n  order: RO\n", ["line 4", "'order'", "twice"]),
        (b"seed: 1\nepochs: [3\n", ["line"]),
        (b"seed: 1\n\tepochs: 3\n", ["line 2"]),
        (b"- a\n- b\n", ["no mapping"]),
        (b"just text\n", ["no mapping"]),
        (b"run_dir: \xff\xfe\n", ["UTF-8"]),
        (b"1: 2\n", ["not text"]),
        (b"topk: &again [*again]\n", ["nested"]),
        (b"[" * 1500, ["nested"]),
        (b"seed: " + b"9" * 5000, ["correct that value"]),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, parts):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    refused(str(path), *parts, config_file_list=[str(path)])


def test_missing_files(tmp_path):
    refused("missing.yaml", "No such file", config_file_list=[str(tmp_path / "missing.yaml")])
    refused(str(tmp_path), argv=[f"--config_files={tmp_path}"])


def test_an_empty_file_sets_nothing(tmp_path):
    assert CCDConfig(config_file_list=[write(tmp_path / "empty.yaml", "# nothing\n")])["epochs"] == 40


# models and names


@pytest.mark.parametrize("name", ["LightGNC", "lightgcn", "../LightGCN", "recbole.x", ""])
def test_unknown_models_name_the_nearest(name):
    refused("did you mean", config_dict={"model": name})
    refused("teacher_models", config_dict={"teacher_models": ["LightGCN", name or "-"]})
    if name.lower().startswith("lightg"):
        refused("'LightGCN'", "command line", argv=[f"--model={name}"])


@pytest.mark.parametrize("name", ["GRU4Rec", "DeepFM", "CKE"])
def test_models_that_are_not_general_are_refused(name):
    refused(name, "general recommender", model=name)


def test_other_names():
    refused("strategy", "'cdc'", "ccd", argv=["--strategy=cdc"])
    refused("preset", "'nothing'", config_dict={"preset": "nothing"})
    refused("dataset", config_dict={"dataset": 3})
    refused("model", config_dict={"model": 3})
    assert {"LightGCN", "BPR", "MultiVAE"} <= set(general_models())


# values

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
    "n_uninteresting_items": [0, "all"],
    "ensemble_exponent": [0],
    "lwc_kd_temperature": [0],
    "piw": ["yes", 1],
    "teacher_models": [[], "LightGCN", [3]],
    "teacher_args": [[1], 3, {"embedding_size": 0}, {"MultiVAE": 3}, {"MultiVAE": {"latent_dimension": "a"}}],
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
        ("eval_args.split", {"LS": "valid_and_test"}),
        ("eval_args.split", {"RS": [0.8, 0.1]}),
        ("eval_args.split", {"RS": [0.0, 0.5, 0.5]}),
        ("eval_args.split", {"RS": [0.8, 0.1, 0.2]}),
        ("eval_args.split", {"RS": [1.1, -0.1, 0.0]}),
        ("eval_args.split", None),
        ("eval_args.mode", "uni100"),
        ("eval_args.mode", {"valid": "uni100"}),
        ("eval_args.order", "TO"),
        ("eval_args.group_by", "none"),
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


def test_model_settings_are_checked_by_the_type_of_their_default():
    refused("anneal_cap", "give a finite number", model="MultiVAE", config_dict={"anneal_cap": "big"})
    assert CCDConfig("MultiVAE", config_dict={"anneal_cap": 1})["anneal_cap"] == 1


# views


@pytest.mark.parametrize("stage", STAGES)
def test_for_stage_replaces_every_key(stage):
    own = dict(zip(STAGE_KEYS, [7, 0.5, 0.25, 17, 3, 9, "sgd", {"max_norm": 2.0}], strict=True))
    config = CCDConfig(config_dict={f"{stage}_{key}": value for key, value in own.items()})
    staged = config.for_stage(stage)
    assert {key: staged[key] for key in STAGE_KEYS} == own
    assert config["epochs"] == 40
    other = STAGES[0] if stage != STAGES[0] else STAGES[1]
    assert staged.for_stage(other)["epochs"] == config.for_stage(other)["epochs"]
    assert type(staged) is CCDConfig and staged.metric_names() == config.metric_names()


def test_for_stage_shares_nothing():
    config = CCDConfig()
    staged = config.for_stage("base")
    staged["topk"].append(1)
    staged["eval_args"]["split"]["RS"][0] = 0
    staged["epochs"] = 1
    assert config["topk"] == [20, 50, 100]
    assert config["eval_args"]["split"]["RS"] == [0.8, 0.1, 0.1]
    assert config["epochs"] == 40
    with pytest.raises(ConfigError, match="student_update"):
        config.for_stage("student")


def test_a_plain_key_of_the_user_holds_for_stages_that_only_we_set():
    assert CCDConfig().for_stage("student_generation")["learning_rate"] == 0.005
    config = CCDConfig(config_dict={"learning_rate": 0.1, "teacher_update_learning_rate": 0.2})
    rates = {stage: config.for_stage(stage)["learning_rate"] for stage in STAGES}
    assert rates == {"base": 0.1, "student_generation": 0.1, "student_update": 0.1, "teacher_update": 0.2}
    assert config.for_stage("student_generation")["train_batch_size"] == 1024


def test_for_member_separates_the_teacher_from_the_student():
    config = CCDConfig(
        config_dict={
            "embedding_size": 16,
            "n_layers": 1,
            "seed": 5,
            "run_dir": "here",
            "teacher_models": ["LightGCN", "MultiVAE", "BPR", "LightGCN"],
            "teacher_args": {"n_layers": 3, "MultiVAE": {"latent_dimension": 12}, "learning_rate": 0.03},
        }
    )
    lightgcn, vae, bpr, again = (config.for_member(i) for i in range(4))
    assert [m["model"] for m in (lightgcn, vae, bpr, again)] == config["teacher_models"]
    assert (lightgcn["embedding_size"], lightgcn["n_layers"], lightgcn["reg_weight"]) == (64, 3, 1e-5)
    assert (vae["latent_dimension"], vae["embedding_size"], vae["n_layers"]) == (12, None, None)
    assert (bpr["embedding_size"], bpr["latent_dimension"]) == (64, None)
    assert again.to_dict() == lightgcn.to_dict()
    for member in (lightgcn, vae, bpr):
        assert (member["seed"], member["run_dir"], member["learning_rate"]) == (5, "here", 0.03)
        assert member.for_stage("teacher_update")["learning_rate"] == 0.03
    assert lightgcn.model_class is config.model_class
    assert (config["embedding_size"], config["n_layers"]) == (16, 1)
    assert config.for_stage("student_update")["learning_rate"] == 0.001


def test_members_of_another_students_teacher():
    config = CCDConfig("MultiVAE", "yelp-ccd", argv=["--latent_dimension=7", "--use_gpu=False"])
    member = config.for_member(1)
    assert (member["model"], member["embedding_size"], member["n_layers"]) == ("LightGCN", 128, 2)
    assert member["dataset"] == "yelp-ccd" and member["latent_dimension"] is None
    assert member["device"] == torch.device("cpu")
    assert config.for_stage("base").for_member(0)["model"] == "LightGCN"
    with pytest.raises(ConfigError, match="no teacher member 2"):
        config.for_member(2)


def test_for_member_keeps_the_stage():
    config = CCDConfig(config_dict={"teacher_update_epochs": 3})
    assert config.for_stage("teacher_update").for_member(0)["epochs"] == 3
    assert config.for_member(0).for_stage("teacher_update")["epochs"] == 3


def test_an_assigned_setting_reaches_members_and_stages_do_not_leak():
    config = CCDConfig()
    config["run_dir"] = "made/later"
    staged = config.for_stage("student_generation")
    assert config.for_member(2)["run_dir"] == staged.for_member(2)["run_dir"] == "made/later"
    assert staged["learning_rate"] == 0.005
    assert staged.external_config_dict == {"run_dir": "made/later"}
    assert config.for_member(0)["learning_rate"] == 0.001


def test_per_block():
    config = CCDConfig(config_dict={"stability_ema": [1.0, 0.9], "plasticity_ema": 0.2})
    assert [config.per_block("stability_ema", k) for k in (1, 2, 3, 9)] == [1.0, 0.9, 0.9, 0.9]
    assert [config.per_block("plasticity_ema", k) for k in (1, 5)] == [0.2, 0.2]
    with pytest.raises(ValueError, match="block 0"):
        config.per_block("stability_ema", 0)


def test_metric_names():
    settings = {"metrics": ["NDCG", "GAUC", "recall"], "topk": [5, 1], "valid_metric": "nDCG@5"}
    config = CCDConfig(config_dict=settings)
    assert config.metric_names() == ["ndcg@5", "ndcg@1", "gauc", "recall@5", "recall@1"]
    assert config.primary_metric == "ndcg@5"
    assert CCDConfig(config_dict={"metrics": "Hit", "topk": 3, "valid_metric": "hit@3"}).metric_names() == [
        "hit@3"
    ]


def test_use_gpu_false_selects_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert CCDConfig(config_dict={"use_gpu": False})["device"] == torch.device("cpu")
    assert CCDConfig(config_dict={"use_gpu": True})["device"] == torch.device("cuda")
    assert CCDConfig(config_dict={"gpu_id": ""})["device"] == torch.device("cpu")


@pytest.mark.parametrize(
    "config",
    [
        lambda: CCDConfig(),
        lambda: CCDConfig("BPR", "yelp-ccd", config_dict={"data_path": "/x", "teacher_models": ["BPR"]}),
        lambda: CCDConfig("MultiVAE", config_dict={"train_neg_sample_args": None, "epochs": 3}),
        lambda: CCDConfig().for_member(1),
    ],
)
def test_to_dict_can_be_written_and_read_back(config):
    config = config()
    values = config.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert yaml.safe_load(yaml.safe_dump(values)) == values
    assert (values["MODEL_TYPE"], values["device"]) == ("GENERAL", str(config["device"]))
    again = CCDConfig.from_dict(values)
    assert again.to_dict() == values and again["data_path"] == config["data_path"]
    assert CCDConfig.from_dict(values, ["--epochs=2"])["epochs"] == 2


def test_the_papers_settings_on_yelp():
    config = CCDConfig(dataset="yelp-ccd", config_dict={"preset": "paper-yelp"})
    assert (config["graph"], config["replay_rank_student"]) == ("block", "distilled")
    assert len(config["teacher_models"]) == 5 and config.for_member(4)["embedding_size"] == 128
    assert [config.per_block("student_replay_candidates", k) for k in range(1, 6)] == [50, 100, 100, 50, 50]
    assert [config.per_block("plasticity_ema", k) for k in (1, 2, 3)] == [0.0, 0.1, 0.0]
    assert config.for_stage("student_generation")["weight_decay"] == pytest.approx(1e-4 / 1024, rel=0.01)
