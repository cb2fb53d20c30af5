"""A stream: the blocks of an incremental data set, in order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recbole_ccd.data.block import Block
from recbole_ccd.data.block_index import BlockIndex
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.fingerprint import fingerprint_of
from recbole_ccd.data.interactions import ROWS
from recbole_ccd.data.splitting import PARTS, TEST, TRAIN, VALID
from recbole_ccd.utils.errors import DataError

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
            DataError: If a block has no train row or none to measure on, or too few items to rank.
        """
        self.config, self.dataset = config, dataset
        self._rows = BlockIndex(dataset)
        self._check_parts()
        self._blocks: list[Block] = []
        known, previous = (1, 1), None
        for k, parts in enumerate(self._rows.parts):
            old, known = known, self._rows.known_with(np.concatenate(list(parts.values())), known)
            previous = Block(self._rows, k, parts, known, old, previous)
            self._blocks.append(previous)
        self._check_catalogue()

    def _check_parts(self) -> None:
        measured = VALID if self.config["eval_part"] == "valid" else TEST
        for k, rows in enumerate(self._rows.parts):
            for part in (TRAIN, measured):
                if not len(rows[part]):
                    start = f"{self.dataset.dataset_name}: block {k} has no {PARTS[part]} interactions"
                    raise DataError(
                        f"{start}; make it larger (block_ratios, block_boundaries or the block's files) or "
                        "its share (eval_args)"
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
        """The block of an index; negative ones count from the end."""
        return self._blocks[index]

    def __iter__(self) -> Iterator[Block]:
        """All blocks in order."""
        return iter(self._blocks)

    def rows_of(self, block: Block) -> dict[str, torch.Tensor]:
        """The interactions of a block in order of arrival, as :class:`Interactions` stores them."""
        dataset = self.dataset
        start, end = np.searchsorted(dataset.block_of_row, (block.index, block.index + 1))
        rows = {
            "users": dataset.inter_feat[dataset.uid_field],
            "items": dataset.inter_feat[dataset.iid_field],
            "parts": torch.from_numpy(dataset.part_of_row),
        }
        return {name: rows[name][start:end].to(kind) for name, kind in ROWS.items()}

    def given_in(self, block: Block) -> dict[str, torch.Tensor]:
        """What the files of a block held, as :class:`~recbole_ccd.data.given_pairs.Given` is saved."""
        return self.dataset.given_in(block.index).tensors

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells the data apart, see :func:`~recbole_ccd.data.fingerprint.fingerprint_of`."""
        return fingerprint_of(self.dataset, self)

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
