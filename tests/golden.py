"""Golden results: every strategy on a small stream, to show that a change of the code changes no bit.

``python tests/golden.py --write=FILE`` runs every case and keeps what came out: ``result.json`` without
times, and a digest of each tensor of each checkpoint. ``--compare=FILE`` runs them again, with the code of
today, and names every difference; the exit code is 1 if there is one. Digests depend on the processor and on
versions of torch, so that a file is made and compared on one machine. ``--only=ccd,lwc_kd`` takes some cases.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["OMP_NUM_THREADS"] = "1"

import torch

from recbole_ccd import resume, run_ccd
from recbole_ccd.plugin.conformance import Countdown
from tests.conftest import SMALL, SMALL_CCD, tiny_rows, write_inter
from tests.strategy.runs import SIZES, teachers

torch.set_num_threads(1)

COMMON = {
    **SMALL,
    "student_update_distill": 1.0,
    "teacher_update_distill": 1.0,
    **SMALL_CCD,
    "dataset": "tiny",
    "model": "LightGCN",
    "epochs": 3,
    "stopping_step": 5,
    "checkpoint_every": 1,
    "uninteresting_redraw": 2,
    "replay_redraw": 2,
    "metric_decimal_place": 15,
}
CASES = {
    "ccd": teachers("LightGCN", "MultiVAE", "BPR"),
    "ccd-paper": {
        **teachers("LightGCN", "LightGCN"),
        "graph": "block",
        "valid_blocks": "current",
        "replay_rank_student": "distilled",
        "student_update_distill": 0.0,
        "teacher_update_distill": 0.0,
        "teacher_replay_labels": "source",
        "distill_absent_users": False,
        "n_uninteresting_items": 10,
        "n_uninteresting_users": 12,
        "replay_rank_sample": 20,
        "lwc_kd_anchors": 8,
    },
    "ccd-matched": {
        **teachers("BPR", "RecVAE"),
        "model": "BPR",
        "student_replay_labels": "matched",
        "student_replay_batch_size": 64,
        "deployed_student": "generated",
        "proxies": ["stability"],
    },
    "ccd-pieces": {
        **teachers("LightGCN", "CDAE"),
        "student_updates_per_block": 2,
        "student_start": "previous",
        "update_distill_users": "all",
        "update_distill_teacher": "previous",
        "growth": "predictions",
        "n_layers": 2,
    },
    "ccd-pair-scoring": {
        **teachers("NeuMF", "DMF", "BPR"),
        "model": "NeuMF",
        **SIZES["NeuMF"],
        "n_uninteresting_pairs": 7,
    },
    "ccd-enmf": {**teachers("ENMF", "CDAE"), "model": "ENMF"},
    "ccd-sgl": {**teachers("SGL", "NGCF"), "model": "SGL", "exclude_student_items": False},
    **{
        f"ccd-{loss}": {
            **teachers("BPR"),
            "distill_loss": loss,
            "distill_draws": 5,
            "distill_rank_sample": 20,
            "distill_propose_depth": 12,
        }
        for loss in (
            *("kl", "listnet", "cd", "rd", "speculative", "correlation", "comparative", "logits", "rce"),
            *("dcd", "unkd"),
        )
    },
    "ccd-pruned": {**teachers("BPR", "MultiVAE"), "teacher_prune_rate": 0.1},
    "ccd-cd-pairs": {
        **teachers("BPR"),
        "model": "NeuMF",
        **SIZES["NeuMF"],
        "distill_loss": "cd",
        "distill_draws": 5,
    },
    "ccd-dynamic": {
        **teachers("LightGCN"),
        "train_neg_sample_args": {
            "distribution": "popularity",
            "sample_num": 1,
            "alpha": 1.0,
            "dynamic": True,
            "candidate_num": 3,
        },
    },
    "ccd-no-retention": {**teachers("LightGCN", "MultiVAE"), "ablation": "no_retention"},
    "distill": {**teachers("BPR", "MultiVAE"), "strategy": "distill"},
    "distill_each_block": {**teachers("LightGCN", "MultiVAE", "NeuMF"), "strategy": "distill_each_block"},
    "retrain_distill": {**teachers("LightGCN", "MultiVAE"), "strategy": "retrain_distill"},
    "fine_tune": {**teachers("BPR"), "strategy": "fine_tune"},
    "full_batch": {"strategy": "full_batch", "base": "plain"},
    "full_batch-vae": {"strategy": "full_batch", "base": "plain", "model": "MultiVAE", **SIZES["MultiVAE"]},
    "graphsail": {"strategy": "graphsail", "base": "plain", "graphsail_clusters": 3},
    "lwc_kd": {**teachers("BPR"), "strategy": "lwc_kd"},
    "lwc_kd-pairs": {"strategy": "lwc_kd", "base": "plain", "model": "NeuMF", **SIZES["NeuMF"]},
    "piw": {"strategy": "piw", "base": "plain"},
    "replay": {"strategy": "replay", "base": "plain", "reservoir_size": 200},
    "replay-enmf": {"strategy": "replay", "base": "plain", "model": "ENMF", "reservoir_size": 200},
    "ewc": {"strategy": "ewc", "base": "plain"},
    "pisa": {"strategy": "pisa", "base": "plain", "pisa_clusters": 3},
    "sml": {"strategy": "sml", "base": "plain"},
    "ader": {"strategy": "fine_tune", "base": "plain", "replay": "ader", "reservoir_size": 200},
    "spmf": {"strategy": "fine_tune", "base": "plain", "replay": "spmf", "reservoir_size": 200},
    "static": {**teachers("BPR"), "strategy": "static"},
}
RESUMED = (
    "ccd",
    "ccd-matched",
    "ccd-pieces",
    "ccd-cd",
    "distill_each_block",
    "graphsail",
    "lwc_kd",
    "replay",
)
"""Cases that are also run in parts, each interrupted after a few epochs."""


def settings_of(case: str, folder: Path, run_dir: Path) -> dict:
    """The settings of a case."""
    keys = {**COMMON, **CASES[case], "data_path": str(folder), "run_dir": str(run_dir)}
    own = set(CASES[case])
    if keys["model"] not in ("LightGCN", "NGCF", "BPR", "SGL", "ENMF"):
        keys = {key: value for key, value in keys.items() if key != "embedding_size" or key in own}
    return keys


def run_whole(case: str, folder: Path, run_dir: Path) -> None:
    """Runs a case without a break."""
    run_ccd(config_dict=settings_of(case, folder, run_dir))


def run_in_parts(case: str, folder: Path, run_dir: Path) -> None:
    """Runs a case, interrupted again and again."""
    load_manifest = False
    while True:
        try:
            if load_manifest:
                resume(run_dir, stop=Countdown(4))
            else:
                load_manifest = True
                run_ccd(config_dict=settings_of(case, folder, run_dir), stop=Countdown(4))
            return
        except KeyboardInterrupt:
            continue


def outcome_of(run_dir: Path) -> dict:
    """What a run has left, without times and places."""
    document = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    for stage in document["stages"]:
        for name in ("seconds", "rss_mb", "peak_rss_mb"):
            stage.pop(name, None)
    for key in ("run_dir", "checkpoint_dir", "data_path"):
        document["config"].pop(key, None)
    weights = {}
    for file in sorted((run_dir / "checkpoints").rglob("*.pt")):
        for name, value in torch.load(file, weights_only=True).items():
            value = value.to_dense() if value.layout is not torch.strided else value
            content = f"{value.dtype}{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes()
            weights[f"{file.relative_to(run_dir)}:{name}"] = hashlib.sha256(content).hexdigest()[:16]
    return {"document": document, "weights": weights}


def differences(before: dict, now: dict) -> list[str]:
    """What differs, in words; new keys are none, nor are keys of the configuration that are gone."""
    old, new = before["document"], now["document"]
    settings, later = old.pop("config"), new.pop("config")
    found = [
        f"setting {k}: {settings[k]} -> {later[k]}"
        for k in settings
        if k in later and settings[k] != later[k]
    ]
    found += [f"result.json: {key}" for key in old if old[key] != new.get(key)]
    # files that are new change none of those that there were
    names = before["weights"].keys()
    found += [
        f"tensor {name}" for name in sorted(names) if before["weights"].get(name) != now["weights"].get(name)
    ]
    return found


def main() -> int:
    """Writes or compares golden results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--only", default="", help="names of cases, separated by commas")
    given = parser.parse_args()
    golden = json.loads(given.compare.read_text()) if given.compare else {}
    wanted = [*CASES, *(f"{case}, resumed" for case in RESUMED)]
    wanted = [name for name in wanted if not given.only or name in given.only.split(",")]
    outcomes, failed = {}, 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.chdir(folder)
        (folder / "tiny").mkdir()
        write_inter(folder / "tiny" / "tiny.inter", tiny_rows())
        for number, name in enumerate(wanted):
            run_dir = folder / f"run-{number}"
            case, _, in_parts = name.partition(", ")
            (run_in_parts if in_parts else run_whole)(case, folder, run_dir)
            outcomes[name] = outcome_of(run_dir)
            known = golden.get(name)
            found = differences(known, outcomes[name]) if known is not None else []
            failed += bool(found)
            print(
                f"{name}: {'; '.join(found[:6]) if found else 'kept' if known is None else 'equal'}",
                file=sys.stderr,
            )
    if given.write:
        given.write.write_text(json.dumps(outcomes, indent=1, sort_keys=True), encoding="utf-8")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
