"""``replay`` and ``regularizer`` have an effect, or are refused."""

import pytest

from recbole_ccd import ConfigError, compare
from recbole_ccd.config import CCDConfig
from recbole_ccd.registry import registered
from tests.config.refused import refused

STRATEGIES = registered("strategy")
REPLAYING = sorted(name for name, strategy in STRATEGIES.items() if strategy.replays)
REGULARIZING = sorted(name for name, strategy in STRATEGIES.items() if strategy.regularizes)


def test_who_has_a_place_for_plugins():
    assert set(STRATEGIES) - set(REPLAYING) == {"static", "full_batch", "distill", "retrain_distill"}
    assert REPLAYING == REGULARIZING
    assert [name for name, strategy in STRATEGIES.items() if strategy.has_proxies] == ["ccd"]


@pytest.mark.parametrize("strategy", ["static", "full_batch", "distill", "retrain_distill"])
def test_strategies_that_learn_no_block_from_the_last_one_refuse_plugins(strategy):
    config = CCDConfig(config_dict={"strategy": strategy})
    assert config["replay"] is None and config["regularizer"] is None
    refused(
        "regularizer is 'lwc_kd' (command line)",
        f"strategy {strategy} regularizes nothing; leave it out, or give it in strategy_args to a strategy",
        argv=[f"--strategy={strategy}", "--regularizer=lwc_kd"],
    )
    refused(
        "replay is 'reservoir' (config_dict)",
        f"strategy {strategy} replays nothing; leave it out",
        config_dict={"strategy": strategy, "replay": "reservoir"},
    )
    refused(
        "regularizer is ['lwc_kd'] (strategy_args)",
        config_dict={"strategy": strategy, "strategy_args": {strategy: {"regularizer": ["lwc_kd"]}}},
    )


@pytest.mark.parametrize("strategy", REPLAYING)
def test_proxies_are_replayed_from_where_there_are_any(strategy):
    settings = {"strategy": strategy, "replay": "proxy_guided"}
    if STRATEGIES[strategy].has_proxies:
        assert CCDConfig(config_dict=settings)["replay"] == "proxy_guided"
    else:
        refused(
            "replay is 'proxy_guided' (config_dict), which replays from proxies",
            f"strategy {strategy} has none; choose one of: ader, reservoir, spmf, or leave it out",
            config_dict=settings,
        )
    for value in ("reservoir", None):
        assert CCDConfig(config_dict={**settings, "replay": value})["replay"] == value


def test_compared_strategies_each_have_their_own():
    settings = {"strategy": ["ccd", "static"], "regularizer": "lwc_kd"}
    with pytest.raises(ConfigError, match="strategy static regularizes nothing; .* strategy_args"):
        compare(config_dict=settings)
    own = {"strategy_args": {"ccd": {"regularizer": "lwc_kd"}}}
    assert CCDConfig(config_dict={**own, "strategy": "ccd"})["regularizer"] == "lwc_kd"
    assert CCDConfig(config_dict={**own, "strategy": "static"})["regularizer"] is None


def test_names_that_there_are_not_are_refused_with_those_that_there_are():
    refused("replay is 'other'", "ader, proxy_guided, reservoir, spmf, or ~", argv=["--replay=other"])
    names = "ewc, graphsail, lwc_kd, output_kl, pair_kl, pisa"
    for value in ("other", "[lwc_kd,other]", "[lwc_kd,lwc_kd]", "[]"):
        refused("regularizer is", names, argv=[f"--regularizer={value}"])


def test_a_plugin_has_its_settings_whatever_the_strategy():
    for strategy in REGULARIZING:
        config = CCDConfig(config_dict={"strategy": strategy})
        keys = (
            "ewc_weight",
            "graphsail_self_weight",
            "pisa_weight",
            "lwc_kd_weight",
            "output_kl_weight",
            "pair_kl_weight",
            "reservoir_size",
        )
        assert all(config[key] > 0 for key in keys), strategy


def test_what_a_run_has_recorded_can_be_read_again():
    for strategy in sorted(STRATEGIES):
        config = CCDConfig(config_dict={"strategy": strategy})
        again = CCDConfig.from_dict(config.to_dict())
        assert all(again[key] == config[key] for key in ("replay", "regularizer"))
