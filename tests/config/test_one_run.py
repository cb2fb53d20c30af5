"""One run: lists belong to comparisons, and what is recorded of the base student is what was done."""

import pytest

from recbole_ccd import run_ccd
from recbole_ccd.config import CCDConfig, expand, refuse_lists
from recbole_ccd.registry import registered
from recbole_ccd.utils.errors import ConfigError

SETTINGS = {"dataset": "ml-100k", "gpu_id": ""}
ALWAYS_TAUGHT = {"ccd", "distill", "distill_each_block", "retrain_distill"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"config_dict": {"strategy": ["ccd", "static"]}}, "strategy is ['ccd', 'static'] (config_dict)"),
        ({"config_dict": {"seed": [1, 2]}}, "seed is [1, 2] (config_dict)"),
        ({"argv": ["--base=plain,distilled"]}, "base is ['plain', 'distilled'] (command line)"),
        ({"config_dict": {"ablation": "none,no_piw"}}, "ablation is [None, 'no_piw'] (config_dict)"),
    ],
)
def test_a_list_is_for_compare(given, shown):
    for refuse in (refuse_lists, run_ccd):
        with pytest.raises(ConfigError) as caught:
            refuse(**given)
        assert str(caught.value).startswith(f"{shown}, a list of runs; ") and "compare" in str(caught.value)


def test_a_later_source_may_make_one_run_of_a_list():
    refuse_lists(config_dict={"strategy": ["ccd", "static"]}, argv=["--strategy=ccd"])
    refuse_lists()


@pytest.mark.parametrize("strategy", sorted(registered("strategy")))
def test_the_recorded_base_is_that_of_the_student(strategy):
    config = CCDConfig(config_dict={**SETTINGS, "strategy": strategy, "base": "plain"})
    done = "distilled" if strategy in ALWAYS_TAUGHT else "plain"
    assert config["base"] == config.to_dict()["base"] == done
    assert config.for_stage("base")["base"] == done
    assert config.for_member(0)["base"] == done


def test_one_file_with_a_plain_base_serves_all_that_are_compared():
    runs = expand(config_dict={**SETTINGS, "base": "plain", "strategy": ["fine_tune", "ccd"]})
    assert [(run.folder, run.config["base"]) for run in runs] == [
        ("fine_tune-2020", "plain"),
        ("ccd-2020", "distilled"),
    ]


def test_an_impossible_base_is_told_whatever_the_strategy():
    with pytest.raises(ConfigError, match="base is 'odd'"):
        CCDConfig(config_dict={**SETTINGS, "strategy": "ccd", "base": "odd"})
