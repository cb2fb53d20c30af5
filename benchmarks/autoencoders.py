"""An epoch of an auto-encoder member, by sparse rows and by RecBole's dense ones, beside a BPR member's."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from typing import Any

from common import best_of, megabytes, peak_memory, print_table, ratio, seconds
from recbole.model import general_recommender
from synthetic import StreamSize, write
from torch.optim import Adam

from recbole_ccd import CCDConfig, create_stream
from recbole_ccd.model.history import use_history

MODELS = ("MultiVAE", "MultiDAE")


def main() -> None:
    """Prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=6000)
    arguments.add_argument("--items", type=int, default=10_000)
    arguments.add_argument("--interactions", type=int, default=300_000)
    arguments.add_argument("--width", type=int, default=64)
    arguments.add_argument("--hidden", type=int, default=0, help="of a layer between; 0 for none")
    arguments.add_argument("--repeats", type=int, default=2)
    options = arguments.parse_args()
    size = StreamSize(options.users, options.items, options.interactions)
    with tempfile.TemporaryDirectory() as folder:
        write(folder, "synthetic", size)
        print_table(f"An epoch, width {options.width}", list(_rows(folder, options)))


def _rows(folder: str, options: Any) -> Iterator[dict[str, Any]]:
    common: dict[str, Any] = {
        "data_path": folder,
        "block_ratios": [1.0],
        "gpu_id": "",
        "show_progress": False,
    }
    # the cheapest BPR: a dynamic negative is the best of several
    common |= {"train_neg_sample_args": {"dynamic": False, "candidate_num": 0}}
    settings = {
        "BPR": {"embedding_size": options.width, "train_batch_size": 2048},
        **dict.fromkeys(
            MODELS,
            {"mlp_hidden_size": [], "latent_dimension": 2 * options.width, "train_batch_size": 256},
        ),
    }
    # half of MultiVAE's latent vector is its mean
    settings["MultiDAE"] = {**settings["MultiDAE"], "latent_dimension": options.width}
    for name in MODELS if options.hidden else ():
        settings[name] = {**settings[name], "mlp_hidden_size": [options.hidden]}
    first = None
    for name, keys in settings.items():
        config = CCDConfig(name, "synthetic", config_dict={**common, **keys, "strategy": "fine_tune"})
        config = config.for_stage("base")
        block = create_stream(config)[0]
        classes = {"ours": config.model_class, "RecBole's": getattr(general_recommender, name)}
        for whose, model_class in list(classes.items())[: 2 if name in MODELS else 1]:
            model = model_class(config, block.train)
            if name in MODELS:
                use_history(model, block.train_matrix)
            epoch = _Epoch(model.train(), block.train_loader(config, 1))
            _, best = best_of(epoch, options.repeats)
            first = first or best
            yield {
                "model": f"{name}, {whose}",
                "seconds": seconds(best),
                "of BPR's": ratio(best, first),
                "peak above": megabytes(peak_memory(epoch)),
            }


class _Epoch:
    """An epoch of a model's own loss."""

    def __init__(self, model: Any, loader: Any) -> None:
        self.model, self.loader = model, loader
        self.optimizer = Adam(model.parameters(), fused=True)

    def __call__(self) -> None:
        for batch in self.loader:
            self.optimizer.zero_grad()
            self.model.calculate_loss(batch).backward()
            self.optimizer.step()


if __name__ == "__main__":
    main()
