"""A stream: the blocks of an incremental data set, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from recbole_ccd.data.block import Block
from recbole_ccd.data.cut import TEST, TRAIN
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.errors import DataError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class BlockStream:
    """The blocks of an incremental data set, in order.

    Indexing gives a :class:`Block`, iterating gives all of them; ``len`` counts them, the base block
    included.
    """

    def __init__(self, config: CCDConfig, dataset: IncrementalDataset) -> None:
        """Finds the rows and the known prefix of every block.

        Args:
            config: the run's configuration.
            dataset: the whole stream.

        Raises:
            DataError: a block has no train or no test row, or too few items to rank.
        """
        self.config, self.dataset = config, dataset
        self._users = dataset.inter_feat[dataset.uid_field].numpy()
        self._items = dataset.inter_feat[dataset.iid_field].numpy()
        self._rows = [
            {
                part: np.flatnonzero((dataset.block_of_row == k) & (dataset.part_of_row == part))
                for part in (0, 1, 2)
            }
            for k in range(dataset.n_blocks)
        ]
        self._check_parts()
        known = [(1, 1)]
        for rows in self._rows:
            known.append(self.known_with(np.concatenate(list(rows.values())), known[-1]))
        self._blocks = [Block(self, k, rows, known[k + 1], known[k]) for k, rows in enumerate(self._rows)]
        self._check_catalogue()

    def _check_parts(self) -> None:
        for k, rows in enumerate(self._rows):
            for part, name in ((TRAIN, "train"), (TEST, "test")):
                if not len(rows[part]):
                    raise DataError(
                        f"{self.dataset.dataset_name}: block {k} has no {name} interactions; make it larger "
                        "(block_ratios, block_boundaries or the block's files)"
                    )

    def _check_catalogue(self) -> None:
        items, k = self[0].n_items - 1, max(self.config["topk"])
        if k > items:
            raise DataError(
                f"topk: {k} is more than the {items} items known in block 0; lower topk (and valid_metric)"
            )

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self._blocks)

    def __getitem__(self, index: int) -> Block:
        """One block."""
        return self._blocks[index]

    def __iter__(self) -> Iterator[Block]:
        """All blocks in order."""
        return iter(self._blocks)

    def vocabulary(self, block: Block) -> dict[str, list[str]]:
        """Tokens of the ids known at a block, in order of id, the first being [PAD]."""
        fields = {
            "users": (self.dataset.uid_field, block.n_users),
            "items": (self.dataset.iid_field, block.n_items),
        }
        return {
            name: [str(token) for token in self.dataset.field2id_token[field][:known]]
            for name, (field, known) in fields.items()
        }

    def known_with(self, rows: np.ndarray, before: tuple[int, int]) -> tuple[int, int]:
        """Users and items known ([PAD] included) once ``rows`` have arrived after ``before``."""
        users, items = (int(ids[rows].max(initial=0)) + 1 for ids in (self._users, self._items))
        return max(users, before[0]), max(items, before[1])

    def only_known(self, rows: np.ndarray, known: tuple[int, int]) -> np.ndarray:
        """The rows whose user and item are both known."""
        return rows[(self._users[rows] < known[0]) & (self._items[rows] < known[1])]

    def rows_before(self, index: int, parts: tuple[int, ...], skip: int | None = None) -> list[np.ndarray]:
        """Rows of some parts of the blocks before ``index``, leaving block ``skip`` out."""
        return [self._rows[k][part] for k in range(index) if k != skip for part in parts]
