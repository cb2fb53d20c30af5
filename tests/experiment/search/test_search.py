"""A search on the tiny stream: what it measures, what it leaves, and how it goes on."""

import csv
import errno
import json
import shutil
import signal
from collections import Counter

import pytest
import yaml

from recbole_ccd import CCDConfig, RunError, compare, load_student, resume, run_ccd, tune
from recbole_ccd.checkpoint.manifest import Manifest
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError, DataError
from tests.checkpoint.cases import Killed, killed_after
from tests.checkpoint.program import Program, execute, wait_for
from tests.conftest import SMALL, SMALL_CCD, tiny_rows, write_inter

# what is searched cannot be set
UNSET = {key: value for key, value in SMALL.items() if not key.endswith("learning_rate")}
KEYS = {
    **{**UNSET, **SMALL_CCD, "model": "BPR", "dataset": "tiny", "strategy": "fine_tune", "base": "plain"},
    **{"teacher_models": ["BPR"], "teacher_args": {}, "block_ratios": [0.6, 0.4]},
}
SPACE = "learning_rate choice [0.001, 0.05]\nembedding_size choice [8, 4]\n"
LEFT = ["best.yaml", "trials.csv", "trials.json", "trials.md"]


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    """A folder with a space, and the search ``whole`` in it, which nobody has interrupted."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "my.hyper").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = tune("my.hyper", config_dict={**KEYS, "data_path": str(tiny_folder), "run_dir": "whole"})
    return folder, result


@pytest.fixture
def keys(place, tiny_folder, tmp_path, monkeypatch):
    """Settings, in a working folder of its own with the same file."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(place[0] / "my.hyper", tmp_path)
    return {**KEYS, "data_path": str(tiny_folder), "run_dir": "parts"}


def space_of(text):
    with open("my.hyper", "w") as file:
        file.write(text)


def count_training(monkeypatch):
    """Counts trainings that came to their end."""
    counted = Counter()

    def run(self, show_progress, run=StageTrainer.run):
        run(self, show_progress)
        counted[self.label, self.seed] += 1

    monkeypatch.setattr(StageTrainer, "run", run)
    return counted


def test_what_it_measures(place):
    folder, found = place
    assert [trial.values for trial in found.trials] == [
        {"learning_rate": rate, "embedding_size": size} for rate in (0.001, 0.05) for size in (8, 4)
    ]
    for trial in found.trials:
        result = json.loads((folder / "whole" / trial.folder / "result.json").read_text())
        assert result["config"]["eval_part"] == "valid"
        assert {key: result["config"][key] for key in trial.values} == trial.values
        (r00,), (r10, r11) = result["metrics"]["recall@5"]["student"]["R"]
        la, ra = (r00 + r11) / 2, r10
        assert trial.measured["LA"] == [pytest.approx(la)] and trial.measured["RA"] == [ra]
        assert trial.measured["H"] == [pytest.approx(2 * la * ra / (la + ra))]
    means = [trial.spread("H").mean for trial in found.trials]
    assert len(set(means)) == 4 and found.best.spread("H").mean == max(means)


def test_a_trial_is_the_run_made_alone(place, keys):
    _, found = place
    exclusive = run_ccd(config_dict={**keys, **found.trials[3].values, "eval_part": "valid"})
    assert exclusive.summary("student", "recall@5")["H"][-1] == found.trials[3].measured["H"][0]


def test_what_it_leaves(place):
    folder, found = place
    top = folder / "whole"
    folders = [f"trial-{n:03}" for n in range(4)]
    assert sorted(path.name for path in top.iterdir()) == sorted(
        [*LEFT, *folders, "manifest.json", "manifest.previous.json", "tune.log"]
    )
    document = json.loads((top / "trials.json").read_text())
    assert document == json.loads(json.dumps(found.to_dict()))
    assert document["best"] == found.best.number and document["seeds"] == [2020]
    with open(top / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["H mean"]) for row in rows] == [trial.measured["H"][0] for trial in found.trials]
    assert [row["best"] for row in rows].index("1") == found.best.number
    page = (top / "trials.md").read_text()
    title = "fine_tune with BPR on tiny, seed 2020: recall@5 on the valid parts, 4 of 4 trials"
    assert page.startswith(f"# {title}\n")
    assert page.count("| best |") == 1 and "- `embedding_size`: choice [8, 4]" in page
    log = (top / "tune.log").read_text()
    assert log.count("trials\n") == 4 and log.count("the best is trial") == 1
    # a trial is a run like any other
    assert load_student(top / "trial-000").about.role == "student"
    with pytest.raises(
        RunError, match="holds search and no single run; give .* one of: trial-000, trial-001"
    ):
        load_student(top)


def test_the_best_is_a_property_file(place, keys):
    folder, found = place
    file = folder / "whole" / "best.yaml"
    assert yaml.safe_load(file.read_text()) == found.best.values
    config = CCDConfig(config_file_list=[str(file)], config_dict=keys)
    assert {key: config[key] for key in found.best.values} == found.best.values
    assert config["eval_part"] == "test"


@pytest.mark.slow
def test_killed_after_every_few_saves_and_gone_on_with(place, keys, tmp_path, monkeypatch):
    folder, _ = place
    counted, kills = count_training(monkeypatch), 0
    while True:
        try:
            with killed_after(8):
                result = resume("parts") if kills else tune("my.hyper", config_dict=keys)
            break
        except Killed:
            kills += 1
    assert kills >= 3
    for name in LEFT:
        assert (tmp_path / "parts" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert result.best.values == place[1].best.values
    # two stages in four trials, of which none was trained to its end twice
    assert sum(counted.values()) == 8


def test_a_finished_search_trains_nothing(place, keys, tmp_path, monkeypatch):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    monkeypatch.setattr("recbole_ccd.quick_start.create_stream", lambda _: pytest.fail("data were read"))
    shutil.copytree(place[0] / "whole", "moved")
    assert resume("moved", argv=["--show_epochs=True"]).to_dict() == place[1].to_dict()
    with pytest.raises(RunError, match="moved holds a search and no run; call resume"):
        run_ccd(resume="moved")
    with pytest.raises(RunError, match="embedding_size is 4, and the run in moved was begun with 8"):
        resume("moved", argv=["--embedding_size=4"])


def test_what_it_is_gone_on_with(keys, tmp_path):
    with pytest.raises(Killed), killed_after(3):
        tune("my.hyper", config_dict=keys)
    manifest, _ = Manifest.read(tmp_path / "parts")
    manifest.runs[0]["runs"][0]["folder"] = "../elsewhere"
    (tmp_path / "wrong").mkdir()
    manifest.write(tmp_path / "wrong")
    with pytest.raises(RunError, match="'../elsewhere' is no name of a run's folder"):
        resume("wrong")
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    write_inter(tmp_path / "data" / "tiny" / "tiny.inter", tiny_rows(seed=1))
    with pytest.raises(RunError, match="the data are not those that the run in parts was begun with"):
        resume("parts", argv=["--data_path=data"])


@pytest.mark.slow
def test_several_seeds_and_a_trial_that_fails(keys, tmp_path, capsys):
    space_of("student_update_learning_rate choice [0.01, 1e38]\n")
    found = tune("my.hyper", config_dict={**keys, "seed": [2, 1], "train_batch_size": 32})
    good, bad = found.trials
    assert found.best is good and good.status == "finished" and bad.status == "failed"
    assert "training loss became" in bad.error and bad.problem.startswith("block 1 student_update")
    H = [result_of(tmp_path / "parts" / "trial-000" / f"fine_tune-{seed}") for seed in (2, 1)]
    assert good.measured["H"] == H and good.spread("H").mean == pytest.approx(sum(H) / 2)
    assert good.spread("H").std == pytest.approx(abs(H[0] - H[1]) / 2**0.5)
    # a trial of several seeds is a comparison
    assert compare(resume="parts/trial-000").seeds == [2, 1]
    # what has failed is not tried again
    capsys.readouterr()
    assert resume("parts").to_dict() == found.to_dict()
    shown = capsys.readouterr().err
    assert "± std" in shown and "trial 1 failed: block 1 student_update" in shown


def result_of(folder):
    """H of a run."""
    return json.loads((folder / "result.json").read_text())["metrics"]["recall@5"]["student"]["H"][-1]


def test_no_memory_is_of_a_trial_and_no_room_is_of_the_search(keys, monkeypatch):
    space_of("embedding_size choice [4, 512, 8]\n")
    machine = {512: MemoryError("none left"), 8: OSError(errno.ENOSPC, "No space left on device")}

    def run(self, show_progress, run=StageTrainer.run):
        if self.config["embedding_size"] in machine:
            raise machine[self.config["embedding_size"]]
        run(self, show_progress)

    monkeypatch.setattr(StageTrainer, "run", run)
    with pytest.raises(RunError, match="No space left on device.*; free space there and go on with"):
        tune("my.hyper", config_dict=keys)
    # both are there by now
    machine.clear()
    found = resume("parts")
    assert [trial.status for trial in found.trials] == ["finished", "failed", "finished"]
    assert found.trials[1].problem == "block 0 base: out of memory (none left)"


def test_where_all_fail_it_says_so(keys):
    space_of("learning_rate choice [1e38]\n")
    with pytest.raises(RunError, match=r"none of 1 trials could be finished \(the first one: block 0 base: "):
        tune("my.hyper", config_dict={**keys, "train_batch_size": 32})


@pytest.mark.parametrize(
    ("space", "bases"),
    [
        ("student_update_learning_rate choice [0.1, 0.01]\n", 1),
        pytest.param("base_learning_rate choice [0.1, 0.01]\n", 2, marks=pytest.mark.slow),
    ],
)
def test_base_models_are_shared_where_they_read_no_searched_key(space, bases, keys, tmp_path, monkeypatch):
    space_of(space)
    counted = count_training(monkeypatch)
    found = tune("my.hyper", config_dict={**keys, "base": "distilled"})
    by_label = Counter(label for label, _ in counted.elements())
    assert by_label["block 0 base member 0 (BPR)"] == by_label["block 0 student_generation"] == bases
    assert by_label["block 1 student_update"] == 2 and not list((tmp_path / "parts").glob("base-*"))
    # each as if it had been made alone
    values = {**found.trials[1].values, "base": "distilled", "eval_part": "valid", "run_dir": "exclusive"}
    exclusive = run_ccd(config_dict={**keys, **values})
    assert exclusive.summary("student", "recall@5")["H"][-1] == found.trials[1].measured["H"][0]


def test_searched_values_lie_over_files_and_under_nothing(keys, tmp_path):
    space_of("teacher_args.embedding_size choice [8]\nstudent_replay_weight uniform 0,1\n")
    (tmp_path / "mine.yaml").write_text("teacher_args: {embedding_size: 64, learning_rate: 0.1}\n")
    arguments = ["--config_files=mine.yaml", "--teacher_args.weight_decay=0.5"]
    keys["run_dir"] = None
    found = tune("my.hyper", config_dict=keys, argv=arguments, algorithm="random", n_trials=1)
    (top,) = (tmp_path / "saved").iterdir()
    assert top.name.startswith("tune-tiny-BPR-fine_tune-2")
    config = yaml.safe_load((top / "trial-000" / "config.yaml").read_text())
    expected = {"embedding_size": 8, "learning_rate": 0.1, "weight_decay": 0.5}
    assert config["teacher_args"] == expected
    assert config["student_replay_weight"] == found.trials[0].values["student_replay_weight"]
    with pytest.raises(ConfigError, match=r"student_replay_weight is searched, and also set \(config_dict\)"):
        tune("my.hyper", config_dict={**keys, "student_replay_weight": 1.0}, algorithm="random")


def test_all_trials_are_checked_before_the_first_one_trains(keys, tmp_path, monkeypatch):
    def check(self, stream):
        if self.config["seed"] == 1 or self.config["embedding_size"] == 4:
            raise DataError("this cannot be used; take another")

    monkeypatch.setattr("recbole_ccd.strategy.base.Strategy.check", check)
    with pytest.raises(DataError, match=r"^trial 1 \(learning_rate 0.001, embedding_size 4\): this cannot"):
        tune("my.hyper", config_dict=keys)
    with pytest.raises(DataError, match=r"^trial 0 \(learning_rate 0.001, embedding_size 8\): this cannot"):
        tune("my.hyper", config_dict={**keys, "seed": [2, 1]})
    assert [path.name for path in tmp_path.iterdir()] == ["my.hyper"]


@pytest.mark.slow
def test_a_signal_says_how_to_go_on(place, keys, tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**keys, "epochs": 9, "stopping_step": 99}))
    arguments = ["--tune=my.hyper", "--config_files=small.yaml"]
    code, shown = execute(tmp_path, *arguments, "--run_dir=whole")
    assert code == 0, shown
    process = Program(tmp_path, *arguments)
    wait_for(tmp_path / "parts" / "trial-002" / "run.log", "epoch 3 training", process)
    process.send(signal.SIGINT)
    code, shown = process.end(60)
    assert code == 130 and "interrupted; go on with: python -m recbole_ccd --resume=parts\n" in shown
    code, shown = execute(tmp_path, "--resume=parts")
    assert code == 0 and "trial 0 of" not in shown and "trial 3 of" in shown
    for name in LEFT:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
