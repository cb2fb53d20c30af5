"""Settings that are assigned are looked at as given ones are; functions say what they want to be given."""

from pathlib import Path

import numpy as np
import pytest

import recbole_ccd
from recbole_ccd import CCDConfig, IncrementalDataset, TeacherEnsemble
from recbole_ccd.compat import NumpyLeftAlone
from recbole_ccd.utils.errors import CCDError, ConfigError
from tests.config.refused import refused


def assigned(key, value, config=None):
    config = CCDConfig() if config is None else config
    before = config.to_dict()
    with pytest.raises(ConfigError) as caught:
        config[key] = value
    assert config.to_dict() == before and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("learning_rate", -1, "learning_rate is -1 (assignment), which cannot be used; give a number > 0"),
        ("epochs", "3", "epochs is '3' (assignment)"),
        ("topk", [0], "topk is [0] (assignment)"),
        ("embedding_size", None, "embedding_size is None (assignment)"),
        ("clip_grad_norm", {"max_norm": 0}, "clip_grad_norm.max_norm is 0 (assignment)"),
        ("clip_grad_norm", {"max_nrm": 1, "max_norm": 1}, "did you mean 'clip_grad_norm.max_norm'?"),
        ("load_col", {"inter": ["a"], 3: []}, "the key 3 of load_col (assignment) is not text"),
        ("embeding", 3, "unknown key 'embeding' (assignment); did you mean 'embedding_size'?"),
        *[
            (key, value, f"{key} cannot be assigned, as other settings follow from it; give it to CCDConfig(")
            for key, value in [
                ("strategy", "static"),
                ("use_gpu", False),
                ("model", "BPR"),
                ("teacher_args", {}),
            ]
        ],
    ],
)
def test_an_assignment_is_looked_at(key, value, shown):
    assert shown in assigned(key, value)
    assert shown in assigned(key, value, CCDConfig().for_stage("base"))


def test_an_assignment_of_a_members_key_says_whose_it_is():
    shown = assigned("latent_dimension", 3, CCDConfig(config_dict={"teacher_models": ["MultiVAE"]}))
    assert "teacher member MultiVAE has it; put it under teacher_args" in shown


NO_NEGATIVES = {"train_neg_sample_args": None}


def test_an_assignment_that_is_possible():
    config = CCDConfig()
    for key, value, found in [
        ("learning_rate", np.float64(0.5), 0.5),
        ("topk", 20, [20]),
        ("metrics", "Recall", ["Recall"]),
        ("run_dir", Path("here"), "here"),
        ("stability_ema", (0.5, 0.9), [0.5, 0.9]),
    ]:
        config[key] = value
        assert config[key] == found and type(config[key]) is type(found)
    config["train_neg_sample_args"] = {"sample_num": 2}
    assert config["train_neg_sample_args"]["sample_num"] == 2
    config["train_neg_sample_args"] = None
    assert config["train_neg_sample_args"] == CCDConfig(config_dict=NO_NEGATIVES)["train_neg_sample_args"]
    assert config.for_member(0)["topk"] == [20] and config.metric_names() == ["recall@20"]
    assert CCDConfig.from_dict(config.to_dict())["stability_ema"] == [0.5, 0.9]


def test_an_attribute_is_no_setting():
    config = CCDConfig()
    with pytest.raises(ConfigError, match=r"config.epochs cannot be set; write config\['epochs'\] = "):
        config.epochs = 3
    assert config.epochs == config["epochs"] == 100


@pytest.mark.parametrize("use", [recbole_ccd.create_stream, recbole_ccd.create_strategy])
def test_what_must_fit_is_looked_at_when_it_is_used(make_config, use):
    config = make_config()
    config["topk"] = [7]
    with pytest.raises(ConfigError, match=r"valid_metric is 'Recall@5' .* choose one of: recall@7"):
        use(config)
    config["valid_metric"] = "recall@7"
    use(config)
    config["parallel_workers"] = 2
    with pytest.raises(ConfigError, match=r"parallel_workers is 2 \(assignment\), which has no effect"):
        use(config)


class Config(NumpyLeftAlone):
    """RecBole's."""


OTHERS = [{"epochs": 3}, None, "my.yaml", Config("BPR", "tiny")]
WANTING_A_CONFIG = [
    recbole_ccd.create_stream,
    recbole_ccd.create_strategy,
    IncrementalDataset,
    lambda config: TeacherEnsemble(config, None, []),
    lambda config: recbole_ccd.grow(None, config, None),
]


@pytest.mark.parametrize("use", WANTING_A_CONFIG)
@pytest.mark.parametrize("given", OTHERS, ids=lambda given: type(given).__name__)
def test_what_is_no_configuration_is_told(use, given):
    with pytest.raises(ConfigError, match=r"^config is a [\w.]+; give a recbole_ccd.CCDConfig"):
        use(given)


WANTING_A_PATH = {
    "run_dir": [
        *(recbole_ccd.load_student, recbole_ccd.resume, recbole_ccd.update, recbole_ccd.write_report),
    ],
    "params_file": [recbole_ccd.tune],
}


@pytest.mark.parametrize(
    ("name", "use"), [(name, use) for name, uses in WANTING_A_PATH.items() for use in uses]
)
def test_what_is_no_path_is_told(name, use):
    for given in (OTHERS[0], OTHERS[-1], None, 3):
        with pytest.raises(
            CCDError, match=rf"^{name} is .+; give the path of a (run directory|file of ranges)$"
        ):
            use(given)


@pytest.mark.parametrize("use", [recbole_ccd.run_ccd, recbole_ccd.compare, CCDConfig])
def test_other_arguments_of_another_kind(use):
    for given in (OTHERS[0], OTHERS[-1]):
        with pytest.raises(ConfigError, match=r"model is a \w+ \(model argument\), which is no name"):
            use(given)
    with pytest.raises(ConfigError, match="config_file_list is 3; give a list of YAML files"):
        use(config_file_list=3)
    with pytest.raises(ConfigError, match="config_dict is a Config; give a dictionary"):
        use(config_dict=OTHERS[-1])


def test_arguments_as_text():
    refused("argv is the text '--epochs=3'; give a list of arguments", argv="--epochs=3")
