"""A comparison that was killed after every save, and gone on with, is the uninterrupted one."""

import json
from collections import Counter

import pytest

from recbole_ccd import compare, resume, run_ccd
from recbole_ccd.checkpoint.manifest import Manifest
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import RunError
from tests.checkpoint.cases import QUICK, Killed, assert_same_run, killed_after
from tests.strategy.runs import teachers

KEYS = {
    **QUICK,
    **teachers("BPR"),
    "model": "BPR",
    "dataset": "tiny",
    "strategy": ["fine_tune", "ccd"],
    "seed": [2, 1],
    "block_ratios": [0.6, 0.4],
    "epochs": 1,
}
RUNS = ["fine_tune-2", "fine_tune-1", "ccd-2", "ccd-1"]


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory):
    """The uninterrupted comparison."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        compare(config_dict={**KEYS, "data_path": str(tiny_folder), "run_dir": str(folder / "whole")})
    return folder / "whole"


@pytest.fixture
def keys(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {**KEYS, "data_path": str(tiny_folder), "run_dir": str(tmp_path / "parts")}


def document_of(top):
    document = json.loads((top / "comparison.json").read_text(encoding="utf-8"))
    for run in document["runs"].values():
        del run["seconds"], run["costs"]
    return document


def in_parts(keys, saves):
    kills = 0
    while True:
        try:
            with killed_after(saves):
                return kills, resume(keys["run_dir"]) if kills else compare(config_dict=keys)
        except Killed:
            kills += 1


@pytest.mark.slow
def test_killed_after_every_save(whole, keys, tmp_path, monkeypatch):
    finished = Counter()

    def run(self, show_progress, run=StageTrainer.run):
        run(self, show_progress)
        finished[self.config["strategy"], self.label, self.seed] += 1

    monkeypatch.setattr(StageTrainer, "run", run)
    # the manifests of the whole and of a run are written once in each process, at the least
    kills, _ = in_parts(keys, saves=3)
    assert kills > 10
    assert document_of(whole) == document_of(tmp_path / "parts")
    for name in RUNS:
        assert_same_run(whole / name, tmp_path / "parts" / name)
    # every stage has been trained to its end once: base models are of one run for all of a seed
    assert set(finished.values()) == {1}
    assert len([label for _, label, _ in finished if label.startswith("block 0 base")]) == 2
    assert {path.name for path in whole.iterdir()} == {path.name for path in (tmp_path / "parts").iterdir()}


def test_a_finished_comparison_trains_nothing(whole, keys, monkeypatch):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    before = document_of(whole)
    comparison = resume(whole)
    assert comparison.labels == ["fine_tune", "ccd"] and comparison.seeds == [2, 1]
    assert document_of(whole) == before
    assert (whole / "comparison.csv").read_text().startswith("metric,role,label,")


@pytest.mark.slow
def test_a_single_run_of_it_can_be_gone_on_with(whole, keys, tmp_path):
    with pytest.raises(Killed), killed_after(7):
        compare(config_dict=keys)
    part = tmp_path / "parts" / "fine_tune-2"
    assert Manifest.read(part)[0].status == "running"
    resume(part)
    assert_same_run(whole / "fine_tune-2", part)
    assert compare(resume=tmp_path / "parts").labels == ["fine_tune", "ccd"]
    assert document_of(whole) == document_of(tmp_path / "parts")


def test_settings_and_kinds_are_told_apart(whole, keys, tmp_path):
    with pytest.raises(Killed), killed_after(7):
        compare(config_dict=keys)
    top = tmp_path / "parts"
    with pytest.raises(RunError, match="embedding_size is 4, and the run in .*fine_tune-2 was begun with"):
        resume(top, argv=["--embedding_size=4"])
    with pytest.raises(RunError, match="holds a comparison and no run; call resume"):
        run_ccd(resume=top)
    with pytest.raises(RunError, match="holds base models that runs share; give the folder above"):
        resume(top / "base-2")
    manifest, _ = Manifest.read(top)
    manifest.runs[0]["folder"] = "../elsewhere"
    manifest.write(top)
    with pytest.raises(RunError, match="'../elsewhere' is no name of a run's folder"):
        resume(top)
