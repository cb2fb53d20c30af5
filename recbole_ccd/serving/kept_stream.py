"""The stream that a run directory keeps, for models that cannot be built without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_ccd.data.block import Block
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.state.record import Record

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class KeptDataset(IncrementalDataset):
    """The interactions of a record as the data set they came from, without times and features."""

    def __init__(self, config: CCDConfig, record: Record, vocabulary: Mapping[str, Sequence[str]]) -> None:
        """Takes the rows as they are; no file is read.

        Args:
            config: the run's configuration.
            record: its interactions.
            vocabulary: tokens of ``users`` and ``items`` by id.
        """
        self._record, self._vocabulary = record, vocabulary
        super().__init__(config)

    @staticmethod
    def _check_files(config: CCDConfig) -> None:
        """There are none."""

    def _from_scratch(self) -> None:
        # RecBole's constructor loads, filters and numbers the rows in this method; all that has been done
        self._get_preset()
        self._get_field_from_config()
        record, fields = self._record, (self.uid_field, self.iid_field)
        self.field2type = dict.fromkeys(fields, FeatureType.TOKEN)
        tokens = (np.array(self._vocabulary[name], dtype=object) for name in ("users", "items"))
        self.field2id_token = dict(zip(fields, tokens, strict=True))
        ids = (part.numpy().astype(np.int64) for part in (record.users, record.items))
        self.inter_feat = pd.DataFrame(dict(zip(fields, ids, strict=True)))
        self.user_feat = self.item_feat = None
        self.feat_name_list = ["inter_feat"]
        self.block_of_row, self.part_of_row = record.blocks_of_rows(), record.parts.numpy()
        self.n_blocks = record.block + 1


def kept_block(config: CCDConfig, record: Record, vocabulary: Mapping[str, Sequence[str]]) -> Block:
    """The last block of a record, with all that came before it; arguments as of :class:`KeptDataset`."""
    return BlockStream(config, KeptDataset(config, record, vocabulary))[record.block]
