"""Views of a configuration: by stage, by member of the teacher, by block."""

import pytest
import torch

from recbole_ccd.config import STAGE_KEYS, STAGES, CCDConfig
from recbole_ccd.utils.errors import ConfigError


@pytest.mark.parametrize("stage", STAGES)
def test_for_stage_replaces_every_key(stage):
    own = dict(zip(STAGE_KEYS, [7, 0.5, 0.25, 17, 3, 2, 9, "sgd", {"max_norm": 2.0}], strict=True))
    config = CCDConfig(config_dict={f"{stage}_{key}": value for key, value in own.items()})
    staged = config.for_stage(stage)
    assert {key: staged[key] for key in STAGE_KEYS} == own
    assert config["epochs"] == 100
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
    assert config["epochs"] == 100
    with pytest.raises(ConfigError, match="student_update"):
        config.for_stage("student")


def test_a_plain_key_of_the_user_holds_for_stages_that_only_we_set():
    assert CCDConfig().for_stage("student_generation")["learning_rate"] == 0.01
    config = CCDConfig(config_dict={"learning_rate": 0.1, "teacher_update_learning_rate": 0.2})
    rates = {stage: config.for_stage(stage)["learning_rate"] for stage in STAGES}
    assert rates == {"base": 0.1, "student_generation": 0.1, "student_update": 0.1, "teacher_update": 0.2}
    assert config.for_stage("student_generation")["train_batch_size"] == "auto"


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
    assert config.for_stage("student_update")["learning_rate"] == 0.01


def test_members_of_another_students_teacher():
    config = CCDConfig("MultiVAE", "yelp-ccd", argv=["--latent_dimension=6", "--use_gpu=False"])
    member = config.for_member(1)
    assert (member["model"], member["embedding_size"], member["n_layers"]) == ("LightGCN", 64, 2)
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
    assert config.for_member(1)["run_dir"] == staged.for_member(1)["run_dir"] == "made/later"
    assert staged["learning_rate"] == 0.01
    assert staged.external_config_dict == {"run_dir": "made/later"}
    assert config.for_member(0)["learning_rate"] == 0.001


def test_per_block():
    config = CCDConfig(config_dict={"stability_ema": [1.0, 0.9], "plasticity_ema": 0.2})
    assert [config.per_block("stability_ema", k) for k in (1, 2, 3, 9)] == [1.0, 0.9, 0.9, 0.9]
    assert [config.per_block("plasticity_ema", k) for k in (1, 5)] == [0.2, 0.2]
    with pytest.raises(ValueError, match="block 0"):
        config.per_block("stability_ema", 0)
