"""Runs that stop and go on, of every kind of strategy."""

import json
from contextlib import contextmanager
from unittest.mock import patch

import torch

from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.quick_start import resume, run_ccd
from tests.conftest import RATES, SMALL, SMALL_CCD
from tests.strategy.runs import teachers

QUICK = {
    **SMALL,
    **SMALL_CCD,
    "epochs": 2,
    "stopping_step": 5,
    "checkpoint_every": 1,
    "block_ratios": [0.4, 0.3, 0.3],
    "metric_decimal_place": 15,
}
CASES = {
    "ccd": {
        **teachers("LightGCN", "MultiVAE"),
        "student_update_distill": 0.5,
        "student_updates_per_block": 2,
        "distill_item_weight": 0.01,
        "replay_rank_student": "distilled",
    },
    "ccd-predictions": {
        **teachers("BPR", "RecVAE"),
        "model": "LightGCN",
        "n_layers": 2,
        "growth": "predictions",
        "distill_loss": "cd",
        "uninteresting_redraw": 1,
        "student_start": "previous",
        "graph": "block",
        "epochs": 3,
    },
    "ccd-bpr": {
        **teachers("LightGCN"),
        "model": "BPR",
        "proxies": ["stability"],
        "valid_blocks": "current",
        "deployed_student": "generated",
        "teacher_replay_labels": "matched",
        "student_replay_batch_size": 64,
        "teacher_replay_batch_size": "joint",
    },
    "ccd-auto": {
        **teachers("BPR", "BPR"),
        "model": "BPR",
        **dict.fromkeys((*RATES, "train_batch_size", "eval_step"), "auto"),
        **dict.fromkeys(("student_replay_batch_size", "teacher_replay_batch_size"), "auto"),
        "student_generation_train_batch_size": "auto",
        "deployed_student": "better",
    },
    "lwc_kd": {**teachers("BPR"), "strategy": "lwc_kd"},
    "piw": {"strategy": "piw", "base": "plain", "model": "LightGCN"},
    "full_batch": {"strategy": "full_batch", "base": "plain", "model": "MultiVAE", "graph": "block"},
    "full_batch-ease": {"strategy": "full_batch", "model": "EASE"},
    "full_batch-random": {"strategy": "full_batch", "model": "Random"},
    "distill_each_block": {**teachers("LightGCN", "BPR"), "strategy": "distill_each_block"},
    "distill_each_block-reservoir": {
        **teachers("MultiVAE"),
        "strategy": "distill_each_block",
        "replay": "reservoir",
        "graph": "block",
    },
    "retrain_distill": {**teachers("LightGCN", "MultiVAE"), "strategy": "retrain_distill", "graph": "block"},
    "distill": {**teachers("BPR"), "strategy": "distill"},
    "replay": {
        "strategy": "replay",
        "base": "plain",
        "graph": "block",
        "growth": "predictions",
        "n_layers": 2,
    },
    "graphsail": {"strategy": "graphsail", "base": "plain", "graphsail_clusters": 3},
    "ewc": {"strategy": "ewc", "base": "plain", "model": "BPR"},
    "pisa": {"strategy": "pisa", "base": "plain", "pisa_clusters": 3},
    "sml": {"strategy": "sml", "base": "plain", "growth": "predictions", "n_layers": 2},
    "static": {**teachers("BPR"), "strategy": "static"},
}
TIMES = ("seconds", "rss_mb", "peak_rss_mb")


def settings_of(case, folder, run_dir):
    """The settings of a case, its run directory among them."""
    keys = {**QUICK, **CASES[case], "data_path": str(folder), "run_dir": str(run_dir)}
    if not case.startswith("full_batch-"):
        keys.setdefault("model", "LightGCN")
    fitting = ("mlp_hidden_size", "latent_dimension")
    if keys["model"] == "MultiVAE":
        keys |= {"mlp_hidden_size": [16], "latent_dimension": 8}
    else:
        keys = {key: value for key, value in keys.items() if key not in fitting}
    return {**keys, "dataset": "tiny"}


class Killed(BaseException):
    """Here the process would have been killed; nothing may be done about it."""


@contextmanager
def killed_when(there):
    """Ends the process, so to speak, once a manifest of which ``there`` holds has been written."""
    dead, write = [], FileStore.write

    def watched(self, manifest):
        if dead:
            raise Killed
        write(self, manifest)
        if there(manifest):
            dead.append(True)
            raise Killed

    with patch.object(FileStore, "write", watched):
        yield


def killed_after(saves):
    """Ends the process, so to speak, after so many manifests have been written."""
    counted = iter(range(1, saves + 1))
    return killed_when(lambda _: next(counted) == saves)


def run_in_parts(settings, saves=2):
    """Begins a run and goes on with it after every kill, until it ends.

    Returns:
        The number of kills and the result.
    """
    kills = 0
    while True:
        try:
            with killed_after(saves):
                # the first manifest of each process is that of its beginning
                result = resume(settings["run_dir"]) if kills else run_ccd(config_dict=settings)
                return kills, result
        except Killed:
            kills += 1


def document_of(run_dir):
    """result.json without times, and without where the run lies."""
    document = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    for stage in document["stages"]:
        for name in TIMES:
            del stage[name]
    for key in ("run_dir", "checkpoint_dir"):
        del document["config"][key]
    return document


def weights_of(run_dir):
    """All tensors of the checkpoints, by file and name."""
    files = sorted((run_dir / "checkpoints").rglob("*.pt"))
    loaded = {str(f.relative_to(run_dir)): torch.load(f, weights_only=True) for f in files}
    return {(file, name): value for file, state in loaded.items() for name, value in state.items()}


def assert_same_run(one, other):
    """Two run directories hold the same, but for times."""
    assert document_of(one) == document_of(other)
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    assert [key for key, value in first.items() if not value.equal(second[key])] == []
