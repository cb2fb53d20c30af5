"""One whole CCD run from files, as a user leaves it on disk."""

import json
import math

import numpy as np
import pytest
import torch
import yaml

from recbole_ccd.config import CCDConfig
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.model.growth import build
from recbole_ccd.model.teacher import TeacherEnsemble
from recbole_ccd.quick_start import create_stream, run_ccd
from tests.conftest import SMALL, SMALL_CCD
from tests.strategy.runs import block_rows, triples, write_files

METRICS = ["recall@5", "ndcg@5"]
MEMBERS = SMALL_CCD["teacher_models"]


@pytest.fixture(scope="module")
def files():
    return triples(block_rows())


@pytest.fixture(scope="module")
def run_dir(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    names = write_files(folder, "files", files)
    keys = {
        **SMALL,
        **SMALL_CCD,
        "data_path": str(folder),
        "benchmark_filename": names,
        "block_ratios": None,
        "run_dir": str(folder / "run"),
    }
    run_ccd("LightGCN", "files", config_dict=keys)
    return folder / "run"


@pytest.fixture(scope="module")
def result(run_dir):
    return json.loads((run_dir / "result.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def config(run_dir):
    return CCDConfig.from_dict(yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def stream(config):
    return create_stream(config)


def load(run_dir, name):
    return torch.load(run_dir / "checkpoints" / "block-2" / f"{name}.pt", weights_only=True)


def rebuilt(run_dir, config, stream, name):
    model = build(config, stream[-1])
    model.load_state_dict(load(run_dir, name))
    return model.eval()


def last_row(model, config, stream):
    evaluator = FullSortEvaluator(config)
    return [evaluator.evaluate(model, block.measured_loader(config, known_at=stream[-1])) for block in stream]


def test_the_run_directory_holds_what_was_promised(run_dir):
    files = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    models = ["student", "stability", "plasticity", "teacher-0", "teacher-1"]
    documents = {"config.yaml", "result.json", "run.log", "vocabulary.json"}
    documents |= {"manifest.json", "manifest.previous.json"}
    blocks = {f"checkpoints/block-{k}/{name}.pt" for name in [*models, "serving"] for k in (1, 2)}
    rows = {f"checkpoints/interactions/block-{k}{part}.pt" for k in (0, 1, 2) for part in ("", "-given")}
    assert files == documents | blocks | rows | {f"checkpoints/block-{k}/result.json" for k in (1, 2)}


def test_result_is_format_1_with_every_key(result):
    assert set(result) == {
        "format", "dataset", "model", "strategy", "seed", "n_blocks", "primary_metric", "metrics",
        "new_users", "new_items", "next", "known", "sizes", "stages", "config",
    }  # fmt: skip
    head = {
        key: result[key]
        for key in ("format", "dataset", "model", "strategy", "seed", "n_blocks", "primary_metric")
    }
    assert head == {
        "format": 1, "dataset": "files", "model": "LightGCN", "strategy": "ccd", "seed": 2020, "n_blocks": 3,
        "primary_metric": "recall@5",
    }  # fmt: skip
    assert result["config"]["distill_top_k"] == SMALL_CCD["distill_top_k"]
    assert result["config"]["benchmark_filename"][0] == "b0.train"
    for kind in ("new_users", "new_items"):
        assert {
            name: {role: len(v) for role, v in roles.items()} for name, roles in result[kind].items()
        } == {name: {"student": 3, "teacher": 3} for name in METRICS}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("metric", METRICS)
def test_summaries_follow_from_r_by_hand(result, metric, role):
    entry = result["metrics"][metric][role]
    R = entry["R"]
    assert [len(row) for row in R] == [1, 2, 3]
    assert all(0 <= value <= 1 for row in R for value in row) and any(value for row in R for value in row)
    la = [R[0][0], (R[0][0] + R[1][1]) / 2, (R[0][0] + R[1][1] + R[2][2]) / 3]
    ra = [R[1][0], (R[2][0] + R[2][1]) / 2]
    assert entry["LA"] == pytest.approx(la)
    assert entry["RA"][0] is None and entry["RA"][1:] == pytest.approx(ra)
    h = [2 * a * b / (a + b) if a + b else 0.0 for a, b in zip(la[1:], ra, strict=True)]
    assert entry["H"][0] is None and entry["H"][1:] == pytest.approx(h)
    assert entry["BWT"] == pytest.approx(((R[2][0] - R[0][0]) + (R[2][1] - R[1][1])) / 2)
    best = max(R[0][0], R[1][0], R[2][0]), max(R[1][1], R[2][1])
    assert entry["forgetting"] == pytest.approx((best[0] - R[2][0] + best[1] - R[2][1]) / 2)


def test_at_the_base_block_everybody_is_new(result):
    for kind in ("new_users", "new_items"):
        for metric in METRICS:
            for role in ("student", "teacher"):
                assert result[kind][metric][role][0] == result["metrics"][metric][role]["R"][0][0]


def test_known_counts_what_the_files_so_far_name(result, files):
    users, items, expected = set(), set(), []
    for k in range(3):
        rows = [row for part in ("train", "valid", "test") for row in files[f"b{k}.{part}"]]
        users |= {user for user, _ in rows}
        items |= {item for _, item in rows}
        expected.append({"users": len(users), "items": len(items)})
    assert result["known"] == expected
    assert expected[0] != expected[1] != expected[2]


def test_vocabulary_lists_tokens_in_order_of_arrival(run_dir, files):
    vocabulary = json.loads((run_dir / "vocabulary.json").read_text(encoding="utf-8"))
    rows = [row for rows in files.values() for row in rows]
    assert vocabulary["users"] == ["[PAD]", *dict.fromkeys(user for user, _ in rows)]
    assert vocabulary["items"] == ["[PAD]", *dict.fromkeys(item for _, item in rows)]


def test_every_stage_is_listed_in_the_order_of_the_method(result):
    def of_teacher(block, stage):
        return [(block, stage, m) for m in range(len(MEMBERS))]

    assert [(s["block"], s["stage"], s["member"]) for s in result["stages"]] == [
        *of_teacher(0, "base"),
        (0, "student_generation", None),
        (1, "student_update", None),
        *of_teacher(1, "teacher_update"),
        # the teacher of block 1 teaches on block 1 when block 2 arrives
        (1, "student_generation", None),
        (2, "student_update", None),
        *of_teacher(2, "teacher_update"),
    ]
    for stage in result["stages"]:
        always = {"block", "stage", "member", "epochs", "seconds", "rss_mb", "peak_rss_mb", "loss"}
        always |= {"valid_score", "train_batch_size", "learning_rate", "weight_decay"}
        assert set(stage) == always | ({"replayed"} if stage["stage"].endswith("_update") else set())
        assert stage["epochs"] == 1 and stage["seconds"] > 0 and stage["peak_rss_mb"] > 50
        # numbers, whatever was left to the block's size
        assert isinstance(stage["train_batch_size"], int) and 0 < stage["learning_rate"] < 0.1
        assert isinstance(stage["weight_decay"], float)


def test_sizes_count_what_the_checkpoints_hold(result, run_dir):
    def count(names):
        tensors = [tensor for name in names for tensor in load(run_dir, name).values()]
        return {
            "parameters": sum(t.numel() for t in tensors),
            "bytes": sum(t.numel() * t.element_size() for t in tensors),
        }

    assert result["sizes"] == {"student": count(["student"]), "teacher": count(["teacher-0", "teacher-1"])}
    assert result["sizes"]["student"]["parameters"] < result["sizes"]["teacher"]["parameters"]


def test_checkpoints_hold_tensors_of_the_last_prefix_only(run_dir, result):
    paths = sorted((run_dir / "checkpoints").rglob("*.pt"))
    for path in paths:
        state = torch.load(path, weights_only=True)
        assert state and all(isinstance(value, torch.Tensor) for value in state.values())
    users = load(run_dir, "student")["user_embedding.weight"]
    assert users.shape == (result["known"][-1]["users"] + 1, 8)
    # proxies are those that stage 2 of the last block used
    assert load(run_dir, "stability")["user_embedding.weight"].shape[0] == result["known"][-2]["users"] + 1


def test_the_saved_student_gives_the_last_row_of_r(run_dir, result, config, stream):
    row = last_row(rebuilt(run_dir, config, stream, "student"), config, stream)
    for metric in METRICS:
        assert [entry[metric] for entry in row] == result["metrics"][metric]["student"]["R"][-1]


def test_the_saved_members_give_the_teachers_last_row(run_dir, result, config, stream):
    members = [rebuilt(run_dir, config.for_member(m), stream, f"teacher-{m}") for m in range(len(MEMBERS))]
    row = last_row(TeacherEnsemble(config, stream[-1].train, members), config, stream)
    for metric in METRICS:
        assert [entry[metric] for entry in row] == result["metrics"][metric]["teacher"]["R"][-1]


def naive_recall(scores, seen, wanted, k):
    recalls = []
    for user, items in wanted.items():
        row = scores[user].copy()
        row[[0, *seen.get(user, ())]] = -math.inf
        recalls.append(len(set(np.argsort(-row, kind="stable")[:k].tolist()) & items) / len(items))
    return sum(recalls) / len(recalls)


def items_by_user(rows, users, items):
    by_user = {}
    for user, item in rows:
        by_user.setdefault(users[user], set()).add(items[item])
    return by_user


def test_recall_equals_a_naive_full_sort(run_dir, result, config, stream, files):
    vocabulary = json.loads((run_dir / "vocabulary.json").read_text(encoding="utf-8"))
    users, items = ({token: n for n, token in enumerate(vocabulary[kind])} for kind in ("users", "items"))
    with torch.no_grad():
        user_vectors, item_vectors = rebuilt(run_dir, config, stream, "student")()
    scores = (user_vectors @ item_vectors.T).numpy()
    for k in range(3):
        seen = items_by_user(files[f"b{k}.train"] + files[f"b{k}.valid"], users, items)
        wanted = items_by_user(files[f"b{k}.test"], users, items)
        # R is rounded to six places
        assert result["metrics"]["recall@5"]["student"]["R"][2][k] == pytest.approx(
            naive_recall(scores, seen, wanted, 5), abs=1e-6
        )
