"""What sorting all items costs an ensemble: by value and column in one integer, and by radix."""

from __future__ import annotations

import argparse
from statistics import median
from time import thread_time

import numpy as np
import torch
from common import print_table, ratio

from recbole_ccd.ranking.descending import sort_by_radix, sort_packed, sorts_by_vectors

SORTS = {"radix": sort_by_radix, "packed": sort_packed}
ROWS, ROWS_AT_A_TIME = 64, 8


def main() -> None:
    """Prints nanoseconds of processor time per score, by turns in one thread."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--items", type=int, nargs="+", default=[1500, 10_000, 40_000, 100_000])
    arguments.add_argument("--repeats", type=int, default=7)
    options = arguments.parse_args()
    rows = []
    for n_items in options.items:
        scores = np.random.default_rng(0).standard_normal((ROWS, n_items), dtype=np.float32)
        cost = _cost(scores, options.repeats)
        rows.append(
            {
                "items": f"{n_items:,}",
                **{f"{name}, ns a score": f"{cost[name]:.1f}" for name in SORTS},
                "radix / packed": ratio(cost["radix"], cost["packed"]),
            }
        )
    chosen = "packed" if sorts_by_vectors() else "radix"
    capability = torch.backends.cpu.get_cpu_capability()
    print_table(f"numpy {np.__version__}, {capability}: the package takes {chosen} here", rows)


def _cost(scores: np.ndarray, repeats: int) -> dict[str, float]:
    """Nanoseconds a score; ends the program if the two disagree."""
    orders = {name: np.empty(scores.shape, np.int64) for name in SORTS}
    spent: dict[str, list[float]] = {name: [] for name in SORTS}
    for _ in range(repeats):
        for name, sort in SORTS.items():
            start = thread_time()
            for row in range(0, len(scores), ROWS_AT_A_TIME):
                tile = slice(row, row + ROWS_AT_A_TIME)
                sort(scores[tile], orders[name][tile])
            spent[name].append(thread_time() - start)
    if not np.array_equal(orders["radix"], orders["packed"]):
        raise SystemExit("the two sorts give different orders")
    return {name: median(times) / scores.size * 1e9 for name, times in spent.items()}


if __name__ == "__main__":
    main()
