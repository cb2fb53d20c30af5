"""An experiment is repeated from its folder: ``--config_files=RUN/config.yaml``."""

import json
import shutil

import pytest
import yaml

from recbole_ccd import run_ccd
from recbole_ccd.cli import main
from recbole_ccd.config import DERIVED_KEYS, STAGES, CCDConfig
from tests.config.refused import refused, write
from tests.conftest import SMALL, SMALL_CCD


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    """A run of CCD in a folder, with settings of all kinds of its own."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    keys = {**SMALL, **SMALL_CCD, "data_path": str(tiny_folder), "run_dir": str(folder), "seed": 7}
    keys |= {"teacher_update_learning_rate": 0.004, "eval_args": {"order": "TO"}, "n_layers": 1}
    keys |= {
        "train_neg_sample_args": {"distribution": "popularity", "alpha": 0.5},
        "ablation": "no_annealing",
    }
    run_ccd("LightGCN", "tiny", config_dict=keys)
    return folder


def result_of(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_the_same_results_come_out_in_another_folder(run, tmp_path, monkeypatch):
    file = shutil.copy(run / "config.yaml", tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    assert main([f"--config_files={file}", "--run_dir=again"]) == 0
    first, again = result_of(run), result_of(tmp_path / "again")
    assert again["metrics"] == first["metrics"] and again["new_users"] == first["new_users"]
    differ = {key for key in first["config"] if first["config"][key] != again["config"][key]}
    assert differ == {"run_dir", "checkpoint_dir"}
    assert first["config"].keys() >= DERIVED_KEYS


def test_the_folder_of_the_run_is_not_taken(run):
    config = CCDConfig(config_file_list=[str(run / "config.yaml")])
    assert config["run_dir"] is None
    assert config["checkpoint_dir"] == "saved" and config["model"] == "LightGCN"


def test_settings_lie_over_it(run):
    file = str(run / "config.yaml")
    config = CCDConfig(config_file_list=[file], argv=["--learning_rate=0.03", "--base_epochs=9"])
    # a key without stage holds for all stages, as it does over defaults
    assert {config.for_stage(stage)["learning_rate"] for stage in STAGES} == {0.03}
    assert config.for_stage("base")["epochs"] == 9
    kept = CCDConfig(config_file_list=[file], argv=["--seed=8"])
    assert (kept["seed"], kept.for_stage("teacher_update")["learning_rate"]) == (8, 0.004)
    refused("unknown key 'learnin_rate'", config_file_list=[file], config_dict={"learnin_rate": 3})


@pytest.mark.parametrize("key", ["epochs", "student_generation_epochs"])
def test_what_is_given_for_more_holds_for_the_base_student_too(key, tmp_path):
    recorded = CCDConfig(config_dict={"base_student_args": {"epochs": 7, "distill_layer": "ego"}}).to_dict()
    own = CCDConfig(config_dict=recorded)
    given = CCDConfig(
        config_file_list=[write(tmp_path / "config.yaml", yaml.safe_dump(recorded))], argv=[f"--{key}=9"]
    )
    found = [c.for_base_student().for_stage("student_generation") for c in (own, given)]
    read = [(c["epochs"], c["stopping_step"], c["distill_layer"]) for c in found]
    assert read == [(7, 5, "ego"), (9, 5, "ego")]


def test_a_file_of_ones_own_holds_no_derived_keys(run, tmp_path):
    values = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    alone = write(tmp_path / "a.yaml", yaml.safe_dump({"device": values["device"]}))
    refused("unknown key 'device'", "use use_gpu and gpu_id", config_file_list=[alone])
    alone = write(tmp_path / "b.yaml", yaml.safe_dump({"MODEL_TYPE": "GENERAL"}))
    refused("unknown key 'MODEL_TYPE'", "follows from other settings", config_file_list=[alone])
    # a wrong key in a record is one all the same
    spoilt = write(tmp_path / "c.yaml", yaml.safe_dump({**values, "epoch": 3}))
    refused("unknown key 'epoch'", config_file_list=[spoilt])


def test_what_to_dict_gives_can_be_given_too(run):
    config = CCDConfig(config_file_list=[str(run / "config.yaml")])
    assert CCDConfig(config_dict=config.to_dict()).to_dict() == config.to_dict()
