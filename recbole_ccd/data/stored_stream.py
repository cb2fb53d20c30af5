"""The stream that a run directory keeps: what arrived in every block, without the files it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.given_pairs import Given, pair_codes
from recbole_ccd.data.interactions import Interactions
from recbole_ccd.data.stream import BlockStream

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


class StoredDataset(IncrementalDataset):
    """Interactions as the data set they came from, without times and features."""

    def __init__(
        self, config: CCDConfig, interactions: Interactions, vocabulary: Mapping[str, Sequence[str]]
    ) -> None:
        """Takes the rows as they are; no file is read.

        Args:
            config: the run's configuration.
            interactions: those of the blocks.
            vocabulary: tokens of ``users`` and ``items`` by id.
        """
        self._stored, self._vocabulary = interactions, vocabulary
        super().__init__(config)

    @staticmethod
    def _check_files(config: CCDConfig) -> None:
        """Checks nothing, as stored interactions are read from no atomic files."""

    def _from_scratch(self) -> None:
        # RecBole's constructor loads, filters and numbers the rows in this method; all that has been done
        self._get_preset()
        # some models look for files of theirs beside the data; settings may have come from anywhere, so the
        # folder that they name is not read
        self.dataset_path = os.devnull
        self._get_field_from_config()
        stored, fields = self._stored, (self.uid_field, self.iid_field)
        self.field2type = dict.fromkeys(fields, FeatureType.TOKEN)
        self.field2seqlen = dict.fromkeys(fields, 1)
        self.field2source = dict(zip(fields, (FeatureSource.USER_ID, FeatureSource.ITEM_ID), strict=True))
        tokens = (np.array(self._vocabulary[name], dtype=object) for name in ("users", "items"))
        self.field2id_token = dict(zip(fields, tokens, strict=True))
        ids = (part.numpy().astype(np.int64) for part in (stored.users, stored.items))
        self.inter_feat = pd.DataFrame(dict(zip(fields, ids, strict=True)))
        self.user_feat = self.item_feat = None
        self.feat_name_list = ["inter_feat"]
        self.block_of_row, self.part_of_row = stored.blocks_of_rows(), stored.parts.numpy()
        self.arrival_of_row, self.n_blocks = stored.arrivals_of_rows(), stored.n_blocks

    def given_in(self, block: int) -> Given:
        """The pairs of a block that were stored, which are all that is known here."""
        rows, fields = self.block_of_row == block, (self.uid_field, self.iid_field)
        tokens = (self.field2id_token[field][self.inter_feat[field].numpy()[rows]] for field in fields)
        return Given.of(pair_codes(*tokens))


class StoredStream(BlockStream):
    """The blocks of stored interactions; see :class:`BlockStream`."""

    def __init__(
        self,
        config: CCDConfig,
        interactions: Interactions,
        vocabulary: Mapping[str, Sequence[str]],
        fingerprint: Mapping[str, Any] | None = None,
    ) -> None:
        """Cuts the interactions into their blocks.

        Args:
            config: the run's configuration.
            interactions: those of the blocks.
            vocabulary: tokens of ``users`` and ``items`` by id.
            fingerprint: what tells the data apart that the run was begun with.
        """
        super().__init__(config, StoredDataset(config, interactions, vocabulary))
        self.fingerprint = dict(fingerprint or {})
