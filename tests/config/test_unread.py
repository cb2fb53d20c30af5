"""Keys of a part of the method that a run does not have are told in its log; those that it has are not."""

import pytest

from recbole_ccd.config import CCDConfig
from recbole_ccd.config.catalogue import names_of
from recbole_ccd.config.schema import SCHEMA, STAGE_KEYS, Scope


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"strategy": "fine_tune", "ewc_weight": 3.0}, "only ewc reads it and regularizer is None"),
        ({"strategy": "ccd", "ader_weight": 3.0}, "only ader reads it and replay is 'proxy_guided'"),
        ({"strategy": "replay", "spmf_draws": 3}, "only spmf reads it and replay is 'reservoir'"),
        (
            {"strategy": "ccd", "reservoir_size": 3},
            "only reservoir or ader or spmf reads it and replay is 'proxy_guided'",
        ),
        ({"strategy": "lwc_kd", "student_replay_weight": 3.0}, "only ccd reads it and strategy is 'lwc_kd'"),
        ({"strategy": "distill", "proxies": ["stability"]}, "only ccd reads it and strategy is 'distill'"),
        (
            {"strategy": "ccd", "replay": None, "replay_rank_sample": 7},
            "only proxy_guided reads it and replay is None",
        ),
        (
            {"strategy": "ccd", "regularizer": "graphsail", "piw_weight": 3.0},
            "only lwc_kd reads it and regularizer is 'graphsail'",
        ),
        ({"strategy": "ewc", "sml_epochs": 3}, "only sml reads it and strategy is 'ewc'"),
    ],
)
def test_keys_of_what_a_run_does_not_have_are_warned_of(keys, reason):
    (line,) = CCDConfig("BPR", "mine", config_dict=keys).warnings()
    *_, key = keys
    assert line.startswith(f"{key} is {keys[key]!r} (config_dict), which changes no result, as ")
    assert f"{reason}; it can be left out" in line


@pytest.mark.parametrize(
    "keys",
    [
        {"strategy": "ccd", "replay": None, "mutual_learning": True, "replay_rank_sample": 7},
        {
            "strategy": "fine_tune",
            "regularizer": ["ewc", "graphsail"],
            "ewc_weight": 3.0,
            "graphsail_clusters": 3,
        },
        {"strategy": "fine_tune", "replay": "ader", "reservoir_size": 3, "ader_weight": 3.0},
        # the default, as in a file that a run has left
        {"strategy": "fine_tune", "ewc_weight": CCDConfig()["ewc_weight"]},
    ],
)
def test_keys_of_what_it_has_are_not(keys):
    assert CCDConfig("BPR", "mine", config_dict=keys).warnings() == []


def test_defaults_and_presets_are_warned_of_by_no_strategy():
    for strategy in names_of("strategy"):
        for preset in (None, "paper-yelp", "paper-gowalla"):
            keys = {"strategy": strategy, "preset": preset}
            assert CCDConfig("LightGCN", "mine", config_dict=keys).warnings() == []


# what every strategy reads that updates a model, or makes a student anew
OF_ALL = {"replay", "regularizer", "student_start", "new_entity_initialization", "n_popular_neighbors"}
CHOICES = ("joint", "all", "final", "previous", "distilled", "generated", "matched", "source")
VALUES = (7, 0.25, True, False, *CHOICES, ["stability"], [3, 3])


@pytest.mark.parametrize(
    "key",
    [
        key
        for key, row in SCHEMA.items()
        if row.scope is Scope.STRATEGY
        and "." not in key
        and key not in OF_ALL
        # of any stage of training
        and not key.endswith(STAGE_KEYS)
        or key == "student_replay_batch_size"
    ],
)
def test_each_key_of_an_update_is_warned_of_where_nothing_is_updated(key):
    default = CCDConfig()[key]
    check = SCHEMA[key].check
    value = next(value for value in VALUES if value != default and check.accepts(value))
    mutual = {"mutual_learning": True, "mutual_bridge": True} if key.startswith("mutual") else {}
    keys = {"strategy": "static", **mutual, key: value}
    assert any(
        line.startswith(f"{key} is ") for line in CCDConfig("BPR", "mine", config_dict=keys).warnings()
    )
