"""RecBole loaders for blocks: active users, full-sort evaluation, replayed pairs."""

from __future__ import annotations

from logging import getLogger
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, UserDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.dataset import IncrementalDataset

REPLAY_LABEL = "replay_label"


def csr_rows(matrix: csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nonzeros of some rows of a sparse matrix.

    Args:
        matrix: the matrix; rows beyond its end count as empty.
        rows: row ids, shape ``(b,)``.

    Returns:
        Position in ``rows`` and column of each nonzero, shapes ``(p,)``.
    """
    inside = rows < matrix.shape[0]
    rows = np.where(inside, rows, 0)
    start = matrix.indptr[rows].astype(np.int64)
    length = np.where(inside, matrix.indptr[rows + 1] - start, 0)
    owner = np.repeat(np.arange(len(rows)), length)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(length) - length, length)
    return owner, matrix.indices[start[owner] + offset].astype(np.int64)


class ActiveUserDataLoader(UserDataLoader):
    """RecBole's ``UserDataLoader`` over the users who interact in the block, not over every id."""

    def __init__(
        self, config: CCDConfig, dataset: IncrementalDataset, users: torch.Tensor | None = None
    ) -> None:
        """Lists the users.

        Args:
            config: the stage's configuration.
            dataset: the block's train part.
            users: the users to visit; default those of ``dataset``.
        """
        self._active = torch.unique(dataset.inter_feat[dataset.uid_field]) if users is None else users
        super().__init__(config, dataset, None, shuffle=True)

    def _init_batch_size_and_step(self) -> None:
        # RecBole calls this hook after listing all users and before torch's loader is built
        self.user_list = Interaction({self.uid_field: self._active})
        self.sample_size = len(self._active)
        super()._init_batch_size_and_step()


class BlockEvalDataLoader(FullSortEvalDataLoader):
    """Full-sort evaluation of one part of a block with the items known at some later moment.

    Yields what RecBole's loader yields, ``(users, (history_row, history_item), positive_row,
    positive_item)``. History items are masked even where they are positives: a repeated item has
    been seen and is not a recommendation.
    """

    def __init__(self, config: CCDConfig, dataset: IncrementalDataset, history: csr_matrix) -> None:
        """Collects the users of ``dataset`` and their positives.

        Args:
            config: the run's configuration; ``eval_batch_size`` counts scores.
            dataset: the rows to recommend, as a view that knows the items to rank.
            history: users × items to mask, of any prefix.
        """
        # RecBole's constructor walks over all interactions in Python and keeps a set per user
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.is_sequential = False
        self._history = history
        self._positives = dataset.inter_matrix(form="csr")
        self.uid_list = torch.unique(dataset.inter_feat[self.uid_field])
        self.user_df = dataset.join(Interaction({self.uid_field: self.uid_list}))
        self.sample_size = len(self.uid_list)
        AbstractDataLoader.__init__(self, config, dataset, None, shuffle=False)

    def collate_fn(
        self, index: list[int]
    ) -> tuple[Interaction, tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
        """One batch of users with their history and positives."""
        picked = np.asarray(index)
        users = self.uid_list[picked].numpy()
        history = tuple(torch.from_numpy(part) for part in csr_rows(self._history, users))
        positives = tuple(torch.from_numpy(part) for part in csr_rows(self._positives, users))
        return self.user_df[picked], history, *positives


class ReplayDataLoader(AbstractDataLoader):
    """Batches of replayed (user, item, soft label) triples, shuffled."""

    def __init__(
        self,
        config: CCDConfig,
        dataset: IncrementalDataset,
        pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        seed: int,
    ) -> None:
        """Wraps drawn pairs.

        Args:
            config: the stage's configuration; ``train_batch_size`` pairs make a batch.
            dataset: any view of the stream, for its field names.
            pairs: users, items and labels, each of shape ``(p,)``.
            seed: seed of the shuffling.
        """
        users, items, labels = pairs
        fields = {dataset.uid_field: users, dataset.iid_field: items, REPLAY_LABEL: labels}
        self._triples = Interaction(fields)
        self.sample_size = len(users)
        super().__init__(config, dataset, None, shuffle=self.sample_size > 0)
        self.generator.manual_seed(seed)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["train_batch_size"]
        self.set_batch_size(self.step)

    def collate_fn(self, index: list[int]) -> Interaction:
        """One batch of triples."""
        return self._triples[np.asarray(index)]
