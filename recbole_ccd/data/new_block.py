"""A new block as it comes in from outside: its files, read, divided and numbered on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureSource
from torch import Tensor

from recbole_ccd.data.atomic import named, shown
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.given_pairs import Given, moments, pair_codes, repeated
from recbole_ccd.data.interactions import ROWS
from recbole_ccd.data.splitting import (
    DROPPED,
    PARTS,
    TEST,
    TRAIN,
    VALID,
    SplitRule,
    split_parts,
    times_of_split,
)
from recbole_ccd.utils.errors import ConfigError, DataError, one_line
from recbole_ccd.utils.seeding import numpy_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_KEY = "new_block"
# of the pairs of a new block; more of them have been given before only if it, or much of it, was
_MOST_REPEATED = 0.5


@dataclass(frozen=True)
class NewBlock:
    """What the files of a new block hold.

    Attributes:
        names: the files, for messages and for the record.
        users: user token of each row, in the order of the files, shape ``(n,)``.
        items: item token of each row, shape ``(n,)``.
        given: ``TRAIN``, ``VALID`` or ``TEST`` of each row, or ``DROPPED`` where it is still to be divided,
            shape ``(n,)``, int8.
        times: when each row happened, where the stream is cut by time and the file tells, shape ``(n,)``.
        sha256: a digest of all that.
        wanted: whether each row passes ``val_interval``, shape ``(n,)`` bool.
        moments: when each row happened, where the file tells, whatever the stream is cut by, shape ``(n,)``.
    """

    names: list[str]
    users: np.ndarray
    items: np.ndarray
    given: np.ndarray
    times: np.ndarray | None
    sha256: str
    wanted: np.ndarray
    moments: np.ndarray | None = None

    @property
    def contents(self) -> Given:
        """All that the files hold, whatever becomes of it."""
        return Given.of(pair_codes(self.users, self.items), self.moments)

    @property
    def label(self) -> str:
        """The files in a few words."""
        return one_line(self.names[0]) if len(self.names) == 1 else f"{one_line(self.names[0])}, …"


def new_files(given: Files) -> list[Path]:
    """The files of a new block: one, or a train, a valid and a test file, in this order.

    Args:
        given: a path, several, or text with commas between them.

    Raises:
        ConfigError: If there are two, or three that are no such triple, or none.
        DataError: If one of them is missing.
    """
    paths: list[str | os.PathLike[str]] = [given] if isinstance(given, str | os.PathLike) else list(given)
    if len(paths) == 1 and "," in os.fspath(paths[0]) and not os.path.exists(paths[0]):
        paths = [*os.fspath(paths[0]).split(",")]
    files = [Path(path) for path in paths if os.fspath(path).strip()]
    for file in files:
        if not os.path.isfile(file):
            raise DataError(f"{file}: no such file; give {_KEY} an atomic .inter file")
    if len(files) == 1:
        return files
    by_part = {part: file for file in files for part in PARTS if f".{part}." in f".{file.name}"}
    if len(files) != len(PARTS) or set(by_part.values()) != set(files) or len(set(files)) != len(PARTS):
        raise ConfigError(
            f"{_KEY} names {len(files)} files; give one, or three, with .train., .valid. and .test. in them"
        )
    return [by_part[part] for part in PARTS]


class _Rows(IncrementalDataset):
    """The rows of some files as RecBole reads them, and nothing else."""

    def __init__(self, config: CCDConfig, files: Sequence[Path]) -> None:
        self._files = files
        super().__init__(config)

    @staticmethod
    def _check_files(config: CCDConfig) -> None:
        """Done by :func:`new_files`."""

    def _cache_of(self, path: str, separator: str, columns: dict[str, str]) -> None:
        """None, as such files are read once, with settings of a run that may have come from anywhere."""

    def _from_scratch(self) -> None:
        self._get_preset()
        self._get_field_from_config()
        self.feat_name_list: list[str] = []
        self.user_feat = self.item_feat = None
        frames = [self._frame(str(file)) for file in self._files]
        self.sizes = [len(frame) for frame in frames]
        self.inter_feat = pd.concat(frames, ignore_index=True)
        self.times: np.ndarray | None = None
        if not self.benchmark_filename_list and all(self.time_field in frame for frame in frames):
            self._check_times(str(self._files[0]))
            self.times = self._arrival_times()
        self.moments = moments(self.inter_feat, self.time_field)
        whole = self.inter_feat
        self.inter_feat = whole.copy()
        self._filter_by_field_value()
        self.wanted = np.isin(whole.index, self.inter_feat.index)
        self.inter_feat = whole

    def _frame(self, path: str) -> pd.DataFrame:
        frame = self._load_feat(path, FeatureSource.INTERACTION)
        if frame is None or not len(frame):
            raise DataError(f"{path}: there is a header but no interaction; add rows under it")
        for field in self.config["val_interval"] or ():
            if field not in frame:
                raise DataError(
                    f"{path}: no column {shown(field)} among {named(frame)}, and val_interval filters by it; "
                    "add it"
                )
        return frame


def read_new_block(config: CCDConfig, files: Sequence[Path]) -> NewBlock:
    """Reads the files of a new block; :func:`filtered` takes away what the run's settings do.

    Args:
        config: the run's configuration, for columns and separators.
        files: what :func:`new_files` gave.

    Raises:
        DataError: If a file cannot be read, or holds what cannot be used; the message names the place.
    """
    rows = _Rows(config, files)
    users, items = (
        rows.inter_feat[field].to_numpy(dtype=object) for field in (rows.uid_field, rows.iid_field)
    )
    parts = (TRAIN, VALID, TEST) if len(files) == len(PARTS) else (DROPPED,)
    given = np.repeat(np.array(parts, dtype=np.int8), rows.sizes)
    digest = hashlib.sha256(given.tobytes())
    for column in (users, items):
        digest.update("\0".join(column).encode("utf-8", "surrogatepass") + b"\1")
    if rows.times is not None:
        digest.update(rows.times.tobytes())
    if not rows.wanted.all():
        digest.update(rows.wanted.tobytes())
    names, sha256 = [str(file) for file in files], digest.hexdigest()
    return NewBlock(names, users, items, given, rows.times, sha256, rows.wanted, rows.moments)


def filtered(arrival: NewBlock, config: CCDConfig, earlier: Given) -> NewBlock:
    """The rows that are left by ``rm_dup_inter`` and ``val_interval``, in the order that RecBole leaves.

    Args:
        arrival: what the files hold.
        config: the run's configuration.
        earlier: what the run has been given before; the first of a pair may have been in that.

    Raises:
        DataError: If none is left.
    """
    keep, rows = config["rm_dup_inter"], np.arange(len(arrival.users))
    if keep is not None:
        if arrival.times is not None:
            rows = np.argsort(arrival.times, kind="stable")
        codes = pair_codes(arrival.users, arrival.items)[rows]
        again = repeated(codes, keep)
        if keep == "first":
            # pandas 3 gives arrays that cannot be written to
            again = again | np.isin(codes, earlier.pairs.numpy())
        rows = rows[~again]
    rows = rows[arrival.wanted[rows]]
    if not len(rows):
        raise DataError(
            f"{arrival.label}: rm_dup_inter and val_interval leave none of its {len(arrival.users)} "
            "interactions; give others"
        )
    return replace(
        arrival,
        users=arrival.users[rows],
        items=arrival.items[rows],
        given=arrival.given[rows],
        times=None if arrival.times is None else arrival.times[rows],
        wanted=arrival.wanted[rows],
        moments=None if arrival.moments is None else arrival.moments[rows],
    )


def divided(
    arrival: NewBlock, config: CCDConfig, block: int, number: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of a new block in order of arrival, divided as a run on all blocks would have done it.

    Args:
        arrival: what its files hold.
        config: the run's configuration.
        block: its index.
        number: how many files of the block have come before.

    Returns:
        ``users``, ``items`` (tokens) and ``parts`` of the rows that are kept, shapes ``(n,)``.

    Raises:
        DataError: If there is nothing to learn, or nothing to measure on.
    """
    parts = arrival.given.copy()
    if (parts == DROPPED).any():
        # of a whole block it must be the generator that the block would have had
        purpose = ("split", block) if not number else ("split", block, number)
        users, items = (pd.factorize(column)[0] for column in (arrival.users, arrival.items))
        rng = numpy_generator(config["seed"], *purpose)
        rule = SplitRule.of(config["eval_args"])
        times = None
        if rule.by_time:
            times = times_of_split(arrival.label, config["TIME_FIELD"], arrival.moments)
        parts = split_parts(users, items, rule, rng, times)
    order = np.arange(len(parts)) if arrival.times is None else np.argsort(arrival.times, kind="stable")
    order = order[parts[order] != DROPPED]
    measured = VALID if config["eval_part"] == "valid" else TEST
    # a file that is not the first of its block adds to what is measured, or does not
    for part in (TRAIN,) if number else (TRAIN, measured):
        if not (parts[order] == part).any():
            raise DataError(
                f"{arrival.label}: block {block} would have no {PARTS[part]} interactions; give more rows, "
                "or three files that divide them"
            )
    return arrival.users[order], arrival.items[order], parts[order]


def check_unlearned(arrival: NewBlock, earlier: Given) -> None:
    """Refuses rows most of which have been there before, such as a file that the run was begun with.

    Args:
        arrival: what is to be learned.
        earlier: all that the run has been given, what it has dropped included.

    Raises:
        DataError: If most pairs of user and item have been given, so that what is measured has been trained
            on, and what was measured is trained on.
    """
    pairs = arrival.contents.pairs
    n_repeated = int(torch.isin(pairs, earlier.pairs).sum())
    if n_repeated > _MOST_REPEATED * len(pairs):
        raise DataError(
            f"{arrival.label}: {n_repeated} of its {len(pairs)} pairs of user and item have been given "
            "before; give what has happened since, or say by --allow_repeated=True that they have met again"
        )


def check_later(arrival: NewBlock, newest: Tensor) -> str | None:
    """Holds times against those of the blocks before.

    Args:
        arrival: what is to be learned.
        newest: the moment of the last interaction before its block, see :class:`Given`.

    Returns:
        What is odd, for the log: that some rows are older.

    Raises:
        DataError: If all are older.
    """
    times = arrival.moments
    if times is None or not len(newest):
        return None
    n_older, last = int((times < newest.item()).sum()), f"the last interaction so far ({newest.item():.0f})"
    if n_older == len(times):
        raise DataError(
            f"{arrival.label}: all its interactions are older than {last}; give later ones, or leave the "
            "times out for them to be learned nevertheless"
        )
    if n_older:
        shares = f"{n_older} of its {len(times)} interactions are older than {last}"
        return f"{arrival.label}: {shares}, and are learned as part of the new block"
    return None


def numbered(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], vocabulary: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Gives tokens that are not known yet the next ids, in order of arrival.

    Args:
        rows: what :func:`divided` gave.
        vocabulary: tokens of ``users`` and ``items`` known so far by id, the first being [PAD].

    Returns:
        The rows as :class:`~recbole_ccd.data.interactions.Interactions` keeps them, and the vocabulary after
        them, which begins with the one before.
    """
    *tokens, parts = rows
    columns: dict[str, Tensor] = {"parts": torch.from_numpy(parts)}
    after: dict[str, list[str]] = {}
    for name, column in zip(("users", "items"), tokens, strict=True):
        codes, found = pd.factorize(column)
        # a token may be called [PAD] too
        ids = {token: i for i, token in enumerate(vocabulary[name]) if i}
        first = len(ids)
        of_found = np.array([ids.setdefault(str(token), len(ids) + 1) for token in found], dtype=np.int64)
        columns[name] = torch.from_numpy(of_found[codes])
        after[name] = [*vocabulary[name], *list(ids)[first:]]
    return {name: columns[name].to(kind) for name, kind in ROWS.items()}, after
