"""How fast a run's student and teacher recommend, how large they are, and whether that is what was measured.

``python benchmarks/serving.py RUN_DIR`` times recommendations for all users that the run knows, everything
they have done left out. With the run's data at hand (``--data_path=DIR`` if they have been moved) it also
compares what is served with RecBole's own full-sort evaluation of the same checkpoint, RecBole's scores and
RecBole's choice of the highest, for every user of every block: the same items in the same order.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any

import common  # noqa: F401 - before torch, which reads at its import how threads are to wait
import numpy as np
import torch
import yaml
from common import best_of, print_table
from recbole.evaluator import Collector
from recbole.trainer import Trainer

from recbole_ccd import CCDConfig, create_stream, load_student
from recbole_ccd.experiment.run import load_manifest
from recbole_ccd.experiment.update import stored_stream
from recbole_ccd.registry import registered
from recbole_ccd.serving import Recommender
from recbole_ccd.utils.atomic_files import load_tensors
from recbole_ccd.utils.errors import CCDError, RunError


def models_of(folder: Path) -> dict[str, Recommender]:
    """What can be served of a run, by role."""
    served = {"student": load_student(folder)}
    try:
        served["teacher"] = load_student(folder, "teacher")
    except RunError as error:
        print(error)
    return served


def row(folder: Path, served: Recommender, sizes: dict[str, Any], k: int) -> dict[str, Any]:
    """Size and speed of a model."""
    users = served.user_tokens[1:].tolist()
    role = served.about.role
    _, loading = best_of(lambda: load_student(folder, role))
    _, all_users = best_of(lambda: served.recommend(users, k))
    start = process_time()
    served.recommend(users, k)
    cpu = process_time() - start
    _, one_user = best_of(lambda: served.recommend(users[:1], k), 20)
    return {
        "": f"{role} {served.about.model}",
        "parameters": f"{sizes[role]['parameters']:,}",
        "bytes": f"{sizes[role]['bytes']:,}",
        "loading": f"{loading:.2f} s",
        "users/s": f"{len(users) / all_users:,.0f}",
        "users/CPU s": f"{len(users) / cpu:,.0f}",
        "one user": f"{1000 * one_user:.1f} ms",
    }


def recbole_lists(config: CCDConfig, model: Any, loader: Any, n_items: int) -> np.ndarray:
    """Item ids of a loader's users, shape ``(users, k)``: RecBole's Trainer scores, its Collector chooses."""
    of_items = copy.deepcopy(config)
    of_items["metrics"] = ["ItemCoverage"]
    collector = Collector(of_items)
    trainer = SimpleNamespace(model=model, device="cpu", tot_item_num=n_items)
    with torch.no_grad():
        for batch in loader:
            interaction, scores, *positives = Trainer._full_sort_batch_eval(trainer, batch)
            collector.eval_batch_collect(scores, interaction, *positives)
    return collector.get_data_struct()["rec.items"].numpy()


def compare(folder: Path, served: Recommender, data_path: str | None) -> str:
    """Counts the users of each block whose list is RecBole's, items and order."""
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    moved = {} if data_path is None else {"data_path": data_path}
    config = CCDConfig.from_dict({**settings, **moved, "use_gpu": False})
    manifest, strategy = load_manifest(folder), registered("strategy")[config["strategy"]](config)
    # blocks that have arrived since are in the run directory alone
    stream = stored_stream(folder, manifest, config) if manifest.is_updated else create_stream(config)
    now = stream[served.block]
    files = (folder / "checkpoints" / f"block-{served.block}").glob("*.pt")
    strategy.restore(now, {file.stem: load_tensors(file) for file in files})
    model, k = getattr(strategy, served.about.role).eval(), max(config["topk"])
    equal = total = 0
    for block in range(served.block + 1):
        loader = stream[block].measured_loader(config, known_at=now)
        users = served.user_tokens[loader.uid_list.numpy()].tolist()
        table = served.recommend(users, k, exclude_seen="evaluation", block=block)
        lists = table["item"].to_numpy().reshape(len(users), k)
        evaluated = served.item_tokens[recbole_lists(config, model, loader, now.n_items)]
        same = (evaluated == lists).all(axis=1)
        equal, total = equal + int(same.sum()), total + len(users)
    blocks = f"over {served.block + 1} blocks, lists of {k}"
    return f"{served.about.role}: {equal} of {total} users equal to RecBole's full-sort evaluation ({blocks})"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--data_path", default=None, help="the folder that holds the data set's")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    served = models_of(given.run_dir)
    sizes = yaml.safe_load((given.run_dir / "result.json").read_text(encoding="utf-8"))["sizes"]
    rows = [row(given.run_dir, model, sizes, given.k) for model in served.values()]
    print_table(f"{given.run_dir}: the {given.k} best items for each of all users", rows)
    for model in served.values():
        try:
            print(compare(given.run_dir, model, given.data_path), flush=True)
        except CCDError as error:
            print(f"{model.about.role} not compared: {error}")


if __name__ == "__main__":
    main()
