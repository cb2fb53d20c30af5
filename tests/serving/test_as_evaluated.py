"""What is served is what was measured: the same items in the same order, for every user."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from recbole_ccd import load_student, run_ccd
from tests.conftest import few
from tests.serving.reference import evaluated_lists, restored

PLAIN = {"strategy": "fine_tune", "base": "plain"}
# students by how they score: by embeddings that are kept, from rows of interactions, pair by pair
STUDENTS = {
    "ccd": {"model": "LightGCN", "teacher_models": ["BPR", "MultiVAE"]},
    "block-graph": {**PLAIN, "model": "LightGCN", "graph": "block", "mask_history": "all"},
    "bpr": {**PLAIN, "model": "BPR", "eval_part": "valid"},
    "draws-when-scoring": {**PLAIN, "model": "NGCF", "message_dropout": 0.3},
    "auto-encoder": {"strategy": "full_batch", "base": "plain", "model": "MultiVAE", "graph": "block"},
    "pairs": {**PLAIN, "model": "NeuMF"},
}
SLOWER = {
    "static": {"strategy": "static", "base": "plain", "model": "LightGCN"},
    "sgl": {**PLAIN, "model": "SGL"},
    "enmf": {**PLAIN, "model": "ENMF"},
    "full_batch": {"strategy": "full_batch", "base": "plain", "model": "DMF"},
    "predictions": {**PLAIN, "model": "LightGCN", "growth": "predictions", "n_layers": 2},
    "pieces": {"model": "BPR", "student_updates_per_block": 2, "teacher_models": ["BPR", "MultiVAE"]},
}


def lists_of(served, users, k, block):
    """Item tokens by user, from the table."""
    table = served.recommend(users, k, exclude_seen="evaluation", block=block)
    assert table["rank"].tolist() == [rank for _ in users for rank in range(1, k + 1)]
    assert set(table["source"]) == {served.about.role}
    return table["item"].to_numpy().reshape(len(users), k).tolist()


def check(run_dir, role="student"):
    """Compares all lists of the last row of R with RecBole's, and its metrics with result.json."""
    config, stream, strategy = restored(run_dir)
    served, model = load_student(run_dir, role), getattr(strategy, role)
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    longest = max(config["topk"])
    for block in range(len(stream)):
        users, wanted = evaluated_lists(config, stream, model, block, role)
        assert lists_of(served, users, longest, block) == wanted
        loader = stream[block].measured_loader(config, known_at=stream[len(stream) - 1])
        k = min(config["topk"])
        short = served.recommend(users, k, exclude_seen="evaluation", block=block)
        assert short["item"].tolist() == [item for items in wanted for item in items[:k]]
        measured = result["metrics"][f"recall@{k}"][role]["R"][-1][block]
        assert recall(short, loader, stream.dataset) == pytest.approx(measured, abs=1e-12)


def recall(table, loader, dataset):
    """The mean share of a user's test items that is recommended."""
    tokens = {field: dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field)}
    feat = loader._dataset.inter_feat
    users, items = (tokens[field][feat[field].numpy()] for field in tokens)
    wanted = set(zip(users, items, strict=True))
    found = wanted & set(zip(table["user"], table["item"], strict=True))
    hits, sizes = ({user: 0 for user in users} for _ in range(2))
    for counts, pairs in ((hits, found), (sizes, wanted)):
        for user, _ in pairs:
            counts[user] += 1
    return float(np.mean([hits[user] / sizes[user] for user in sizes]))


@pytest.mark.slow
@pytest.mark.parametrize("case", STUDENTS)
def test_students(case, run_of):
    check(run_of(**STUDENTS[case]))


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOWER)
def test_other_students(case, run_of):
    check(run_of(**SLOWER[case]))


def test_a_teacher_of_several_members(run_dir):
    check(run_dir, "teacher")


@pytest.mark.parametrize("member", few(["BPR", "NGCF"], "BPR"))
def test_a_teacher_of_one_member(member, run_of):
    args = {"embedding_size": 16}
    keys = {"model": "BPR", "teacher_models": [member], "teacher_args": args, "block_ratios": [0.6, 0.4]}
    check(run_of(**keys), "teacher")


def test_neither_the_size_of_batches_nor_their_order_matters(served):
    users = served.user_tokens[1:].tolist()
    whole = served.recommend(users, 10)
    for size in (1, 2, 7):
        assert served.recommend(users, 10, batch_size=size).equals(whole)
    backwards = served.recommend(users[::-1], 10)
    key = ["user", "rank"]
    assert (
        backwards.sort_values(key)
        .reset_index(drop=True)
        .equals(whole.sort_values(key).reset_index(drop=True))
    )


@pytest.mark.slow
@pytest.mark.skipif("RECBOLE_CCD_DATA" not in os.environ, reason="RECBOLE_CCD_DATA holds no yelp-ccd/")
def test_every_user_of_yelp(tmp_path):
    keys = {"strategy": "static", "base": "plain", "epochs": 1, "show_progress": False, "gpu_id": ""}
    folder = Path(os.environ["RECBOLE_CCD_DATA"]).absolute()
    keys |= {"data_path": str(folder), "run_dir": str(tmp_path / "run"), "metric_decimal_place": 15}
    run_ccd("LightGCN", "yelp-ccd", config_dict=keys)
    check(tmp_path / "run")
