"""The competitors: strategies that update one student, and those that only distil."""

import json

import pytest
import torch
import yaml

from recbole_ccd.config.catalogue import names_of, properties_dir
from recbole_ccd.config.schema import STAGE_KEYS
from recbole_ccd.plugin.regularization import Regularizer
from recbole_ccd.strategy import BaseModels
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ModelError
from tests.conftest import few
from tests.strategy.runs import STRATEGIES, follow, matrices, noted_plugins, recorded, same_weights, teachers

SINGLE = ("static", "fine_tune", "lwc_kd", "piw", "graphsail", "ewc", "pisa", "sml")
WITH_TEACHER = ("distill", "distill_each_block")
NEUMF = {"mf_embedding_size": 8, "mlp_embedding_size": 8, "mlp_hidden_size": [16, 8]}
# enough for the terms to be seen in the weights
KEYS = {
    "metric_decimal_place": 15,
    "lwc_kd_weight": 1.0,
    "pair_kl_weight": 1.0,
    "learning_rate": 0.005,
    "graphsail_clusters": 3,
    "pisa_clusters": 3,
    "sml_learning_rate": 0.01,
    **teachers("BPR"),
}
# one single student that is as it was, and two that learn; the others differ from them in later blocks only
TAUGHT = ("static", "fine_tune", "graphsail")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(make_config, tiny_stream, tmp_path_factory):
    """Runs a strategy on the tiny stream with base models of its own, once for the same settings."""
    finished = {}

    def run(name, again=False, model="LightGCN", **keys):
        key = json.dumps([name, model, keys], sort_keys=True)
        if again or key not in finished:
            config = make_config(model, strategy=name, **KEYS | keys)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("run"))
                done = follow(config, recorded(STRATEGIES[name]), tiny_stream)
            if again:
                return done
            finished[key] = done
        return finished[key]

    return run


def stages(strategy):
    return [(s["block"], s["stage"], s["member"]) for s in strategy.result.stages]


def table(strategy, block, side="user"):
    return strategy.states[block]["student"][f"{side}_embedding.weight"]


@pytest.mark.parametrize(
    "way",
    few(
        [f"{base}-{name}" for base in ("plain", "distilled") for name in SINGLE],
        *(f"plain-{name}" for name in SINGLE),
        *(f"distilled-{name}" for name in TAUGHT),
    ),
)
def test_a_single_student_follows_the_stream_without_a_teacher(run, way):
    base, name = way.split("-")
    strategy = run(name, base=base)
    document = strategy.result.to_dict()
    assert document["strategy"] == name and set(document["sizes"]) == {"student"}
    for metric in ("recall@5", "ndcg@5"):
        assert set(document["metrics"][metric]) == {"student"}
        R = document["metrics"][metric]["student"]["R"]
        assert [len(row) for row in R] == [1, 2, 3] and all(0 <= v <= 1 for row in R for v in row)
    carried = {"transfer", "fine-tuned", "transfer-start"} if name == "sml" else set()
    assert strategy.teacher is None and set(strategy.models()) == {"student"} | carried
    taught = [(0, "base", 0), (0, "student_generation", None)]
    updates = [(block, "student_update", None) for block in (1, 2)]
    assert stages(strategy) == [*(taught if base == "distilled" else [(0, "base", None)]), *updates]


@pytest.mark.parametrize("name", few(SINGLE + WITH_TEACHER))
def test_one_seed_one_result(run, name):
    one, other = run(name), run(name, again=True)
    assert matrices(one) == matrices(other)
    assert all(same_weights(*states) for states in zip(one.states, other.states, strict=True))


@pytest.mark.parametrize("name", few(SINGLE + WITH_TEACHER, *TAUGHT, *WITH_TEACHER))
def test_the_base_student_is_the_same_for_all(run, name):
    # strategies whose teacher goes on keep that too
    one, other = ({"student": run(key).states[0]["student"]} for key in (name, "fine_tune"))
    assert same_weights(one, other)


def test_every_method_learns_something_else(run):
    plain = [table(run(name, base="plain"), 2) for name in SINGLE]
    taught = [table(run(name), 2) for name in (*TAUGHT, "distill_each_block")]
    for students in (plain, taught):
        for n, one in enumerate(students):
            assert not any(torch.equal(one, other) for other in students[:n])


@pytest.mark.parametrize("model", ["LightGCN", "BPR"])
def test_static_keeps_every_row_it_has(run, model):
    strategy = run("static", model=model, base="plain")
    for block in (0, 1):
        for side in ("user", "item"):
            old, new = table(strategy, block, side), table(strategy, block + 1, side)
            assert len(new) > len(old) and torch.equal(new[: len(old)], old)
    assert all(stage["epochs"] == 0 for stage in strategy.result.stages if stage["block"])


def test_competitors_start_new_rows_at_random(run, make_config, tiny_stream):
    strategy = run("static", base="plain")
    for name in SINGLE:
        assert make_config(strategy=name)["new_entity_initialization"] == "random"
    for name in WITH_TEACHER:
        assert make_config(strategy=name)["new_entity_initialization"] == "two_hop"
    neighbours = run("static", base="plain", new_entity_initialization="two_hop")
    n_old = tiny_stream[1].n_old_users
    assert torch.equal(table(strategy, 1)[:n_old], table(neighbours, 1)[:n_old])
    assert not torch.equal(table(strategy, 1)[n_old:], table(neighbours, 1)[n_old:])


NOTHING = {
    "sml": {"sml_epochs": 0},
    "pisa": {"pisa_weight": 0.0},
    "ewc": {"ewc_weight": 0.0},
    "lwc_kd": {"lwc_kd_weight": 0.0},
    "piw": {"lwc_kd_weight": 0.0, "piw_weight": 0.0},
    "graphsail": {f"graphsail_{name}_weight": 0.0 for name in ("local", "global", "self")},
}


@pytest.mark.parametrize("name", NOTHING)
def test_without_weights_they_are_fine_tuning(run, name):
    plain, held = run("fine_tune", base="plain"), run(name, base="plain", **NOTHING[name])
    assert matrices(plain) == matrices(held)
    assert all(same_weights(*states) for states in zip(plain.states, held.states, strict=True))


def test_lwc_kd_and_piw_are_told_apart_by_one_setting(run):
    for name, other, piw in (("lwc_kd", "piw", False), ("piw", "lwc_kd", True)):
        one, same = run(name, base="plain"), run(other, base="plain", piw=piw)
        assert same_weights(one.states[2], same.states[2])


def test_graphsail_keeps_a_student_where_it_was(run):
    moved = []
    for name, keys in (("fine_tune", {}), ("graphsail", {"graphsail_self_weight": 100.0})):
        strategy = run(name, model="BPR", base="plain", **keys)
        old = table(strategy, 0)
        moved.append((table(strategy, 1)[: len(old)] - old).norm().item())
    assert moved[1] < moved[0]


@pytest.mark.parametrize("name", few(("static", "fine_tune", "lwc_kd"), "fine_tune", "lwc_kd"))
def test_a_student_of_pairs_follows_the_stream(run, name):
    strategy = run(name, model="NeuMF", base="plain", **NEUMF)
    assert [len(row) for row in strategy.result.summary("student", "recall@5")["R"]] == [1, 2, 3]


def test_a_student_of_pairs_holds_on_to_its_scores(run):
    keys = {"model": "NeuMF", "base": "plain", **NEUMF}
    held, free = run("lwc_kd", **keys), run("lwc_kd", pair_kl_weight=0.0, **keys)
    assert not same_weights(held.states[1], free.states[1])
    assert same_weights(free.states[1], run("fine_tune", **keys).states[1])


@pytest.mark.parametrize(
    ("name", "model", "keys", "message"),
    [
        *((name, "NeuMF", NEUMF, "does not score by an inner product") for name in ("graphsail", "pisa")),
        ("sml", "MultiVAE", {}, "has no user and item embeddings, which the student needs"),
    ],
)
def test_students_without_what_is_kept_are_refused_at_once(
    make_config, tiny_stream, monkeypatch, name, model, keys, message
):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    config = make_config(model, strategy=name, **keys)
    with pytest.raises(ModelError, match=f"^model: {model} {message}.* take LightGCN"):
        follow(config, STRATEGIES[name], tiny_stream)


def test_models_are_refused_for_their_role_only(make_config, tiny_stream):
    teacher = {"teacher_models": ["Pop"], "teacher_args": {}}
    with pytest.raises(ModelError, match="as teacher take"):
        STRATEGIES["fine_tune"](make_config(strategy="fine_tune", **teacher)).check(tiny_stream)
    # no teacher is trained here
    STRATEGIES["fine_tune"](make_config(strategy="fine_tune", base="plain", **teacher)).check(tiny_stream)
    with pytest.raises(ModelError, match="model: MultiVAE has no user and item embeddings"):
        STRATEGIES["static"](make_config("MultiVAE", strategy="static")).check(tiny_stream)


def test_the_terms_are_those_of_the_method(make_config, tiny_stream, monkeypatch):
    noted = noted_plugins(monkeypatch)
    for name, base in (("graphsail", "plain"), ("distill_each_block", "distilled")):
        keys = KEYS | teachers("LightGCN", "MultiVAE")
        follow(make_config(strategy=name, base=base, **keys), STRATEGIES[name], tiny_stream)
    names = [plugin.name for _, plugin in noted if isinstance(plugin, Regularizer)]
    assert names == ["graphsail"] * 2 + ["lwc_kd", "output_kl"] * 2


def test_distilling_once_teaches_nothing_afterwards(run):
    strategy = run("distill")
    for block in (0, 1):
        old = table(strategy, block)
        assert torch.equal(table(strategy, block + 1)[: len(old)], old)
    assert [len(row) for row in strategy.result.summary("teacher", "recall@5")["R"]] == [1, 2, 3]
    assert all(stage["epochs"] == 0 for stage in strategy.result.stages if stage["block"])


def test_distilling_each_block_updates_the_teacher_before_it_teaches(run):
    later = [(k, *what) for k in (1, 2) for what in (("teacher_update", 0), ("student_generation", None))]
    assert stages(run("distill_each_block"))[2:] == later
    R = run("distill_each_block").result.summary("teacher", "recall@5")["R"]
    assert [len(row) for row in R] == [1, 2, 3]


@pytest.mark.parametrize(
    ("base", "names"),
    [
        ("plain", ("static", "fine_tune")),
        ("distilled", ("graphsail", "ccd")),
        pytest.param("plain", SINGLE, marks=pytest.mark.slow, id="plain-all"),
        pytest.param(
            "distilled", SINGLE + WITH_TEACHER + ("ccd",), marks=pytest.mark.slow, id="distilled-all"
        ),
    ],
)
def test_shared_base_models_change_nothing(run, make_config, tiny_stream, base, names):
    shared, trained = BaseModels(), []
    for name in names:
        config = make_config(strategy=name, **KEYS, base=base)
        strategy = follow(config, recorded(STRATEGIES[name]), tiny_stream, shared)
        exclusive = run(name, base=base)
        assert matrices(strategy) == matrices(exclusive), name
        assert all(same_weights(*states) for states in zip(strategy.states, exclusive.states, strict=True)), (
            name
        )
        assert stages(strategy) == stages(exclusive)
        trained.append([s for s in strategy.result.stages if s["stage"] in ("base", "student_generation")])
    # seconds and all: the records of the first
    n_base = 1 if base == "plain" else 2
    assert all(records[:n_base] == trained[0][:n_base] for records in trained)


FORBIDDEN = (
    "base", "base_", "student_generation_", "distill_", "ensemble_", "exclusion_top_k", "n_uninteresting_",
    "uninteresting_redraw", "student_start", "embedding_size", "teacher_models", "teacher_args", "growth",
    "graph", "valid_blocks", "seed", "model", "n_layers", "reg_weight", "train_neg_sample_args",
)  # fmt: skip


@pytest.mark.parametrize("name", names_of("strategy"))
def test_no_strategy_file_touches_what_comparisons_share(name):
    values = yaml.safe_load((properties_dir() / "strategy" / f"{name}.yaml").read_text()) or {}
    for key in values:
        assert key not in STAGE_KEYS
        assert not [word for word in FORBIDDEN if key == word or (word[-1] == "_" and key.startswith(word))]


@pytest.mark.parametrize("name", names_of("strategy"))
def test_every_strategy_file_has_a_strategy_that_says_what_it_is(name):
    lines = (properties_dir() / "strategy" / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ") and STRATEGIES[name].name == name
    assert all(line.startswith("#") or not line or "# (" in line for line in lines)
