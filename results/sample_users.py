"""Makes a small stream of a large one that is cut into blocks: some of its users, with all that they did.

``python results/sample_users.py SOURCE SHARE LEAST TARGET`` draws a ``SHARE`` of the users of the atomic
files in the folder ``SOURCE``, always the same ones, leaves items with fewer than ``LEAST`` interactions of
theirs out, and writes files of the same blocks and parts into the folder ``TARGET``, under its name. Defaults
can be tried there in minutes on data of another kind than the small streams are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

USER, ITEM = "user_id:token", "item_id:token"
PARTS = ("train", "valid", "test")
_SEED = 1


def sample(source: Path, share: float, least: int, target: Path) -> pd.DataFrame:
    """Writes the smaller stream.

    Args:
        source: the folder of the stream, with files ``NAME.BLOCK.train.inter`` and so on.
        share: of the users, between 0 and 1.
        least: interactions that an item has with these users in all blocks, at least.
        target: the folder to write to.

    Returns:
        What was written, all blocks and parts below one another.

    Raises:
        FileNotFoundError: If the folder holds no such file.
    """
    blocks = sorted(file.name.split(".")[-3] for file in source.glob(f"{source.name}.*.train.inter"))
    if not blocks:
        raise FileNotFoundError(f"{source} holds no file {source.name}.*.train.inter")
    names = [f"{block}.{part}.inter" for block in blocks for part in PARTS]
    parts = {name: pd.read_csv(source / f"{source.name}.{name}", sep="\t", dtype=str) for name in names}
    whole = pd.concat(parts.values())
    known = whole[USER].unique()
    users = np.random.default_rng(_SEED).choice(known, int(share * len(known)), replace=False)
    whole = whole[whole[USER].isin(users)]
    counts = whole[ITEM].value_counts()
    items = counts.index[counts >= least]
    target.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        kept = part[part[USER].isin(users) & part[ITEM].isin(items)]
        kept.to_csv(target / f"{target.name}.{name}", sep="\t", index=False)
    return whole[whole[ITEM].isin(items)]


def main(arguments: list[str]) -> None:
    """Writes it, and says how large it is.

    Args:
        arguments: those of the command line.
    """
    source, share, least, target = arguments
    made = sample(Path(source), float(share), int(least), Path(target))
    print(f"{target}: {len(made)} interactions, {made[USER].nunique()} users, {made[ITEM].nunique()} items")


if __name__ == "__main__":
    main(sys.argv[1:])
