"""Several runs side by side: what lies where, and that each is the run it would be alone."""

import json

import pytest

from recbole_ccd import (
    CCDConfig,
    Comparison,
    StreamResult,
    compare,
    create_strategy,
    create_stream,
    quick_start,
    run_ccd,
)
from recbole_ccd.checkpoint import RunDirectory
from recbole_ccd.cli import main
from recbole_ccd.config import expand
from recbole_ccd.utils.errors import DataError, RunError
from tests.conftest import SMALL, SMALL_CCD, few
from tests.strategy.runs import STRATEGIES, put_in_place_of

QUICK = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {}, "block_ratios": [0.6, 0.4]}
LABELS, SEEDS = ["fine_tune", "ccd"], [2, 1]
LISTS = {"strategy": LABELS, "seed": SEEDS}


@pytest.fixture
def keys(tiny_folder, tmp_path, monkeypatch):
    """Quick settings, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return {**QUICK, "data_path": str(tiny_folder)}


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory):
    """A comparison of two strategies over two seeds, and its folder."""
    top = tmp_path_factory.mktemp("compared") / "top"
    settings = {**QUICK, **LISTS, "data_path": str(tiny_folder), "run_dir": str(top)}
    return compare("BPR", "tiny", config_dict=settings), top


def result_in(folder):
    return StreamResult.from_dict(RunDirectory(folder).read_json("result.json"))


def matrices(result):
    """R of every metric and role."""
    metrics = result.to_dict()["metrics"]
    return {(name, role): metrics[name][role]["R"] for name in metrics for role in metrics[name]}


def test_the_layout(finished):
    _, top = finished
    runs = {f"{label}-{seed}" for label in LABELS for seed in SEEDS}
    files = {f"comparison.{suffix}" for suffix in ("json", "md", "csv", "log")}
    files |= {"manifest.json", "manifest.previous.json"}
    assert {path.name for path in top.iterdir()} == runs | files
    for name in runs:
        inside = {path.name for path in (top / name).iterdir()}
        assert {"config.yaml", "result.json", "run.log", "checkpoints"} <= inside
        config = RunDirectory(top / name).read_config()
        assert f"{config['strategy']}-{config['seed']}" == name
        assert config["run_dir"] == str(top / name)


def test_the_comparison_is_that_of_the_runs_below_it(finished):
    comparison, top = finished
    again = Comparison(
        {label: [result_in(top / f"{label}-{seed}") for seed in SEEDS] for label in LABELS}
    ).to_dict()
    document = json.loads((top / "comparison.json").read_text(encoding="utf-8"))
    assert document == comparison.to_dict() == again
    assert document["labels"] == LABELS and document["seeds"] == SEEDS
    # the base student is there for both, its teacher only where it goes on
    assert list(document["metrics"]["recall@5"]["teacher"]["labels"]) == ["ccd"]
    assert (top / "comparison.md").read_text(encoding="utf-8").startswith("# BPR on tiny")
    assert (top / "comparison.csv").read_text(encoding="utf-8").startswith("metric,role,label,")


def test_the_log_of_the_whole(finished):
    _, top = finished
    log = (top / "comparison.log").read_text(encoding="utf-8")
    # seed by seed, so that a seed's stream and base models can go when it is done
    lines = [
        *["run 1 of 4: fine_tune, seed 2", "run 2 of 4: ccd, seed 2"],
        *["run 3 of 4: fine_tune, seed 1", "run 4 of 4: ccd, seed 1"],
        *["student: H of recall@5 after each block", "comparison.json"],
    ]
    places = [log.index(line) for line in lines]
    assert places == sorted(places)


@pytest.mark.parametrize("label", LABELS)
def test_a_run_of_a_comparison_is_the_run_made_alone(finished, keys, label):
    _, top = finished
    exclusive = run_ccd("BPR", "tiny", config_dict={**keys, "strategy": label, "seed": 1})
    assert matrices(exclusive) == matrices(result_in(top / f"{label}-1"))


def test_runs_of_a_seed_share_stream_and_base_models(keys, monkeypatch):
    streams, shared = [], []

    def create_stream(config, made=quick_start.create_stream):
        streams.append(made(config))
        return streams[-1]

    class Seen(STRATEGIES["static"]):
        def run(self, stream, whole):
            shared.append((self.config["seed"], stream, self.stages.base_models))
            return super().run(stream, whole)

    monkeypatch.setattr(quick_start, "create_stream", create_stream)
    put_in_place_of(monkeypatch, "static", Seen)
    compare(
        "BPR",
        "tiny",
        config_dict={**keys, "strategy": ["static"], "base": ["distilled", "plain"]} | {"seed": SEEDS},
    )
    assert [seed for seed, _, _ in shared] == [2, 2, 1, 1]
    for position in (1, 2):
        first, second, third, fourth = (run[position] for run in shared)
        assert first is second and third is fourth and first is not third
    # the last seed's is made once more after the checks
    assert [stream.config["seed"] for stream in streams] == [1, 2, 1]


@pytest.mark.parametrize("strategy", few(sorted(STRATEGIES), "ccd", "fine_tune"))
def test_bases_are_compared_where_they_make_a_difference(strategy, keys):
    # the base block is all of the stream
    settings = {**keys, "block_ratios": [1.0], "strategy": strategy}
    results = []
    for base in ("distilled", "plain"):
        config = CCDConfig("BPR", "tiny", config_dict={**settings, "base": base})
        results.append(create_strategy(config).run(create_stream(config)))
    runs = expand("BPR", "tiny", config_dict={**settings, "base": ["distilled", "plain"]})
    students = [result.summary("student", "recall@5")["R"] for result in results]
    assert len(runs) == (1 if students[0] == students[1] else 2)


def test_all_runs_are_checked_before_the_first_one_trains(keys, tmp_path, monkeypatch):
    class Picky(STRATEGIES["fine_tune"]):
        def check(self, stream):
            if stream.config["seed"] == SEEDS[-1]:
                raise DataError("this seed cannot be used; take another")

    put_in_place_of(monkeypatch, "fine_tune", Picky)
    with pytest.raises(DataError, match="this seed"):
        compare("BPR", "tiny", config_dict={**keys, "strategy": ["ccd", "fine_tune"], "seed": SEEDS})
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(keys, tmp_path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        compare("BPR", "tiny", config_dict={**keys, **LISTS, "run_dir": "top"})
    assert [path.name for path in (tmp_path / "top").iterdir()] == ["precious.txt"]


def test_the_default_folder_names_all_strategies(keys, tmp_path):
    comparison = compare(
        "BPR", "tiny", config_dict={**keys, "strategy": ["static", "fine_tune"], "base": "plain"}
    )
    (top,) = (tmp_path / "saved").iterdir()
    assert top.name.startswith("tiny-BPR-static+fine_tune-2")
    assert {path.name for path in top.iterdir() if path.is_dir()} == {"static-2020", "fine_tune-2020"}
    assert comparison.spreads("student", "recall@5", "static", "H")[-1].std is None


def test_a_single_value_is_a_comparison_of_one(keys):
    settings = {**keys, "strategy": "static", "base": "plain"}
    assert compare("BPR", "tiny", config_dict=settings).labels == ["static"]


@pytest.mark.parametrize(
    ("argument", "called"),
    [("--seed=1,2", "compare"), ("--strategy=[ccd]", "compare"), ("--seed=1", "run_ccd")],
)
def test_the_program_compares_where_there_is_a_list(argument, called, monkeypatch):
    calls = []
    for name in ("compare", "run_ccd"):
        monkeypatch.setattr(quick_start, name, lambda argv, stop, name=name: calls.append((name, argv)))
    assert main([argument]) == 0
    assert calls == [(called, [argument])]


@pytest.mark.parametrize(
    ("argument", "message"),
    [("--strategy=ccd,fine_tine", "error: unknown strategy 'fine_tine' (command line); choose one of: ")],
)
def test_a_wrong_list_ends_with_two_and_one_line(argument, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([argument]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(message) and shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
