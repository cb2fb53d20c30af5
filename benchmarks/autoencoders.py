"""An epoch of an auto-encoder member, by sparse rows and by RecBole's dense ones, beside a BPR member's."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from statistics import median
from typing import Any

import torch
from common import Timer, megabytes, peak_memory, print_table, ratio, seconds
from recbole.model import general_recommender
from synthetic import StreamSize, write
from torch.optim import Adam

from recbole_ccd import CCDConfig, create_stream
from recbole_ccd.data.block import Block
from recbole_ccd.model.history import use_history

MODELS = ("MultiVAE", "MultiDAE")
WAYS = ("dense", "sparse")


def main() -> None:
    """Prints a table for each number of items, or for the base block of a data set."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=6000)
    arguments.add_argument("--items", type=int, nargs="+", default=[10_000])
    arguments.add_argument("--interactions", type=int, default=300_000)
    arguments.add_argument("--data_path", help="with --dataset, in the place of a synthetic block")
    arguments.add_argument("--dataset")
    arguments.add_argument("--width", type=int, default=64)
    arguments.add_argument("--hidden", type=int, default=0, help="of a layer between; 0 for none")
    arguments.add_argument("--batch_size", type=int, default=256, help="users in a batch of an auto-encoder")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    if options.dataset:
        _print(options, options.dataset, {"data_path": options.data_path} if options.data_path else {})
        return
    for items in options.items:
        with tempfile.TemporaryDirectory() as folder:
            write(folder, "synthetic", StreamSize(options.users, items, options.interactions))
            _print(options, "synthetic", {"data_path": folder, "block_ratios": [1.0]})


def _print(options: Any, dataset: str, keys: dict[str, Any]) -> None:
    common: dict[str, Any] = {"gpu_id": "", "show_progress": False, "strategy": "fine_tune", **keys}
    # the cheapest BPR: a dynamic negative is the best of several
    common |= {"train_neg_sample_args": {"dynamic": False, "candidate_num": 0}}
    rows = list(_rows(options, dataset, common))
    block = create_stream(CCDConfig("BPR", dataset, config_dict=common))[0]
    size = f"{block.n_users - 1:,} users, {block.n_items - 1:,} items, {len(block.train):,} interactions"
    print_table(f"An epoch on {dataset} ({size}), width {options.width}, hidden {options.hidden}", rows)


def _rows(options: Any, dataset: str, common: dict[str, Any]) -> Iterator[dict[str, Any]]:
    settings = {"embedding_size": options.width, "train_batch_size": 2048}
    config, block = _built(dataset, "BPR", {**common, **settings})
    epoch = _Epoch(config.model_class, config, block)
    epoch()
    first = median(_timed(epoch) for _ in range(options.repeats))
    yield {"model": "BPR", "sparse": seconds(first), "peak, sparse": megabytes(peak_memory(epoch))}
    for name in MODELS:
        # half of MultiVAE's latent vector is its mean
        latent = 2 * options.width if name == "MultiVAE" else options.width
        keys = {"mlp_hidden_size": [options.hidden] if options.hidden else [], "latent_dimension": latent}
        config, block = _built(dataset, name, {**common, **keys, "train_batch_size": options.batch_size})
        ours = type("Sparse", (config.model_class,), {"is_wide": True})
        classes = {"dense": getattr(general_recommender, name), "sparse": ours}
        epochs = {way: _Epoch(classes[way], config, block) for way in WAYS}
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for repeat in range(options.repeats + 1):
            for way, epoch in epochs.items():
                taken = _timed(epoch)
                if repeat:
                    times[way].append(taken)
        middle = {way: median(times[way]) for way in WAYS}
        yield {
            "model": name,
            **{way: seconds(middle[way]) for way in WAYS},
            "dense / sparse": ratio(middle["dense"], middle["sparse"]),
            "sparse / BPR": ratio(middle["sparse"], first),
            **{f"peak, {way}": megabytes(peak_memory(epochs[way])) for way in WAYS},
        }


def _built(dataset: str, model: str, keys: dict[str, Any]) -> tuple[CCDConfig, Block]:
    config = CCDConfig(model, dataset, config_dict=keys).for_stage("base")
    return config, create_stream(config)[0]


def _timed(epoch: _Epoch) -> float:
    with Timer() as timer:
        epoch()
    return timer.seconds


class _Epoch:
    """An epoch of a model's own loss."""

    def __init__(self, model_class: Any, config: CCDConfig, block: Block) -> None:
        torch.manual_seed(1)
        self.model = model_class(config, block.train).train()
        self.loader = block.train_loader(config, 1)
        if config["model"] in MODELS:
            use_history(self.model, block.train_matrix)
        self.optimizer = Adam(self.model.parameters(), fused=True)

    def __call__(self) -> None:
        for batch in self.loader:
            self.optimizer.zero_grad()
            self.model.calculate_loss(batch).backward()
            self.optimizer.step()


if __name__ == "__main__":
    main()
