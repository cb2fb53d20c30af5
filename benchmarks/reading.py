"""How much faster than RecBole's reader are atomic files read, from text and from a fresh cache?

``python benchmarks/reading.py`` writes a synthetic ``.inter`` of a million rows and reads it in turns, in
one process and one thread: by RecBole's own reader, by ours, and from the cache that ``data_cache`` keeps,
the digest of the file included. It ends with an error where the three do not hold the same. ``--whole`` times
what comes after the reading too, filters, ids and tensors; ours cuts and splits the blocks in that time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import best_of, print_table, ratio, seconds
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource
from synthetic import StreamSize, write

from recbole_ccd import CCDConfig, DataError, IncrementalDataset


def _config(folder: str, cache: str | None) -> CCDConfig:
    settings: dict[str, Any] = {"data_path": folder, "use_gpu": False, "data_cache": cache}
    return CCDConfig("BPR", "synthetic", config_dict={**settings, "load_col": {"inter": [*_COLUMNS]}})


_COLUMNS = ("user_id", "item_id", "timestamp")


class _Reader:
    """Reads one file, and nothing else, by the reader of a class of data sets."""

    def __init__(self, kind: type[Dataset], config: CCDConfig, path: Path) -> None:
        self._dataset, self._path = kind.__new__(kind), str(path)
        self._dataset.config = config
        self._dataset.logger = _Silent()
        self._dataset._get_preset()
        self._dataset._get_field_from_config()

    def __call__(self) -> Any:
        return self._dataset._load_feat(self._path, FeatureSource.INTERACTION)


class _Silent:
    """Stands for a logger."""

    def debug(self, *_: object) -> None:
        """Drops a message."""


def compare(ways: dict[str, Callable[[], Any]], repeats: int) -> list[dict[str, str]]:
    """Times calls in turns, the first being what the others are measured by.

    Args:
        ways: the calls by what they are called.
        repeats: how many turns.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, call in ways.items():
            taken[name].append(best_of(call, 1)[1])
    middle = {name: sorted(values)[len(values) // 2] for name, values in taken.items()}
    first = next(iter(middle.values()))
    return [
        {"way": name, "median": seconds(value), "ratio": ratio(first, value)}
        for name, value in middle.items()
    ]


def main() -> None:
    """Writes the file, reads it, and prints the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="time whole data sets too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        size = StreamSize(given.rows // 20, max(given.rows // 50, 100), given.rows)
        path, cache = write(folder, "synthetic", size), str(Path(folder, "cache"))
        plain, cached = _config(folder, None), _config(folder, cache)
        theirs, ours, fresh = (
            _Reader(kind, config, path)
            for kind, config in (
                (Dataset, plain),
                (IncrementalDataset, plain),
                (IncrementalDataset, cached),
            )
        )
        fresh()
        if not (theirs().equals(ours()) and ours().equals(fresh())):
            raise SystemExit("the readers do not read the same")
        print(f"{given.rows} rows, {path.stat().st_size / 1e6:.0f} MB, {torch.get_num_threads()} thread")
        ways = {"RecBole's reader": theirs, "ours": ours, "ours, fresh cache": fresh}
        print_table("Reading", compare(ways, given.repeats))
        if given.whole:
            # they take the settings apart, so that each has its own
            whole = {
                "RecBole's data set": lambda: _formatted(Dataset(_config(folder, None))),
                "ours": lambda: IncrementalDataset(_config(folder, None)),
                "ours, fresh cache": lambda: IncrementalDataset(_config(folder, cache)),
            }
            print_table("Whole data set", compare(whole, 1))


def _formatted(dataset: Dataset) -> None:
    dataset._change_feat_format()


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        raise SystemExit(str(error)) from error
