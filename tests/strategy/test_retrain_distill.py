"""A fresh teacher on everything so far, and a student distilled from it."""

import json

import numpy as np
import pytest
import torch

from recbole_ccd.cli import main
from recbole_ccd.data.splitting import TRAIN
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.quick_start import create_stream
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.retrain_distill import RetrainDistill
from recbole_ccd.strategy.stage import StageContext, StageName, StageTask, run_stage
from recbole_ccd.strategy.stage_runner import learn_plainly
from recbole_ccd.utils.errors import DataError
from tests.conftest import SMALL, SMALL_CCD
from tests.strategy.runs import follow, matrices, recorded, same_weights, teachers, write_files

MEMBERS = ["LightGCN", "MultiVAE"]
KEYS = {**teachers(*MEMBERS), "strategy": "retrain_distill", "metric_decimal_place": 15, "epochs": 2}


@pytest.fixture(scope="module")
def followed(make_config, tmp_path_factory):
    """The strategy after the tiny stream, with the rankings that each student was distilled from."""

    class Noting(recorded(RetrainDistill)):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.noted = []

        def teacher_rankings(self, block):
            rankings = super().teacher_rankings(block)
            self.noted.append((block, self.teacher, rankings))
            return rankings

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("retrained"))
        yield follow(make_config(**KEYS), Noting)


def rows_so_far(stream, last):
    data = stream.dataset
    rows = np.flatnonzero((data.part_of_row == TRAIN) & (data.block_of_row <= last))
    return {(int(data.inter_feat["user_id"][n]), int(data.inter_feat["item_id"][n])) for n in rows}


def test_members_learn_everything_from_scratch_in_every_block(followed):
    stages = [(s["block"], s["stage"], s["member"]) for s in followed.result.stages]
    members = [("base", 0), ("base", 1), ("student_generation", None)]
    assert stages == [(k, *one) for k in range(3) for one in members]
    assert followed.result.roles == ["student", "teacher"]
    stream = create_stream(followed.config)
    block = stream[2]
    whole = block.with_earlier(np.concatenate(block.earlier_train_rows))
    assert {(int(u), int(i)) for u, i in zip(*whole.train_matrix.nonzero(), strict=True)} == rows_so_far(
        stream, 2
    )
    config = followed.config
    context = StageContext(whole, learn_plainly)
    for m, (name, member) in enumerate(zip(MEMBERS, followed.teacher.members, strict=True)):
        # nothing of the blocks before goes into it but their rows
        task = StageTask(StageName("base", 2, name, m), config.for_member(m))
        again = run_stage(context, task).state
        assert all(value.equal(again[key]) for key, value in member.state_dict().items())


def test_the_student_is_distilled_from_it(followed):
    block, teacher, rankings = followed.noted[-1]
    assert block.index == 2 and teacher is followed.teacher and isinstance(teacher, TeacherEnsemble)
    scores = score_rows(teacher.eval(), torch.arange(block.n_users)).clone()
    stream = create_stream(followed.config)
    for user, item in rows_so_far(stream, 2):
        scores[user, item] = -torch.inf
    scores[:, 0] = -torch.inf
    k = followed.config["distill_top_k"]
    for user in range(1, block.n_users):
        expected = scores[user].topk(k).values
        assert scores[user][rankings.top_items[user].long()].equal(expected)
    config = followed.config
    assert type(followed).generate_student is Strategy.generate_student
    stage = followed.result.stages[-1]
    assert stage["stage"] == "student_generation" and stage["epochs"] == config["epochs"]


def test_it_knows_no_future_and_is_its_seeds(followed, make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = follow(make_config(**KEYS), recorded(RetrainDistill))
    assert matrices(again) == matrices(followed)
    assert all(same_weights(*states) for states in zip(again.states, followed.states, strict=True))


def test_a_user_of_everything_so_far_is_refused_before_anything_is_trained(make_config, tmp_path):
    # within each block u leaves one item, and over both none
    first = [("u", f"i{n}") for n in range(4)] + [("v", f"i{n}") for n in range(6)]
    second = [("u", "i4"), ("u", "i5"), ("v", "i1")]
    files = {"b0.train": first, "b0.valid": [("v", "i1")], "b0.test": [("v", "i2")]}
    files |= {"b1.train": second, "b1.valid": [("v", "i1")], "b1.test": [("v", "i2")]}
    files["b0.train"].remove(("v", "i5"))
    files["b0.test"].append(("v", "i5"))
    names = write_files(tmp_path, "full", files)
    keys = {
        "topk": [2],
        "valid_metric": "Recall@2",
        "load_col": None,
        "distill_top_k": 2,
        "exclusion_top_k": 2,
    }
    config = make_config(
        "BPR",
        **{**KEYS, **teachers("BPR"), **keys},
        dataset="full",
        data_path=tmp_path,
        benchmark_filename=names,
    )
    with pytest.raises(DataError, match="user 'u' has interacted with all 6 items known in block 1"):
        RetrainDistill(config).check(create_stream(config))


def test_the_headline_beside_ccd(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keys = {**SMALL, **SMALL_CCD, **teachers("BPR"), "block_ratios": [0.6, 0.4], "write_report": True}
    (tmp_path / "small.yaml").write_text(json.dumps(keys), encoding="utf-8")
    where = ["--config_files=small.yaml", f"--data_path={tiny_folder}", "--dataset=tiny", "--run_dir=top"]
    assert main(["--strategy=fine_tune,ccd,retrain_distill", "--model=BPR", *where]) == 0
    shown = "".join(capsys.readouterr())
    document = json.loads((tmp_path / "top" / "comparison.json").read_text(encoding="utf-8"))
    H, seconds = (
        {
            label: document["metrics"]["recall@5"]["student"]["labels"][label]["H"]["mean"][-1]
            for label in document["labels"]
        },
        {label: run["seconds"]["updates"] for label, run in document["runs"].items()},
    )
    quality, time = (values["ccd"] / values["retrain_distill"] for values in (H, seconds))
    line = f"ccd: {quality:.1%} of retrain_distill's quality at {time:.1%} of its time"
    assert line in shown and f"**{line}**" in (tmp_path / "top" / "comparison.md").read_text("utf-8")
    page = (tmp_path / "top" / "report.html").read_text(encoding="utf-8")
    assert "ccd beside retraining" in page and "Seconds of training in each block" in page
    for label, run in document["runs"].items():
        costs = run["costs"]
        assert sum(costs["seconds"]) == pytest.approx(sum(run["seconds"].values()), abs=0.01), label
        assert all(value > 50 for value in costs["rss_mb"]) and len(costs["rss_mb"]) == 2
    for heading in (
        "Quality beside cost",
        "Resident memory at most",
        "student: next, recall@5 on each block",
    ):
        assert heading in shown
    assert document["unserved"][0].keys() == {"users", "items", "interactions"}
