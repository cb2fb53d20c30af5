"""All that is wrong with settings is told at once, one line for each key."""

from pathlib import Path

import pytest
import recbole
import yaml

from recbole_ccd.cli import main
from recbole_ccd.config import CCDConfig
from recbole_ccd.utils.errors import ConfigError
from tests.config.refused import write

PROPERTIES = Path(recbole.__file__).parent / "properties"
FILES = sorted(path.relative_to(PROPERTIES).as_posix() for path in PROPERTIES.rglob("*.yaml"))
# no property files but lists of addresses
DATA_URLS = {"dataset/url.yaml", "dataset/kg_url.yaml"}


def problems_of(*args, **sources):
    with pytest.raises(ConfigError) as caught:
        CCDConfig(*args, **sources)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


def test_every_key_has_a_line(tmp_path):
    keys = {
        "learnin_rate": 0.1,
        "epochs": 0,
        "threshold": {"rating": 4},
        "eval_args": {"mode": "uni100", "order": "XO", "groups": 1},
        "topk": "all",
        "valid_metric": "Recall@7",
        "repeatable": True,
        "teacher_models": ["BPR", "MultVAE"],
    }
    file = write(tmp_path / "a.yaml", yaml.safe_dump(keys))
    found = problems_of(config_file_list=[file], argv=["--stopping_stp=3"])
    expected = [
        "unknown key 'learnin_rate'",
        "unknown key 'eval_args.groups'",
        "unknown key 'stopping_stp' (command line)",
        "epochs is 0",
        "eval_args.mode is 'uni100'",
        "eval_args.order is 'XO'",
        "topk is 'all'",
        "threshold is {'rating': 4}",
        "repeatable is True",
        "unknown model 'MultVAE'",
    ]
    assert len(found) == len(expected)
    for start in expected:
        (line,) = [line for line in found if line.startswith(start)]
        assert f"({'command line' if 'stp' in start else f'config file {file}'})" in line or "MultVAE" in line
        assert "; " in line


def test_what_depends_on_a_wrong_key_is_not_told():
    # nor that valid_metric does not fit
    assert len(problems_of(config_dict={"topk": 0, "valid_metric": "Recall@7"})) == 1
    assert len(problems_of(config_dict={"log_wandb": 3, "wandb_project": "mine"})) == 1
    assert len(problems_of(config_dict={"model": "SASRec", "n_heads": 2, "hidden_size": 64})) == 1
    assert len(problems_of(config_dict={"teacher_models": 3, "require_pow": True, "model": "BPR"})) == 1


def test_names_that_cannot_be_chosen_are_among_them():
    keys = {
        "model": "GRU4Rec",
        "dataset": "a/b",
        "strategy": "cdc",
        "preset": "x",
        "ablation": "y",
        "epoch": 1,
    }
    found = problems_of(config_dict=keys)
    for key in keys:
        shown = {"model": "model 'GRU4Rec'", "dataset": "dataset is 'a/b'", "epoch": "unknown key 'epoch'"}
        start = shown.get(key, f"unknown {key} '{keys[key]}'")
        assert sum(line.startswith(start) for line in found) == 1, (key, found)
    assert len(found) == len(keys)


def test_the_program_tells_them_in_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--epochs=0", "--repeatable=True", "--lr=3"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and list(tmp_path.iterdir()) == []
    lines = shown.err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert lines[0] == "error: unknown key 'lr' (command line); use learning_rate"


@pytest.mark.parametrize("name", [name for name in FILES if name not in DATA_URLS])
def test_recboles_own_files_work_or_have_a_line_for_each_key_that_cannot(name):
    kind, _, rest = name.partition("/")
    model = rest.removesuffix(".yaml") if kind == "model" else None
    values = yaml.safe_load((PROPERTIES / name).read_text(encoding="utf-8")) or {}
    try:
        CCDConfig(model, config_file_list=[str(PROPERTIES / name)])
    except ConfigError as error:
        keys = {*values, *(part for value in values.values() if isinstance(value, dict) for part in value)}
        for line in error.problems:
            about_model = model is not None and f"model '{model}'" in line
            assert about_model or any(key in line for key in keys), line
            assert "; " in line
        assert len(set(error.problems)) == len(error.problems)
    else:
        assert kind != "quick_start_config" or not values.keys() & {"eval_args", "repeatable"}


TYPICAL = """\
# a plain RecBole run
gpu_id: 0
use_gpu: False
nproc: 1
worker: 0
seed: 2020
state: INFO
reproducibility: True
data_path: dataset/
checkpoint_dir: saved
show_progress: False
save_dataset: False
save_dataloaders: False
log_wandb: False
wandb_project: recbole
USER_ID_FIELD: user_id
ITEM_ID_FIELD: item_id
RATING_FIELD: rating
TIME_FIELD: timestamp
NEG_PREFIX: neg_
LABEL_FIELD: label
load_col:
    inter: [user_id, item_id, rating, timestamp]
user_inter_num_interval: "[5,inf)"
item_inter_num_interval: "[5,inf)"
val_interval: {rating: "[3,inf)"}
embedding_size: 64
n_layers: 2
reg_weight: 1e-5
epochs: 300
train_batch_size: 2048
learner: adam
learning_rate: 0.001
train_neg_sample_args: {distribution: uniform, sample_num: 1, alpha: 1.0, dynamic: False, candidate_num: 0}
eval_step: 1
stopping_step: 10
clip_grad_norm: ~
weight_decay: 0.0
loss_decimal_place: 4
eval_args:
    split: {'RS': [0.8, 0.1, 0.1]}
    group_by: user
    order: TO
    mode: {'valid': 'full', 'test': 'full'}
repeatable: False
metrics: ["Recall", "MRR", "NDCG", "Hit", "Precision"]
topk: [10]
valid_metric: MRR@10
valid_metric_bigger: True
eval_batch_size: 4096
metric_decimal_place: 4
"""


def test_a_file_of_a_plain_run_works(tmp_path):
    config = CCDConfig("LightGCN", config_file_list=[write(tmp_path / "a.yaml", TYPICAL)])
    assert config.for_stage("teacher_update")["epochs"] == 300
    assert config["eval_args"]["order"] == "TO" and config.primary_metric == "mrr@10"


def test_or_says_all_that_cannot(tmp_path):
    given = TYPICAL.replace("nproc: 1", "nproc: 2").replace("repeatable: False", "repeatable: True")
    given = given.replace("'full', 'test': 'full'", "'uni100', 'test': 'uni100'")
    given = given.replace("checkpoint_dir: saved", "checkpoint_dir: models").replace('["Recall"', '["AUC"')
    given += "threshold: {rating: 4}\nneg_sampling: {uniform: 1}\nMODEL_TYPE: 1\nhidden_size: 64\n"
    found = problems_of("LightGCN", config_file_list=[write(tmp_path / "a.yaml", given)])
    keys = ["nproc", "repeatable", "eval_args.mode", "checkpoint_dir", "metrics", "threshold"]
    keys += ["'neg_sampling'", "'MODEL_TYPE'", "'hidden_size'"]
    assert len(found) == len(keys)
    for key in keys:
        assert sum(key in line.partition(" (")[0] for line in found) == 1, key
