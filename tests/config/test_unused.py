"""A key that a user sets has its effect, or is refused with what to do instead: every key, one by one."""

import inspect
import re
from pathlib import Path

import pytest
import recbole
import yaml
from recbole.config import configurator
from recbole.data.dataloader import abstract_dataloader, general_dataloader, user_dataloader
from recbole.data.dataset import dataset
from recbole.evaluator import base_metric, collector, evaluator
from recbole.trainer import trainer
from recbole.utils import argument_list, wandblogger

import recbole_ccd
from recbole_ccd import create_stream, resume, run_ccd
from recbole_ccd.compat import NumpyLeftAlone
from recbole_ccd.config import DERIVED_KEYS, CCDConfig
from recbole_ccd.config.catalogue import (
    all_model_keys,
    general_keys,
    general_models,
    model_class,
    model_keys,
    recbole_properties_dir,
    strategy_keys,
)
from recbole_ccd.config.schema import POWER_MODELS, SCHEMA
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError, DataError
from tests.config.refused import refused, write
from tests.conftest import SMALL, SMALL_CCD, tiny_rows, write_inter

NEVER_READ = {key: row.idle[0] for key, row in SCHEMA.items() if not row.is_read}
CONDITIONS = {path: row.idle for path, row in SCHEMA.items() if row.idle and row.is_read}
# without a default that RecBole's programs accept
EXTRA_KEYS = {
    *("model", "dataset", "nproc", "ip", "port", "world_size", "group_offset"),
    *("valid_neg_sample_args", "test_neg_sample_args"),
}
# read by RecBole's data set, loaders, trainer and evaluator, as a stream and its stages use them
BY_RECBOLE = {
    *("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "LABEL_FIELD", "NEG_PREFIX"),
    *("field_separator", "seq_separator", "load_col", "unload_col", "unused_col", "additional_feat_suffix"),
    *("rm_dup_inter", "val_interval", "filter_inter_by_user_or_item"),
    *("user_inter_num_interval", "item_inter_num_interval"),
    *(
        "preload_weight",
        "seq_len",
        "numerical_features",
        "normalize_field",
        "normalize_all",
        "discretization",
    ),
    *(
        "benchmark_filename",
        "data_path",
        "worker",
        "state",
        "log_wandb",
        "wandb_project",
        "gpu_id",
        "use_gpu",
    ),
    *("epochs", "train_batch_size", "learner", "learning_rate", "train_neg_sample_args", "eval_step"),
    *("stopping_step", "clip_grad_norm", "weight_decay", "loss_decimal_place", "enable_amp"),
    *("eval_args", "metrics", "topk", "valid_metric", "eval_batch_size", "metric_decimal_place"),
}
# read by models
BY_MODELS = {"require_pow", "RATING_FIELD"}
# of one value, which is what is done
FIXED = {"nproc", "world_size", "transform", "valid_neg_sample_args", "test_neg_sample_args"}
# what settings themselves are put together by
BY_SETTINGS = {
    *("model", "dataset", "preset", "ablation", "strategy_args", "plugins"),
    *("teacher_args", "base_student_args"),
}


def known_keys():
    """Every key that is accepted of a user for some run, but for those of models."""
    lists = {key for value in vars(argument_list).values() if isinstance(value, list) for key in value}
    shipped = yaml.safe_load((recbole_properties_dir() / "dataset" / "ml-100k.yaml").read_text("utf-8"))
    return (general_keys() | strategy_keys() | EXTRA_KEYS | lists | shipped.keys()) - {"config_file"}


def source_of(*modules):
    return "\n".join(inspect.getsource(module) for module in modules)


def reads(source, key):
    """Whether a source names a key, or the second part of a key that is put together of two."""
    return re.search(rf"""["']{re.escape(key)}["']|\bconfig\.{re.escape(key)}\b""", source) is not None


def our_source():
    files = Path(recbole_ccd.__file__).parent.rglob("*.py")
    return "\n".join(f.read_text("utf-8") for f in files if f.parent.name != "config")


def test_no_key_is_forgotten():
    ours = our_source()
    unaccounted = known_keys() - NEVER_READ.keys() - BY_RECBOLE - BY_MODELS - FIXED - BY_SETTINGS
    composed = {
        *(f"{stage}_{key}" for stage in recbole_ccd.config.STAGES for key in recbole_ccd.config.STAGE_KEYS),
        *(f"{role}_replay_{part}" for role in ("student", "teacher") for part in REPLAY),
        *(f"graphsail_{part}_weight" for part in ("local", "global", "self")),
        *(f"{proxy}_ema" for proxy in ("stability", "plasticity")),
        *("n_uninteresting_items", "n_uninteresting_users"),
        *("alias_of_user_id", "alias_of_item_id"),
    }
    forgotten = {key for key in unaccounted - composed if not reads(ours, key)}
    assert not forgotten


REPLAY = ("candidates", "stability", "plasticity", "student", "weight", "decay", "batch_size", "labels")


def test_what_is_said_to_be_read_is_read():
    theirs = source_of(
        *(
            dataset,
            abstract_dataloader,
            general_dataloader,
            user_dataloader,
            trainer,
            wandblogger,
            configurator,
        ),
        *(base_metric, collector, evaluator),
    )
    assert {key for key in BY_RECBOLE if not reads(theirs + our_source(), key)} == set()
    assert not NEVER_READ.keys() & (BY_RECBOLE | BY_MODELS | FIXED | BY_SETTINGS)
    assert {path.partition(".")[0] for path in CONDITIONS} <= known_keys()
    assert not NEVER_READ.keys() & CONDITIONS.keys()


def test_models_read_their_keys():
    for name in general_models():
        found = model_class(name, "test")
        source = "\n".join(
            source_of(inspect.getmodule(c)) for c in found.__mro__ if "recbole" in c.__module__
        )
        # trainers of RecBole's that the stages extend read keys of their models
        source += source_of(trainer)
        assert {key for key in model_keys(name) if not reads(source, key)} == set(), name
    power = {
        name
        for name in general_models()
        if "require_pow" in source_of(inspect.getmodule(model_class(name, "")))
    }
    assert power == POWER_MODELS


SET = {
    "threshold": {"rating": 4},
    "valid_metric_bigger": False,
    "repeatable": True,
    "checkpoint_dir": "elsewhere",
    "save_dataset": True,
    "dataset_save_path": "a",
    "save_dataloaders": True,
    "dataloaders_save_path": "a",
    "enable_scaler": True,
    "ip": "10.0.0.1",
    "port": 1234,
    "group_offset": 1,
    "MAX_ITEM_LIST_LENGTH": 20,
    "kg_reverse_r": True,
    "entity_kg_num_interval": "[5,inf)",
    "relation_kg_num_interval": "[5,inf)",
    "alias_of_entity_id": ["a"],
    "alias_of_relation_id": ["a"],
}


@pytest.mark.parametrize("key", NEVER_READ)
def test_a_key_that_nothing_reads_is_refused(key, tmp_path):
    value = SET.get(key, "other")
    shown = (f"{key} is {value!r} (", "which has no effect, as", f"; {NEVER_READ[key].remedy}")
    refused(*shown, config_dict={key: value})
    refused(*shown, config_file_list=[write(tmp_path / "a.yaml", yaml.safe_dump({key: value}))])
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
    refused(*shown, argv=[f"--{key}={text}"])


@pytest.mark.parametrize("key", NEVER_READ)
def test_the_default_of_such_a_key_is_let_pass(key):
    defaults = NumpyLeftAlone("BPR", "no-such").final_config_dict
    if key in defaults:
        CCDConfig(config_dict={key: defaults[key]})
    for value in NEVER_READ[key].harmless:
        if not (value is None and key in ("valid_metric_bigger", "checkpoint_dir", "save_dataset")):
            assert CCDConfig(config_dict={key: value} if value is not None else {})["epochs"] == 100


@pytest.mark.parametrize("name", ["dataset/ml-100k.yaml", "dataset/sample.yaml"])
def test_recboles_own_files_can_be_given(name):
    file = str(Path(recbole.__file__).parent / "properties" / name)
    for dataset_name in ("ml-100k", "mine"):
        keys = {"block_ratios": [0.5, 0.5], "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
        assert (
            CCDConfig(dataset=dataset_name, config_file_list=[file], config_dict=keys)["USER_ID_FIELD"]
            == "user_id"
        )


FILES = {"benchmark_filename": ["b0", "b1"]}
BESIDE = [
    ({**FILES, "user_inter_num_interval": "[5,inf)"}, "user_inter_num_interval", "filter the files"),
    ({**FILES, "item_inter_num_interval": "[5,inf)"}, "item_inter_num_interval", "filter the files"),
    ({**FILES, "filter_inter_by_user_or_item": False}, "filter_inter_by_user_or_item", "filter the files"),
    ({**FILES, "block_ratios": [0.5, 0.5]}, "block_ratios", "leave one of them out"),
    ({**FILES, "block_boundaries": [5, 6]}, "block_boundaries", "leave one of them out"),
    ({"block_ratios": [0.5, 0.5], "block_boundaries": [5]}, "block_ratios", "leave one of them out"),
    ({"parallel_workers": 3}, "parallel_workers", "set parallel: ray, or"),
    ({"wandb_project": "mine"}, "wandb_project", "set log_wandb: True"),
    ({"model": "BPR", "teacher_models": ["BPR"], "require_pow": True}, "require_pow", "leave it out"),
]
NEGATIVES = [("candidate_num", 7, "dynamic: True"), ("alpha", 0.5, "distribution: popularity")]


@pytest.mark.parametrize(("settings", "key", "remedy"), BESIDE)
def test_a_key_that_others_switch_off_is_refused(settings, key, remedy):
    refused(f"{key} is {settings[key]!r} (config_dict), which has no effect", remedy, config_dict=settings)
    apart = {name: value for name, value in settings.items() if name != key}
    CCDConfig(config_dict=apart)
    # what asks for no more than is done
    if key != "filter_inter_by_user_or_item" and key not in ("wandb_project", "require_pow"):
        CCDConfig(config_dict={**apart, key: None})
    CCDConfig(config_dict={**apart, key: CCDConfig()[key]})


@pytest.mark.parametrize(("part", "value", "remedy"), NEGATIVES)
def test_so_is_one_of_negatives(part, value, remedy):
    args = {"dynamic": False, part: value}
    refused(f"train_neg_sample_args.{part} is {value}", remedy, config_dict={"train_neg_sample_args": args})
    on = {"candidate_num": {"dynamic": True}, "alpha": {"distribution": "popularity"}}[part]
    CCDConfig(config_dict={"train_neg_sample_args": {part: value, **on}})
    # a data set of ours has candidates, which nobody has asked for
    assert not CCDConfig(argv=["--train_neg_sample_args.dynamic=False"])["train_neg_sample_args"]["dynamic"]


def test_the_sources_of_both_are_named(tmp_path):
    file = write(tmp_path / "a.yaml", "block_ratios: [0.5, 0.5]\n")
    refused(
        f"(config file {file})",
        "block_boundaries (command line)",
        config_file_list=[file],
        argv=["--block_boundaries=[5]"],
    )
    argv = ["--block_boundaries=[5]", "--block_ratios=~"]
    assert CCDConfig(config_file_list=[file], argv=argv)["block_boundaries"] == [5]
    refused(
        "user_inter_num_interval",
        "(default)",
        dataset="yelp-ccd",
        config_dict={"user_inter_num_interval": "[2,9]"},
    )


def test_something_cuts_the_stream():
    refused("block_ratios is None", "set block_boundaries", config_dict={"block_ratios": None})


def test_members_have_settings_of_their_own_stages():
    for stage in ("student_generation", "student_update"):
        refused(f"teacher_args.{stage}_epochs", config_dict={"teacher_args": {f"{stage}_epochs": 3}})
    config = CCDConfig(config_dict={"teacher_args": {"base_epochs": 3, "teacher_update_epochs": 4}})
    assert config.for_stage("base").for_member(0)["epochs"] == 3


def test_members_of_a_run_with_powers():
    config = CCDConfig("LightGCN", config_dict={"teacher_models": ["BPR", "SimpleX"], "require_pow": True})
    assert [config.for_member(n)["require_pow"] for n in (0, 1)] == [False, True]
    assert CCDConfig.from_dict(config.to_dict())["require_pow"]


@pytest.fixture
def labelled(tmp_path):
    rows = [(*row, n % 2) for n, row in enumerate(tiny_rows())]
    (tmp_path / "own").mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float\tlabel:float"
    write_inter(tmp_path / "own" / "own.inter", rows, header)
    return {"dataset": "own", "data_path": tmp_path}


@pytest.mark.parametrize("columns", ["*", ["user_id", "item_id", "timestamp", "label"]])
def test_labels_are_refused_unless_interactions_are_selected_by_them(make_config, labelled, columns):
    with pytest.raises(DataError, match="column 'label' would have no effect.*val_interval"):
        create_stream(make_config(**labelled, load_col={"inter": columns}))
    keys = {"load_col": {"inter": columns}, "val_interval": {"label": "[1,1]"}}
    stream = create_stream(make_config(**labelled, **keys))
    assert set(stream.dataset.inter_feat["label"].tolist()) == {1.0}
    create_stream(make_config(**labelled, load_col={"inter": columns}, unused_col={"inter": ["label"]}))
    create_stream(make_config(**labelled))


def test_a_run_is_gone_on_with_although_its_record_has_all_keys(tiny_folder, tmp_path, monkeypatch):
    keys = {**SMALL, **SMALL_CCD, "data_path": str(tiny_folder), "block_boundaries": [400, 700]}
    del keys["block_ratios"]
    where = tmp_path / "run"
    args = {"strategy": "static", "base": "plain", "run_dir": str(where)}
    result = run_ccd("BPR", "tiny", config_dict={**keys, **args})
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    assert resume(where).to_dict() == result.to_dict()
    for given in ({"checkpoint_dir": "x"}, {"device": "cpu"}, {"valid_metric_bigger": False}):
        with pytest.raises(ConfigError, match=next(iter(given))):
            resume(where, config_dict=given)
    assert set(given) <= DERIVED_KEYS
    assert all_model_keys()
