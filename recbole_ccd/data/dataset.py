"""The whole stream as one RecBole data set, with ids in order of arrival."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_ccd.compat import TodaysDataset
from recbole_ccd.config import given_config
from recbole_ccd.data.atomic import (
    check_ids,
    check_label,
    check_rows,
    named,
    read_columns,
    read_header,
    sequences,
    shown,
)
from recbole_ccd.data.column_cache import ColumnCache
from recbole_ccd.data.download import fetch_missing
from recbole_ccd.data.given_pairs import Given, moments, pair_codes, repeated
from recbole_ccd.data.splitting import (
    DROPPED,
    PARTS,
    SplitRule,
    blocks_by_boundary,
    boundaries_by_ratio,
    raw_time,
    split_parts,
    times_of_split,
)
from recbole_ccd.utils.errors import DataError, one_line
from recbole_ccd.utils.seeding import numpy_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

_REFUSALS = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, re.error)
_ALL_PASS = (None, "[0,inf)")  # RecBole's default
_PART_NAME = re.compile(r"(?P<block>.+)\.(?P<part>train|valid|test)")


class IncrementalDataset(TodaysDataset):
    """A RecBole data set that is a stream of blocks.

    The stream comes from one ``.inter`` file with times, cut by ``block_ratios`` or
    ``block_boundaries`` after RecBole's own filtering, or from the files that ``benchmark_filename``
    names: one per block, or a ``.train``/``.valid``/``.test`` triple per block.

    Rows are kept in order of arrival and ids are given in that order, so that what is known after a
    block is always a *prefix* of the id space. A view (:meth:`view`) shows some rows and the prefix
    known at one moment; models and samplers built on it never see a later id.

    Attributes:
        block_of_row: block index of each row of ``inter_feat``, shape ``(n,)``.
        part_of_row: ``TRAIN``, ``VALID`` or ``TEST`` of each row, shape ``(n,)``.
        arrival_of_row: number of the file that brought each row, where blocks came in several one after the
            other, shape ``(n,)``; None where each is a whole.
        n_blocks: the number of blocks.
    """

    arrival_of_row: np.ndarray | None = None
    # a frame while it is prepared, then an Interaction
    inter_feat: Any

    def __init__(self, config: CCDConfig) -> None:
        """Loads, filters, cuts and numbers the stream.

        Args:
            config: the run's configuration.

        Raises:
            DataError: If a file is missing or cannot be cut into the blocks asked for.
        """
        self._known: dict[str, int] = {}
        # set where rows are taken away by the block they are in, before the stream is cut
        self._boundaries: Sequence[float | str | datetime.date] | None = None
        self._check_files(given_config(config))
        try:
            super().__init__(config)
            self._change_feat_format()
        except _REFUSALS as error:
            # how RecBole refuses columns and values that its filters and preparations are given
            reason = one_line(f"{type(error).__name__}: {error}")
            raise DataError(
                f"{config['dataset']}: RecBole cannot prepare the data ({reason}); correct its filtering and "
                "preprocessing keys, or the file"
            ) from error

    @staticmethod
    def _check_files(config: CCDConfig) -> None:
        fetch_missing(config)
        folder, name = config["data_path"], config["dataset"]
        wanted = [f"{name}.{suffix}.inter" for suffix in config["benchmark_filename"] or []] or [
            f"{name}.inter"
        ]
        if not os.path.isdir(folder):
            raise DataError(
                f"{folder}: no such folder; point data_path at the folder that holds '{name}/', or name "
                "another dataset"
            )
        for file in wanted:
            if not os.path.isfile(os.path.join(folder, file)):
                raise DataError(
                    f"{os.path.join(folder, file)}: no such file; put it there or correct data_path, "
                    "dataset or benchmark_filename"
                )

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        # RecBole's own reader takes quote marks for quoting, which atomic files do not have
        load, unload = self._get_load_and_unload_col(source)
        if load == set():
            return None
        separator = self.config["field_separator"]
        header = read_header(filepath, separator)
        loaded = [name for name in header if name in (load or header) and name not in (unload or ())]
        cache = self._cache_of(filepath, separator, {name: header[name] for name in loaded})
        feat = None if cache is None else cache.load()
        if feat is None:
            # rows of a cache are those that have been looked at
            check_rows(filepath, separator, len(header))
        if source == FeatureSource.INTERACTION:
            self._columns = list(header)
            ids = {"USER_ID_FIELD": self.uid_field, "ITEM_ID_FIELD": self.iid_field}
            check_ids(filepath, header, loaded, ids)
            unused = (self.config["unused_col"] or {}).get(FeatureSource.INTERACTION.value) or ()
            seen_to = {*(self.config["val_interval"] or ()), *unused}
            check_label(filepath, self.config["LABEL_FIELD"], loaded, seen_to)
        if not loaded:
            self.logger.warning(f"No columns has been loaded from [{source}]")
            return None
        if feat is None:
            if cache is not None:
                cache.check_writable()
            feat = read_columns(filepath, header, loaded, separator)
            if cache is not None:
                cache.save(feat)
        for name in loaded:
            self._add_field(filepath, feat, name, FeatureType(header[name]), source)
        if source == FeatureSource.INTERACTION:
            self._check_tokens(filepath, feat)
        return feat

    def _cache_of(self, path: str, separator: str, columns: dict[str, str]) -> ColumnCache | None:
        folder = self.config["data_cache"]
        return ColumnCache(folder, path, separator, columns) if folder is not None and columns else None

    def _add_field(
        self, path: str, feat: pd.DataFrame, name: str, kind: FeatureType, source: FeatureSource | str
    ) -> None:
        """Notes a column's properties as RecBole does, and takes sequences apart."""
        if source != "link":
            self.field2source[name], self.field2type[name] = source, kind
            if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                self.field2bucketnum[name] = 2
        if kind in (FeatureType.TOKEN, FeatureType.FLOAT):
            self.field2seqlen[name] = 1
            return
        longest = (self.config["seq_len"] or {}).get(name)
        feat[name] = sequences(path, feat[name], kind, self.config["seq_separator"], longest)
        self.field2seqlen[name] = int(feat[name].map(len).max()) if len(feat) else 0

    def _check_tokens(self, path: str, feat: pd.DataFrame) -> None:
        missing = feat[self.uid_field].isnull() | feat[self.iid_field].isnull()
        if missing.any():
            raise DataError(
                f"{path}: {int(missing.sum())} interactions lack {self.uid_field} or {self.iid_field} "
                f"(first in data row {int(np.argmax(missing)) + 1}; NA, null and the like are nothing); "
                "remove them"
            )

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        if not len(self.inter_feat):
            raise DataError(f"{token}: there is a header but no interaction; add rows under it")
        if not self.benchmark_filename_list:
            self._check_times(os.path.join(dataset_path, f"{token}.inter"))
        self._pairs = pair_codes(*(self.inter_feat[field] for field in (self.uid_field, self.iid_field)))

    def _check_times(self, path: str) -> None:
        field = self.time_field
        if field not in self._columns:
            raise DataError(
                f"{path}: no column {shown(field)} among {named(self._columns)} to cut the stream by; set "
                "TIME_FIELD, or name one file per block in benchmark_filename"
            )
        if field not in self.inter_feat:
            raise DataError(
                f"{path}: column '{field}' is not loaded, and the stream is cut by it; name it in "
                "load_col.inter"
            )
        if self.field2type[field] != FeatureType.FLOAT:
            raise DataError(
                f"{path}: column '{field}' is of type {self.field2type[field].value}, and times are numbers; "
                f"write {field}:float or correct TIME_FIELD"
            )
        finite = np.isfinite(self._arrival_times())
        if not finite.all():
            raise DataError(
                f"{path}: {field} of data row {int(np.argmin(finite)) + 1} is missing or not finite; correct "
                "or remove that row"
            )

    def _remove_duplication(self) -> None:
        keep = self.config["rm_dup_inter"]
        if keep is not None:
            # RecBole leaves it to chance which of the rows of one moment comes first
            order = np.argsort(self._arrival_times(), kind="stable")
            self.inter_feat = self.inter_feat.iloc[order]
            pairs = self.inter_feat[[self.uid_field, self.iid_field]]
            if keep == "last":
                # a block has been learned by the time a later one brings the pair again
                self._boundaries = self._boundaries_of_rows()
                pairs = pairs.assign(block=blocks_by_boundary(self._arrival_times(), self._boundaries))
            self.inter_feat = self.inter_feat[~pairs.duplicated(keep=keep).to_numpy()]

    def _filter_by_inter_num(self) -> None:
        # RecBole counts in Python, even where it lets every user and every item pass
        if any(self.config[f"{what}_inter_num_interval"] not in _ALL_PASS for what in ("user", "item")):
            super()._filter_by_inter_num()

    def _remap_ID_all(self) -> None:
        # RecBole numbers tokens in the order of inter_feat, so that order of arrival is all it takes
        self._arrange_by_arrival()
        super()._remap_ID_all()

    def _arrange_by_arrival(self) -> None:
        blocks, parts = self._cut_files() if self.benchmark_filename_list else self._cut_time_line()
        order = np.lexsort((self._arrival_times(), blocks))
        order = order[parts[order] != DROPPED]
        self.inter_feat = self.inter_feat.iloc[order].reset_index(drop=True)
        self.block_of_row, self.part_of_row = blocks[order].astype(np.int32), parts[order]
        # eight bytes a row that nobody asks for again
        del self._pairs

    def _arrival_times(self) -> np.ndarray:
        if self.benchmark_filename_list:
            return np.arange(len(self.inter_feat))
        return self.inter_feat[self.time_field].to_numpy(dtype=np.float64)

    def _boundaries_of_rows(self) -> Sequence[float | str | datetime.date]:
        """The moments that the rows there are now are cut at."""
        given, ratios = self.config["block_boundaries"], self.config["block_ratios"]
        return given or boundaries_by_ratio(self._arrival_times(), ratios)

    def _cut_time_line(self) -> tuple[np.ndarray, np.ndarray]:
        times, given = self._arrival_times(), self.config["block_boundaries"]
        boundaries = self._boundaries_of_rows() if self._boundaries is None else self._boundaries
        blocks, n_blocks = blocks_by_boundary(times, boundaries), len(boundaries) + 1
        self.n_blocks = n_blocks
        # which block a row would be in that has been filtered away cannot be told
        pairs = [self._pairs, *(self._pairs[:0] for _ in range(n_blocks - 1))]
        self._given = [Given.of(codes, times[blocks == block]) for block, codes in enumerate(pairs)]
        counts = np.bincount(blocks, minlength=n_blocks)
        if (counts == 0).any():
            shown = f" (boundaries {[raw_time(moment) for moment in given]})" if given else ""
            key = "block_boundaries" if given else "block_ratios"
            raise DataError(
                f"{self.dataset_name}: block {int(np.argmin(counts))} holds no interaction, times run from "
                f"{times.min():.0f} to {times.max():.0f}{shown}; change {key}"
            )
        return blocks, self._split(blocks, np.full(len(blocks), DROPPED, dtype=np.int8))

    def _cut_files(self) -> tuple[np.ndarray, np.ndarray]:
        matches = [_PART_NAME.fullmatch(name) for name in self.benchmark_filename_list]
        names = [
            m["block"] if m else name for m, name in zip(matches, self.benchmark_filename_list, strict=True)
        ]
        index = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self.n_blocks = len(index)
        blocks = np.repeat([index[name] for name in names], self.file_size_list)
        given = [PARTS.index(m["part"]) if m else DROPPED for m in matches]
        parts = np.repeat(np.array(given, dtype=np.int8), self.file_size_list)
        times = moments(self.inter_feat, self.time_field)
        self._given = [
            Given.of(self._pairs[rows], None if times is None else times[rows])
            for rows in (blocks == block for block in range(self.n_blocks))
        ]
        kept = self._filter_block_files(blocks)
        return blocks[kept], self._split(blocks[kept], parts[kept])

    def _filter_block_files(self, blocks: np.ndarray) -> np.ndarray:
        """Filters row by row as RecBole does of one file, and returns which rows are left."""
        keep = self.config["rm_dup_inter"]
        if keep is not None:
            # the parts of a block need not stand together
            order = np.argsort(blocks, kind="stable")
            again = repeated(self._pairs[order], keep, blocks[order])
            self.inter_feat = self.inter_feat.drop(index=order[again])
        self._filter_by_field_value()
        kept = self.inter_feat.index.to_numpy()
        if len(kept) < len(blocks):
            self._reset_index()
        return kept

    def _split(self, blocks: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Splits the blocks whose rows come without a part."""
        users = pd.factorize(self.inter_feat[self.uid_field])[0]
        items = pd.factorize(self.inter_feat[self.iid_field])[0]
        divided = np.unique(blocks[parts == DROPPED])
        rule = SplitRule.of(self.config["eval_args"])
        times = self._times_of_split() if rule.by_time and len(divided) else None
        for block in divided:
            rows = np.flatnonzero(blocks == block)
            rng = numpy_generator(self.config["seed"], "split", int(block))
            of_rows = None if times is None else times[rows]
            parts[rows] = split_parts(users[rows], items[rows], rule, rng, of_rows)
        return parts

    def _times_of_split(self) -> np.ndarray:
        return times_of_split(self.dataset_name, self.time_field, moments(self.inter_feat, self.time_field))

    def given_in(self, block: int) -> Given:
        """What the files held that a block came from; of one file for all blocks see block 0."""
        return self._given[block]

    def num(self, field: str) -> int:
        """The number of ids of a field that this view knows, [PAD] included."""
        return self._known[field] if field in self._known else super().num(field)

    def view(self, rows: np.ndarray, n_users: int, n_items: int) -> IncrementalDataset:
        """Some rows of the stream, seen when only a prefix of the ids was known.

        Args:
            rows: indices into the stream's rows, in the order wanted.
            n_users: known users, [PAD] included.
            n_items: known items, [PAD] included.

        Returns:
            A data set that shares the stream's vocabulary and features but not its rows.
        """
        index = torch.as_tensor(rows, dtype=torch.int64)
        view = self.copy(Interaction({k: v[index] for k, v in self.inter_feat.interaction.items()}))
        view._known = {self.uid_field: n_users, self.iid_field: n_items}
        return view

    def __getitem__(self, index: np.ndarray | torch.Tensor, join: bool = True) -> Interaction:
        """Some rows, with the features of their users and items; no Python list of indices is made."""
        rows = torch.as_tensor(index)
        feat = Interaction({field: values[rows] for field, values in self.inter_feat.interaction.items()})
        return self.join(feat) if join else feat

    def get_user_feature(self) -> Interaction:
        """Features of the known users."""
        return super().get_user_feature()[: self.user_num]

    def get_item_feature(self) -> Interaction:
        """Features of the known items."""
        return super().get_item_feature()[: self.item_num]

    def build(self) -> list[Dataset]:
        """Not how a stream is used.

        Raises:
            DataError: Always; a stream is divided by :class:`~recbole_ccd.data.stream.BlockStream`.
        """
        raise DataError("a stream is not one train/valid/test split; use recbole_ccd.create_stream(config)")

    def _history_matrix(
        self, row: str, value_field: str | None = None, max_history_len: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """RecBole's padded history, in order of arrival and without its loop over interactions."""
        by_user = row == "user"
        keys = self.inter_feat[self.uid_field if by_user else self.iid_field].numpy()
        others = self.inter_feat[self.iid_field if by_user else self.uid_field].numpy()
        values = np.ones(len(keys)) if value_field is None else self.inter_feat[value_field].numpy()
        n_rows = self.user_num if by_user else self.item_num
        length = np.bincount(keys, minlength=n_rows)
        width = max(int(length.max(initial=0)), 1)
        width = width if max_history_len is None else min(width, max_history_len)
        order = np.argsort(keys, kind="stable")
        column = np.arange(len(keys)) - np.repeat(np.cumsum(length) - length, length)
        kept = column < width
        ids, weights = np.zeros((n_rows, width), dtype=np.int64), np.zeros((n_rows, width), dtype=np.float32)
        ids[keys[order][kept], column[kept]] = others[order][kept]
        weights[keys[order][kept], column[kept]] = values[order][kept]
        return torch.from_numpy(ids), torch.from_numpy(weights), torch.from_numpy(np.minimum(length, width))
