"""Context-aware models under ``full_batch``: with and without features, gone on with, served, and refused."""

import json
import shutil

import pytest
import torch

from recbole_ccd import load_student
from recbole_ccd.config import CCDConfig
from recbole_ccd.data.context_fields import check_fields
from recbole_ccd.evaluation.comparison import Comparison
from recbole_ccd.model.context import PHASES
from recbole_ccd.quick_start import create_stream, run_ccd, update
from recbole_ccd.report.comparison import comparison_table
from recbole_ccd.report.html.run import run_report
from recbole_ccd.report.tables import block_table, final_table
from recbole_ccd.strategy.full_batch import FullBatch
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError, ModelError
from tests.checkpoint.cases import QUICK, assert_same_run, run_in_parts
from tests.conftest import N_ITEMS, N_USERS, few, tiny_rows, write_inter
from tests.strategy.runs import HEADER, block_rows, follow, matrices, write_files

SMALL_NETWORKS = {
    "DCNV2": {"mlp_hidden_size": [8]},
    "DeepFM": {"mlp_hidden_size": [8]},
    "KD_DAGFM": {"t_depth": 1, "depth": 1},
}
INTER = ["user_id", "item_id", "timestamp"]
WITH_FEATURES = {"inter": INTER, "user": ["user_id", "age"], "item": ["item_id", "class"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny stream as files of its blocks, and with columns of users, items and interactions."""
    folder = tmp_path_factory.mktemp("context")
    write_files(folder, "files", {f"b{k}": rows for k, rows in enumerate(block_rows())})
    users = [(f"u{n}", n % 5, n) for n in range(N_USERS)]
    write_inter(folder / "files" / "files.user", users, "user_id:token\tage:token\tweight:float")
    # of some items nothing is known, and nobody interacts with the last one
    items = [(f"i{n}", " ".join(f"c{c}" for c in (n % 3, n // 40))) for n in range(5, N_ITEMS + 1)]
    write_inter(folder / "files" / "files.item", items, "item_id:token\tclass:token_seq")
    (folder / "times").mkdir()
    rows = [(*row, n % 3) for n, row in enumerate(tiny_rows())]
    write_inter(folder / "times" / "times.inter", rows, f"{HEADER}\ttimestamp:float\tplace:token")
    return folder


@pytest.fixture(scope="module")
def run(make_config, folder, tmp_path_factory):
    """Trains a model on the first blocks, once for the same settings."""
    finished = {}

    def run(model, n_blocks=3, features=True, **keys):
        key = (model, n_blocks, features, str(keys))
        if key not in finished:
            load = {**WITH_FEATURES, "inter": INTER[:2]} if features else {"inter": INTER[:2]}
            names = [f"b{k}" for k in range(n_blocks)]
            where = {"dataset": "files", "data_path": folder, "benchmark_filename": names, "load_col": load}
            settings = {**SMALL_NETWORKS.get(model, {}), **where, "strategy": "full_batch", **keys}
            config = make_config(model, metric_decimal_place=15, **settings)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("run"))
                finished[key] = follow(config, FullBatch)
        return finished[key]

    return run


@pytest.mark.parametrize("model", few(["FM", "DeepFM", "DCNV2", "KD_DAGFM"], "FM"))
@pytest.mark.parametrize("features", [True, False])
def test_a_fresh_model_learns_every_block_and_knows_no_future(run, model, features):
    long, short = (run(model, n, features) for n in (3, 2))
    assert {what: R[:2] for what, R in matrices(long).items()} == matrices(short)
    assert long.config["base"] == "plain" and long.teacher is None
    epochs = len(PHASES) if model == "KD_DAGFM" else 1
    stages = [(stage["block"], stage["stage"], stage["epochs"]) for stage in long.result.stages]
    assert stages == [(k, "base", epochs) for k in range(3)]
    assert long.student.num_feature_field == (4 if features else 2)


def test_features_are_those_of_known_users_and_items(run):
    strategy = run("FM")
    student, stream = strategy.student, create_stream(strategy.config)
    names = [*student.token_field_names, *student.token_seq_field_names]
    assert names == ["user_id", "item_id", "age", "class"]
    users, items = (student._features[field] for field in ("user_id", "item_id"))
    assert len(users["age"]) == stream[2].n_users and len(items["class"]) == stream[2].n_items
    tokens = stream.dataset.field2id_token
    ages = {}
    for user in range(1, stream[2].n_users):
        ages.setdefault(int(tokens["user_id"][user][1:]) % 5, set()).add(int(users["age"][user]))
    assert sorted(ages.values(), key=min) == [{1}, {2}, {3}, {4}, {5}]
    unknown = [n for n in range(1, stream[2].n_items) if int(tokens["item_id"][n][1:]) < 5]
    assert unknown and not items["class"][unknown].any() and items["class"].any()
    assert student.token_field_dims == [stream[2].n_users, stream[2].n_items, 6]
    without = run("FM", features=False)
    assert matrices(without) != matrices(strategy)


def test_kd_dagfm_is_trained_in_phases_with_loaders_of_their_own(run, monkeypatch):
    noted, train = [], StageTrainer.run

    def note(trainer, show_progress):
        noted.append((trainer.label, trainer.model.phase, trainer.seed))
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        train(trainer, show_progress)
        after = trainer.model.state_dict()
        noted[-1] += ({name.partition(".")[0] for name in after if not after[name].equal(before[name])},)

    monkeypatch.setattr(StageTrainer, "run", note)
    student = run("KD_DAGFM", 1).student
    labels, phases, seeds, changed = zip(*noted, strict=True)
    assert phases == PHASES and len(set(seeds)) == 3
    assert labels == tuple(f"block 0 base {phase.replace('_', ' ')}" for phase in PHASES)
    assert "student_network" not in changed[0] and changed[1] == {"student_network"}
    assert "teacher_network" not in changed[2] and "student_network" in changed[2]
    assert student.phase == PHASES[-1]


@pytest.mark.parametrize("model", few(["FM", "DCNV2", "KD_DAGFM"], "FM"))
def test_a_run_that_was_killed_is_the_uninterrupted_one(tiny_folder, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    own = {"strategy": "full_batch", "dataset": "tiny", "data_path": str(tiny_folder), "model": model}
    settings = {**QUICK, **own, **SMALL_NETWORKS.get(model, {})}
    run_ccd(config_dict={**settings, "run_dir": str(tmp_path / "whole")})
    kills, _ = run_in_parts({**settings, "run_dir": str(tmp_path / "parts")}, 5)
    assert kills >= 1
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    # the run directory is all that serving needs
    assert len(load_student(tmp_path / "whole").recommend(["u1"], 3)) == 3


def test_with_features_serving_and_updates_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = {"dataset": "files", "data_path": str(folder), "benchmark_filename": ["b0", "b1"]}
    load = {**WITH_FEATURES, "inter": INTER[:2]}
    keys = {key: value for key, value in QUICK.items() if key != "block_ratios"}
    settings = {**keys, **where, "load_col": load, "strategy": "full_batch", "model": "FM", "epochs": 1}
    run_ccd(config_dict={**settings, "run_dir": "run"})
    assert json.loads((tmp_path / "run" / "result.json").read_text())["kind"] == "context baseline"
    shutil.copytree("run", "again")
    with pytest.raises(ModelError, match="^model: FM reads columns of .user files, which no run directory"):
        load_student("run")
    with pytest.raises(ModelError, match="^model: FM reads columns of .user files, which no run directory"):
        update("again", folder / "files" / "files.b2.inter")


def test_tables_say_what_it_is(run, make_config):
    result = run("FM").result
    assert block_table(result, 1).startswith("full_batch (context baseline): ")
    assert final_table(result).startswith("full_batch (context baseline) with FM on files, seed ")
    assert "full_batch (context baseline) with FM" in run_report(result.to_dict())
    assert "\nfull_batch (context baseline) " in comparison_table(Comparison({"full_batch": [result]}))
    assert result.to_dict()["kind"] == "context baseline"


def test_without_such_a_model_nothing_is_said(make_config):
    assert CCDConfig("BPR", config_dict={"strategy": "full_batch"})["base"] == "distilled"


@pytest.mark.parametrize("strategy", ["static", "fine_tune", "ccd", "retrain_distill", "full_batch"])
def test_growth_and_distillation_are_refused(make_config, tmp_path, monkeypatch, strategy):
    monkeypatch.chdir(tmp_path)
    keys = {**QUICK, "data_path": make_config()["data_path"].rpartition("/")[0], "strategy": strategy}
    keys |= {"base": "distilled"} if strategy == "full_batch" else {}
    with pytest.raises(ModelError, match="^model: FM has one table of all fields, .* cannot be grown; "):
        run_ccd("FM", "tiny", config_dict=keys)
    assert not list(tmp_path.iterdir())


def config_of(make_config, folder, dataset, **keys):
    config = make_config("FM", dataset=dataset, data_path=folder, strategy="full_batch", **keys)
    return config, create_stream(config).dataset


@pytest.mark.parametrize(
    ("dataset", "keys", "told"),
    [
        ("times", {"load_col": {"inter": [*INTER, "place"]}}, "load_col.inter names 'place', and FM would"),
        ("times", {"numerical_features": ["timestamp"]}, "numerical_features names 'timestamp', and FM"),
        (
            "files",
            {"load_col": {"inter": INTER[:2], "user": ["user_id", "weight"]}},
            "load_col.user names 'weight', a column of numbers, and FM reads tokens alone here",
        ),
        (
            "files",
            {
                "load_col": {"inter": INTER[:2], "user": ["user_id", "weight"]},
                "numerical_features": ["weight"],
            },
            "numerical_features is ['weight'], and FM reads tokens alone here; give the column in classes",
        ),
        ("times", {"load_col": {"inter": INTER, "item": ["item_id", "class"]}}, "no file times.item; put"),
    ],
)
def test_columns_that_cannot_be_inputs_are_refused(make_config, folder, dataset, keys, told):
    keys |= {"benchmark_filename": ["b0", "b1"]} if dataset == "files" else {}
    config, data = config_of(make_config, folder, dataset, **keys)
    with pytest.raises(ModelError) as caught:
        check_fields(config, data)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_times_and_ratings_may_be_loaded_and_are_no_inputs(make_config, folder):
    config, data = config_of(make_config, folder, "times", load_col={"inter": INTER})
    check_fields(config, data)
    student = FullBatch(config)
    student.check(create_stream(config))
    assert "timestamp" in data.inter_feat.columns


def test_sequences_may_be_shortened(folder):
    keys = {"strategy": "full_batch", "seq_len": {"class": 1}, "data_path": str(folder)}
    assert CCDConfig("FM", "files", config_dict=keys).warnings() == []
    assert len(CCDConfig("BPR", "files", config_dict=keys).warnings()) == 1


def test_a_phase_is_no_choice():
    with pytest.raises(ConfigError, match="phase is 'finetuning' .* all three phases are trained"):
        CCDConfig("KD_DAGFM", config_dict={"strategy": "full_batch", "phase": "finetuning"})


def test_features_go_to_the_device_of_the_model(run):
    student = run("FM").student
    found = [values for of in student._features.values() for values in of.values()]
    assert found and all(values.device == torch.device(student.device) for values in found)
