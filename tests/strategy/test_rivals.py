"""The continual competitors on streams and models that are odd but legitimate: all of them run to the end."""

import pytest

from tests.conftest import few
from tests.strategy.runs import (
    SIZES,
    STRATEGIES,
    follow,
    odd_stream,
    teachers,
)

RIVALS = {
    "ewc": {"strategy": "ewc"},
    "pisa": {"strategy": "pisa", "pisa_clusters": 3},
    "sml": {"strategy": "sml"},
    "ader": {"strategy": "fine_tune", "replay": "ader", "reservoir_size": 100},
    "spmf": {"strategy": "fine_tune", "replay": "spmf", "reservoir_size": 100},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows_of(strategy, role="student"):
    return [len(row) for row in strategy.result.summary(role, "recall@5")["R"]]


@pytest.mark.parametrize("name", few(RIVALS, "pisa"))
def test_blocks_without_new_users_without_old_ones_and_without_validation(make_config, tmp_path, name):
    data = odd_stream(tmp_path)
    keys = RIVALS[name]
    strategy = follow(make_config(base="plain", **data, **keys), STRATEGIES[keys["strategy"]])
    assert rows_of(strategy) == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["NeuMF", "ENMF", "SGL", "NGCF"])
@pytest.mark.parametrize("name", RIVALS)
def test_students_of_other_kinds(make_config, name, model):
    if (name, model) == ("pisa", "NeuMF"):
        pytest.skip("it is refused, as it has no such vectors")
    keys = {**SIZES.get(model, {"embedding_size": 8}), **RIVALS[name], "base": "plain"}
    config = make_config(model, **keys)
    strategy = follow(config, STRATEGIES[config["strategy"]])
    assert rows_of(strategy) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("replay", ["ader", "spmf"])
@pytest.mark.parametrize("strategy", ["ccd", "distill_each_block"])
def test_members_of_every_kind(make_config, tiny_stream, strategy, replay):
    keys = {**teachers("LightGCN", "MultiVAE", "NeuMF"), "pisa_clusters": 3, "reservoir_size": 100}
    config = make_config(strategy=strategy, regularizer=["pisa", "ewc"], replay=replay, **keys)
    finished = follow(config, STRATEGIES[strategy], tiny_stream)
    assert rows_of(finished) == rows_of(finished, "teacher") == [1, 2, 3]
