"""Each hot path against the dense way of doing it: same inputs, same results, one process.

``python benchmarks/hot_paths.py --data_path=DIR`` runs them all, in some minutes;
``--only=distill,rank`` some of them, ``--quick`` with one repetition each.
Each path is checked against its reference in ``references.py``, and the program ends where they disagree.
Where an epoch of a reference takes minutes, a few of its batches are timed and scaled up; the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import machine
from common import parser, print_table
from comparison import Comparison
from hot_ranking import evaluation, negatives, rank_and_draw, similarity, teacher_lists
from hot_training import distillation, teacher_update
from package_side import Scene

from recbole_ccd.utils.malloc import keep_freed_memory

PATHS: dict[str, Callable[[Scene, machine.Limits, bool], Iterable[Comparison]]] = {
    "distill": distillation,
    "rank": rank_and_draw,
    "teacher": teacher_update,
    "lists": teacher_lists,
    "similarity": similarity,
    "negatives": negatives,
    "evaluation": evaluation,
}


def main() -> None:
    """Runs what the command line asks for and prints the table."""
    command = parser(__doc__)
    command.add_argument("--only", default=",".join(PATHS), help="some of: " + ", ".join(PATHS))
    command.add_argument("--quick", action="store_true", help="one repetition, fewer batches of references")
    given = command.parse_args()
    unknown = set(chosen := given.only.split(",")) - PATHS.keys()
    if unknown:
        command.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(PATHS)}")
    keep_freed_memory()  # for both sides, as the program does
    found = machine.limits()
    machine.print_limits(found)
    scene = Scene(given.data_path)
    rows = []
    for name in chosen:
        for comparison in PATHS[name](scene, found, given.quick):
            print(f"{comparison.path}: {comparison.checked}", flush=True)
            rows.append(comparison.cells())
    print_table("Hot paths on yelp-ccd, ours against the dense reference", rows)
    print(
        "Memory: growth of the process's resident memory during the call. Of limit: the share of our time\n"
        "that the matrix products, exponentials and memory traffic which no implementation can avoid would\n"
        "take at this machine's rates."
    )


if __name__ == "__main__":
    main()
