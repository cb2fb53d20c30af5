"""CCDConfig as a whole: its defaults, what is derived from them, and the way to a file and back."""

import json

import pytest
import torch
import yaml
from recbole.config import Config
from recbole.utils import ModelType

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.catalogue import properties_dir, yaml_keys


def test_defaults_are_ccd_with_a_compact_lightgcn_on_ml_100k():
    config = CCDConfig()
    assert (config["model"], config["dataset"], config["strategy"]) == ("LightGCN", "ml-100k", "ccd")
    assert config.model_class.__module__ == "recbole_ccd.model.lightgcn"
    assert config["embedding_size"] == 8
    assert config["MODEL_TYPE"] == ModelType.GENERAL
    assert config["normalize_all"] is None
    assert config["data_path"].rstrip("/").endswith("dataset_example/ml-100k")
    assert config["replay_temperature"] == 1e-4


def test_yelp_blocks():
    config = CCDConfig(dataset="yelp-ccd", config_dict={"data_path": "/some/where"})
    assert config["data_path"] == "/some/where/yelp-ccd"
    assert len(config["benchmark_filename"]) == 18
    assert config["benchmark_filename"][:4] == ["block0.train", "block0.valid", "block0.test", "block1.train"]
    assert config["load_col"] == {"inter": ["user_id", "item_id"]}


def test_it_is_a_recbole_config_that_can_be_printed():
    config = CCDConfig()
    assert isinstance(config, Config)
    assert "ensemble_exponent" in str(config) and "Continual" in str(config)
    assert config.epochs == 100 and config["no_such_key"] is None


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


@pytest.mark.parametrize("file", sorted((properties_dir() / "dataset").iterdir()), ids=lambda file: file.stem)
def test_files_of_data_sets_tell_how_they_are_read_and_tune_nothing(file):
    assert yaml_keys(file) <= {"load_col", "benchmark_filename", "normalize_all"}


@pytest.mark.parametrize(
    ("given", "base", "later"),
    [
        ({}, (200, 5), (100, 2)),
        ({"epochs": 3}, (3, 5), (3, 2)),
        ({"student_generation_epochs": 3}, (3, 5), (3, 2)),
        ({"student_update_epochs": 3}, (200, 5), (100, 2)),
        ({"stopping_step": 0, "base_student_args": {"epochs": 4}}, (4, 0), (100, 0)),
        ({"preset": "paper-yelp"}, (6, 1), (6, 1)),
    ],
)
def test_the_base_student_is_given_time_unless_the_user_sets_how_long(given, base, later):
    config = CCDConfig(config_dict=given)
    settings = [c.for_stage("student_generation") for c in (config.for_base_student(), config)]
    assert [(c["epochs"], c["stopping_step"]) for c in settings] == [base, later]
    # what is recorded in a run directory is what is read from it
    again = CCDConfig(config_dict=dict(given, base_student_args=config["base_student_args"]))
    assert again["base_student_args"] == config["base_student_args"]


def test_the_base_student_may_have_settings_of_its_own():
    own = {"distill_layer": "ego", "learning_rate": 0.003}
    config = CCDConfig(config_dict={"distill_layer": "final", "base_student_args": own})
    settings = [c.for_stage("student_generation") for c in (config.for_base_student(), config)]
    read = [(c["distill_layer"], c["learning_rate"], c["train_batch_size"]) for c in settings]
    assert read == [("ego", 0.003, "auto"), ("final", 0.01, "auto")]
