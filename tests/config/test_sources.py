"""Where settings come from, which of them wins, how values are read, and what cannot be read."""

import copy
import sys

import numpy as np
import pytest
import yaml
from recbole.utils import argument_list

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.yaml_reader import ConfigLoader
from tests.config.refused import refused, write


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
        config_dict={
            "teacher_models": ["BPR", "MultiVAE"],
            "teacher_args": {"MultiVAE": {"latent_dimension": 16}},
        },
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
    bundled = CCDConfig()["data_path"]
    assert bundled.endswith("dataset_example/ml-100k")
    # a folder that is given counts, so that a wrong one is noticed
    assert CCDConfig(config_dict={"data_path": tmp_path})["data_path"] == str(tmp_path / "ml-100k")
    # a record from where RecBole was installed elsewhere means the copy that is here
    moved = CCDConfig(config_dict={"data_path": tmp_path / "dataset_example"})
    assert moved["data_path"] == bundled


def test_command_line_of_the_process_is_not_read(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--epochs=1", "--nonsense=3", "-x", "tests"])
    assert CCDConfig()["epochs"] == 100


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
    config = CCDConfig(config_dict={"RATING_FIELD": code}, argv=[f"--run_dir={code}"])
    assert config["run_dir"] == config["RATING_FIELD"] == code
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
    refused("topk", "command line", argv=["--topk=" + "[" * 700])
    refused("config_dict", "dictionary", config_dict=["epochs"])


@pytest.mark.parametrize("argument", ["epochs=3", "-epochs=3", "--epochs", "--=3", "--a..b=3", "three", ""])
def test_malformed_arguments(argument):
    refused("--key=value", repr(argument), argv=[argument])


def test_arguments_given_twice():
    refused("--epochs", "twice", argv=["--epochs=3", "--epochs=4"])
    assert CCDConfig(argv=["--epochs=3", "--epochs=3"])["epochs"] == 3


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
        (b"[" * 700, ["nested"]),
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
    assert CCDConfig(config_file_list=[write(tmp_path / "empty.yaml", "# nothing\n")])["epochs"] == 100
