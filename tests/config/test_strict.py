"""Keys that nobody knows, told with their source and the nearest that is known."""

import re

import pytest

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.schema import SCHEMA
from recbole_ccd.config.strict import COUNTERPARTS
from tests.config.refused import refused, write


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"learnin_rate": 0.1}, ["'learnin_rate'", "config_dict", "'learning_rate'"]),
        ({"Epochs": 1}, ["'Epochs'", "'epochs'"]),
        ({"student_update_epoch": 1}, ["'student_update_epochs'"]),
        ({"distil_top_k": 1}, ["'distill_top_k'"]),
        ({"eval_args": {"splits": {}}}, ["'eval_args.splits'", "'eval_args.split'"]),
        (
            {"train_neg_sample_args": {"number": 1}},
            ["train_neg_sample_args.number", "give one of: train_neg_sample_args.distribution"],
        ),
        ({"clip_grad_norm": {"max_nrm": 1}}, ["clip_grad_norm.max_norm"]),
        (
            {"latent_dimension": 3, "teacher_models": ["MultiVAE"]},
            ["'latent_dimension'", "MultiVAE", "put it under teacher_args"],
        ),
        ({"mlp_embedding_size": 3}, ["'mlp_embedding_size'", "NeuMF", "LightGCN"]),
        ({"teacher_args": {"n_layer": 3}}, ["'teacher_args.n_layer'", "config_dict", "'n_layers'"]),
        (
            {"teacher_models": ["BPR"], "teacher_args": {"BPR": {"n_layers": 3}}},
            ["'teacher_args.BPR.n_layers'"],
        ),
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


@pytest.mark.parametrize("key", COUNTERPARTS)
def test_names_that_recbole_and_others_have_lead_to_ours(key):
    refused(f"unknown key '{key}' (config_dict); use {COUNTERPARTS[key]}", config_dict={key: 3})
    meant = re.split(r"\W", COUNTERPARTS[key])[0]
    assert meant in {*CCDConfig().final_config_dict, "tune", "config_files", "resume"}
    assert meant not in SCHEMA or SCHEMA[meant].is_read


@pytest.mark.parametrize("key", ["tail_ratio", "regs", "verbose", "log_dir", "save_dir", "real_time_process"])
def test_no_key_is_suggested_by_accident(key):
    assert refused(f"unknown key '{key}'", config_dict={key: 3}).endswith(
        "--help=TOPIC lists those that there are, and --help the topics"
    )


def test_nor_in_dictionaries():
    refused(
        "strategies cannot differ in it; set it for",
        config_dict={"strategy_args": {"ccd": {"graph": "block"}}},
    )
    refused("has it; remove it, or set it for", config_dict={"teacher_args": {"graph": "block"}})
    refused("did you mean 'n_layers'?", config_dict={"teacher_args": {"n_layer": 3}})


def test_an_argument_of_another_kind_may_be_meant():
    refused("did you mean 'new_block'?", argv=["--new_blok=3"])


def test_defaults_for_the_teacher_that_fit_no_member_are_left_out():
    config = CCDConfig(config_dict={"teacher_models": ["BPR"], "preset": "paper-yelp"})
    assert config["teacher_args"] == {"embedding_size": 128}
