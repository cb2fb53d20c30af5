"""A nearest key is suggested where it is near, over all keys that RecBole reads and many slips of the pen."""

import re
from pathlib import Path

import pytest
import recbole

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.catalogue import all_model_keys, general_models
from recbole_ccd.config.strict import COUNTERPARTS
from recbole_ccd.config.unread import OF_OTHER_MODELS, without_readers
from recbole_ccd.utils.errors import ConfigError, _slips, nearest
from tests.config.refused import refused
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def known():
    return set(CCDConfig().final_config_dict)


@pytest.mark.parametrize(
    ("word", "meant", "slips"),
    [
        ("seed", "seed", 0),
        ("sed", "seed", 1),
        ("seeds", "seed", 1),
        ("sead", "seed", 1),
        ("esed", "seed", 1),
        ("edse", "seed", 4),
        ("", "abc", 3),
        ("tail_ratio", "ablation", 5),
        ("LightGNC", "LightGCN", 1),
    ],
)
def test_slips_are_counted(word, meant, slips):
    assert _slips(word, meant) == _slips(meant, word) == slips


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learnin_rate", "learning_rate"),
        ("learning_rates", "learning_rate"),
        ("leraning_rate", "learning_rate"),
        ("rate_learning", "learning_rate"),
        ("Epochs", "epochs"),
        ("epoch", "epochs"),
        ("sed", "seed"),
        ("top_k", "topk"),
        ("metric", "metrics"),
        ("vaild_metric", "valid_metric"),
        ("embeding_size", "embedding_size"),
        ("train_batchsize", "train_batch_size"),
        ("teacher_model", "teacher_models"),
        ("block_ratio", "block_ratios"),
        ("stopping_steps", "stopping_step"),
        ("distil_topk", "distill_top_k"),
        ("neg_sample_args_train", "train_neg_sample_args"),
        ("num_layers", "n_layers"),
        ("layers", "n_layers"),
        ("embeding", "embedding_size"),
        ("mlp_embedding_size", "embedding_size"),
        ("student_update_epoch", "student_update_epochs"),
        ("USER_ID_FEILD", "USER_ID_FIELD"),
    ],
)
def test_slips_of_the_pen_lead_to_what_was_meant(word, meant, known):
    assert nearest(word, known) == meant


@pytest.mark.parametrize(
    "word",
    [
        *("tail_ratio", "params_file", "order", "weight", "kge_interval", "anneal_steps", "dilations"),
        *("weight_mode", "mixture_weights", "ssl_weight", "sampling_steps", "norm", "eta", "sim", "cin"),
        *("verbose", "saved", "log_dir", "MASK_INDEX", "temperature", "xyz", "", "_"),
    ],
)
def test_a_likeness_by_accident_leads_nowhere(word, known):
    assert nearest(word, known) is None


def of_recbole():
    """Every key that some program or property file of RecBole names."""
    root, keys = Path(recbole.__file__).parent, set()
    for file in root.rglob("*.py"):
        keys |= set(re.findall(r"config\[[\"']([A-Za-z_]+)[\"']\]", file.read_text(encoding="utf-8")))
    for file in (root / "properties" / "model").glob("*.yaml"):
        keys |= set(re.findall(r"^([A-Za-z_]+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    return sorted(keys - {"model", "dataset"})


# of all keys that RecBole reads and a run here does not have: no other one has a suggestion
NEAR = {
    **dict.fromkeys(("layers", "num_layers"), "n_layers"),
    **{
        f"{part}_embedding_size": "embedding_size"
        for part in ("item", "user", "kg", "mf", "mlp", "neigh", "ui")
    },
    "reg_weights": "reg_weight",
    "mip_weight": "piw_weight",
    "alpha": "curriculum_alpha",
    "warm_up": "difficulty_warmup",
    "xgb_model": "model",
}


@pytest.mark.slow
def test_of_all_keys_of_recbole_few_are_near(known):
    unknown = [key for key in of_recbole() if key not in known]
    assert len(unknown) > 180
    assert {key: meant for key in unknown if (meant := nearest(key, known)) is not None} == NEAR


@pytest.mark.slow
def test_every_key_of_recbole_is_taken_or_told_by_name(known):
    keys = of_recbole()
    with pytest.raises(ConfigError) as caught:
        CCDConfig(config_dict=dict.fromkeys(keys, "?"))
    told = {re.split(r"[ .']", line.removeprefix("unknown key '"))[0] for line in caught.value.problems}
    assert set(keys) - known - told == set()
    assert len(caught.value.problems) == len(told)


def test_keys_of_models_say_whose_they_are():
    refused("it belongs to models of other kinds; correct or remove it", config_dict={"hidden_act": "gelu"})
    owners = {key: [name for name in general_models() if name in str(key)] for key in all_model_keys()}
    assert owners
    refused(
        "'mf_train'",
        "it belongs to NeuMF, not to LightGCN; correct or remove it",
        config_dict={"mf_train": 1},
    )
    for key in ("tool", "num_epochs", "offset"):
        assert key in COUNTERPARTS


@pytest.mark.parametrize("key", OF_OTHER_MODELS)
def test_columns_that_no_model_reads_are_warned_of(key):
    value = {"RATING_FIELD": "stars", "normalize_all": True, "discretization": {"age": {"method": "ED"}}}
    value |= {"preload_weight": {"iid": "vec"}, "seq_len": {"tags": 3}}
    keys = {**SMALL, key: value.get(key, ["age"])}
    (line,) = CCDConfig("BPR", "mine", config_dict=keys).warnings()
    assert line.startswith(
        f"{key} is {keys[key]!r} (config_dict), which changes no result, as {OF_OTHER_MODELS[key]}"
    )
    default = CCDConfig("BPR", "mine", config_dict=SMALL)
    assert default.warnings() == [] and CCDConfig(config_dict={**SMALL, key: default[key]}).warnings() == []


def test_who_reads_them_is_not_warned():
    rated = {"inter_matrix_type": "rating", "RATING_FIELD": "stars"}
    assert CCDConfig("DMF", "mine", config_dict=rated).warnings() == []
    for args in ({"inter_matrix_type": "rating"}, {"DMF": {"inter_matrix_type": "rating"}}):
        keys = {"teacher_models": ["DMF"], "teacher_args": args, "RATING_FIELD": "stars"}
        assert CCDConfig("BPR", "mine", config_dict=keys).warnings() == []
    assert len(CCDConfig("DMF", "mine", config_dict={"RATING_FIELD": "stars"}).warnings()) == 1
    settings = {"teacher_args": None, "RATING_FIELD": "a"}
    assert len(without_readers(settings, settings, {"RATING_FIELD": "rating"}, lambda _: "here")) == 1


def test_a_class_of_the_users_may_read_anything():
    class Own(CCDConfig("BPR").model_class):
        pass

    assert CCDConfig(Own, "mine", config_dict={"numerical_features": ["age"]}).warnings() == []
