"""Our LightGCN, loader, trainer and evaluation against RecBole's own, on block 0 of Yelp, in one process.

``python benchmarks/recbole_lightgcn.py --data_path=DIR``. Both read the same files, so that ids, rows and
graph are the same; RecBole's side is its ``Config``, ``create_dataset``, ``data_preparation``, ``LightGCN``
and ``Trainer``, unchanged. Epochs alternate between the two, and medians are told. Then both evaluate the
same weights, and the metrics have to be equal.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import common  # noqa: F401 - before torch, which reads at its import how threads are to wait
import pandas as pd
import torch
from common import Timer, measure, megabytes, parser, print_table, ratio, seconds
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
from recbole.trainer import Trainer

from recbole_ccd import CCDConfig, create_stream
from recbole_ccd.data.block import Block
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.model.growth import build
from recbole_ccd.model.scoring import clear_cache
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.malloc import keep_freed_memory
from recbole_ccd.utils.seeding import deterministic

NAME, PARTS = "yelp-block0", ("train", "valid", "test")
SEED = 2020
GENEROUS = 4_000_000  # scores per evaluation batch, our default; RecBole's is 4096, one user at a time


def write_block(data_path: Path, folder: Path) -> None:
    """Writes block 0 as a data set of its own.

    Rows of valid and test that repeat an earlier row are left out: RecBole ranks an item that the user has
    seen if it is a positive, we never do, and apart from such rows the two have to agree.

    Args:
        data_path: the folder that holds ``yelp-ccd/``.
        folder: the folder to write ``yelp-block0/`` into.
    """
    (folder / NAME).mkdir()
    files = [data_path / "yelp-ccd" / f"yelp-ccd.block0.{part}.inter" for part in PARTS]
    rows = pd.concat([pd.read_csv(file, sep="\t", dtype=str) for file in files], keys=PARTS)
    repeated = rows.duplicated()
    repeated["train"] = False
    for part in PARTS:
        kept = rows[~repeated].loc[part]
        kept.to_csv(folder / NAME / f"{NAME}.block0.{part}.inter", sep="\t", index=False)


def settings(folder: Path, dim: int) -> dict[str, Any]:
    """What both sides are told."""
    return {
        "data_path": str(folder),
        "benchmark_filename": [f"block0.{part}" for part in PARTS],
        "load_col": {"inter": ["user_id", "item_id"]},
        "embedding_size": dim,
        "n_layers": 2,
        "train_batch_size": 2048,
        "learning_rate": 0.005,
        # RecBole's default; ours are dynamic
        "train_neg_sample_args": {
            "distribution": "uniform",
            "sample_num": 1,
            "dynamic": False,
            "candidate_num": 0,
        },
        "metrics": ["Recall", "NDCG"],
        "topk": [20, 50, 100],
        "valid_metric": "Recall@20",
        "metric_decimal_place": 6,
        "use_gpu": False,
        "show_progress": False,
        "seed": SEED,
    }


class RecBole:
    """RecBole's side.

    Args:
        folder: holds the data set.
        dim: embedding size.
        eval_batch_size: RecBole's setting; None for its default.
    """

    def __init__(self, folder: Path, dim: int, eval_batch_size: int | None = None) -> None:
        given = {**settings(folder, dim), "checkpoint_dir": str(folder / "saved")}
        if eval_batch_size is not None:
            given["eval_batch_size"] = eval_batch_size
        self.config = Config("LightGCN", NAME, config_dict=given)
        self.dataset = create_dataset(self.config)
        self.train_data, _, self.test_data = data_preparation(self.config, self.dataset)
        self.model = RecBoleLightGCN(self.config, self.train_data.dataset)
        self.trainer = Trainer(self.config, self.model)
        self._epochs = 0

    def epoch(self) -> None:
        """One training epoch."""
        self.trainer._train_epoch(self.train_data, self._epochs)
        self._epochs += 1

    def evaluate(self) -> dict[str, float]:
        """Metrics on the test part."""
        self.model.restore_user_e = self.model.restore_item_e = None
        return dict(self.trainer.evaluate(self.test_data, load_best_model=False))


class Ours:
    """Our side: a stream of the one block.

    Args:
        folder: holds the data set.
        dim: embedding size.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        config = CCDConfig("LightGCN", NAME, config_dict=settings(folder, dim))
        self.config = config.for_stage("base")
        self.stream = create_stream(self.config)
        self.block: Block = self.stream[0]
        self.model = build(self.config, self.block)
        self.trainer = StageTrainer(self.config, self.model).bind(self.block, "base", SEED)
        self.train_data = self.block.train_loader(self.config, SEED)

    def epoch(self) -> None:
        """One training epoch, deterministic as in a stage of a run."""
        with deterministic(self.config["reproducibility"]):
            self.trainer._train_epoch(self.train_data, self.trainer.epochs_run)

    def evaluate(self) -> dict[str, float]:
        """Metrics on the test part, with the loader's construction."""
        clear_cache(self.model)
        return FullSortEvaluator(self.config).evaluate(self.model, self.block.measured_loader(self.config))


def check_same(ours: Ours, theirs: RecBole) -> None:
    """Requires the same ids, and gives both models the same weights.

    Raises:
        AssertionError: the two number users or items differently.
    """
    dataset = ours.stream.dataset
    for field in (dataset.uid_field, dataset.iid_field):
        same = list(dataset.field2id_token[field]) == list(theirs.dataset.field2id_token[field])
        assert same, f"the ids of {field} differ"
    ours.model.load_state_dict(theirs.model.state_dict())


def check_same_loss(ours: Ours, theirs: RecBole) -> float:
    """Relative difference of the losses of one batch of RecBole's.

    Raises:
        AssertionError: it is greater than 1e-5.
    """
    batch = next(iter(theirs.train_data))
    a, b = (float(side.model.calculate_loss(batch).detach()) for side in (ours, theirs))
    assert abs(a / b - 1) < 1e-5, f"losses {a} and {b}"
    return abs(a / b - 1)


def train(folder: Path, dim: int, repeats: int) -> dict[str, str]:
    """Alternating epochs; the first of each side warms up."""
    ours, theirs = Ours(folder, dim), RecBole(folder, dim)
    check_same(ours, theirs)
    difference = check_same_loss(ours, theirs)
    times: dict[int, list[float]] = {0: [], 1: []}
    for number in range(repeats + 1):
        for side, each in enumerate((ours, theirs)):
            with Timer() as timer:
                each.epoch()
            if number:
                times[side].append(timer.seconds)
    fast, slow = median(times[0]), median(times[1])
    return {
        "LightGCN, 2 layers, batch 2048": f"training epoch, d = {dim}",
        "ours": seconds(fast),
        "RecBole": seconds(slow),
        "ratio": ratio(slow, fast),
        "least": f"{seconds(min(times[0]))} / {seconds(min(times[1]))}",
        "epochs": str(repeats),
        "same": f"loss of a batch to {difference:.0e}",
    }


def evaluate(folder: Path, dim: int, repeats: int) -> Iterator[dict[str, str]]:
    """Full-sort evaluation of the same weights, RecBole's with its default batch size and a generous one."""
    ours, default = Ours(folder, dim), RecBole(folder, dim)
    check_same(ours, default)
    default.epoch()  # a little training, so that there is something to find
    default.epoch()
    ours.model.load_state_dict(default.model.state_dict())
    fast = measure(ours.evaluate, repeats)
    generous = RecBole(folder, dim, GENEROUS)
    generous.model.load_state_dict(default.model.state_dict())
    for name, theirs, n in (("4096 (default)", default, 1), (f"{GENEROUS:,}", generous, repeats)):
        slow = measure(theirs.evaluate, n)
        worst = max(abs(fast.result[metric] - value) for metric, value in slow.result.items())
        # a product of another shape rounds otherwise, and a near tie may turn: one hit moves a recall by 1e-5
        assert fast.result.keys() == slow.result.keys() and worst < 2e-5, f"metrics differ by {worst}"
        yield {
            "full-sort evaluation": f"d = {dim}, RecBole's eval_batch_size {name}",
            "ours": seconds(fast.seconds),
            "RecBole": seconds(slow.seconds),
            "ratio": ratio(slow.seconds, fast.seconds),
            "our memory": megabytes(fast.peak_mb),
            "RecBole's": megabytes(slow.peak_mb),
            "same": f"six metrics to {worst:.0e}, recall@20 {fast.result['recall@20']:.4f}",
        }


@contextmanager
def _elsewhere() -> Iterator[Path]:
    """A temporary working folder; RecBole writes logs and checkpoints where it is started."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def main() -> None:
    """Runs both comparisons and prints their tables."""
    command = parser(__doc__)
    command.add_argument("--epochs", type=int, default=5, help="timed epochs of each side")
    command.add_argument("--dims", default="8,128", help="embedding sizes")
    command.add_argument("--only", choices=["train", "evaluate"], help="one of the two comparisons")
    given = command.parse_args()
    data_path, dims = Path(given.data_path).resolve(), [int(dim) for dim in given.dims.split(",")]
    sys.argv = sys.argv[:1]  # RecBole's Config reads the command line by itself
    keep_freed_memory()  # for both sides, as the program does
    torch.manual_seed(SEED)
    with _elsewhere() as folder:
        write_block(data_path, folder)
        if given.only != "evaluate":
            rows = [train(folder, dim, given.epochs) for dim in dims]
            print_table("Training on block 0 of yelp-ccd", rows)
        if given.only != "train":
            rows = [row for dim in dims for row in evaluate(folder, dim, 3)]
            print_table("Full-sort evaluation on block 0's test part", rows)


if __name__ == "__main__":
    main()
