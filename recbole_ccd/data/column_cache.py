"""Columns of atomic files as they were read before, so that they need not be taken from text again.

A cache holds each column of text as its different tokens and a number per row, and each column of numbers as
such. It says what it was made from: the digest of the file, the columns, the separator, and the versions of
what has read them. Where one of them differs the cache is of something else, and is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureType
from torch import Tensor

import recbole_ccd
from recbole_ccd.utils.atomic_files import digest_of, load_tensors, save_tensors
from recbole_ccd.utils.errors import DataError, RunError, one_line

FORMAT = 1
_SOURCE = "source"  # beside "0", "1", …, which are columns, and "0.tokens", …


class ColumnCache:
    """The cache of some columns of one file.

    Args:
        folder: where caches lie; it is made when there is something to keep.
        path: the file.
        separator: what stands between its columns.
        columns: those that are loaded, type by name, in the file's order.

    Attributes:
        path: the cache. The same columns of the same file have the same one, whatever the file holds, so that
            one that is out of date is replaced.
    """

    def __init__(self, folder: str, path: str, separator: str, columns: Mapping[str, str]) -> None:
        self._folder, self._file, self._columns = Path(folder), path, dict(columns)
        place = json.dumps([os.path.realpath(path), separator, list(columns.items())])
        mark = hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.path = self._folder / f"{os.path.basename(path)}.{mark}.columns"
        self._separator = separator
        self._source: bytes | None = None

    def load(self) -> pd.DataFrame | None:
        """The columns, as :func:`~recbole_ccd.data.atomic.read_columns` has read them from the file as it is.

        Returns:
            None where there is no cache of the file as it is, or it is damaged.

        Raises:
            DataError: If the file cannot be read.
        """
        self._source = self._described()
        if not self.path.is_file():
            return None
        with suppress(RunError, LookupError, ValueError, TypeError, RuntimeError):
            held = load_tensors(self.path)
            if bytes(held[_SOURCE].numpy()) == self._source:
                return self._table(held)
        return None

    def check_writable(self) -> None:
        """Refuses a folder in which nothing can be kept, before there is work to lose.

        Raises:
            DataError: If it cannot be made or written to.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refused(error.strerror) from error
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise self._refused("no permission")

    def save(self, feat: pd.DataFrame) -> None:
        """Keeps columns that have been read, unless the file has changed since :meth:`load` looked at it.

        Args:
            feat: the columns, those of numbers as float64, others as text.

        Raises:
            DataError: If they cannot be written, or the file cannot be read any more.
        """
        if self._source is None or self._described() != self._source:
            return
        held = {_SOURCE: _bytes(self._source)}
        for place, (name, kind) in enumerate(self._columns.items()):
            if kind == FeatureType.FLOAT.value:
                held[str(place)] = torch.from_numpy(feat[name].to_numpy(dtype=np.float64, copy=True))
            else:
                codes, tokens = pd.factorize(feat[name].to_numpy(dtype=object))
                held[str(place)] = torch.from_numpy(codes.astype(np.int32))
                # no token has a line end in it
                held[f"{place}.tokens"] = _bytes("\n".join(tokens).encode())
        try:
            save_tensors(self.path, held)
        except OSError as error:
            raise self._refused(error.strerror) from error

    def _described(self) -> bytes:
        try:
            file = digest_of(self._file)
        except OSError as error:
            raise DataError(f"{self._file}: {error.strerror}; make it a file that can be read") from error
        versions = {"recbole_ccd": recbole_ccd.__version__, "pandas": pd.__version__}
        columns = {"separator": self._separator, "columns": list(self._columns.items())}
        source = {"format": FORMAT, **versions, **columns, "sha256": file.sha256, "bytes": file.bytes}
        return json.dumps(source).encode()

    def _table(self, held: Mapping[str, Tensor]) -> pd.DataFrame:
        columns: dict[str, Any] = {}
        for place, (name, kind) in enumerate(self._columns.items()):
            values = held[str(place)].numpy()
            if kind != FeatureType.FLOAT.value:
                text = bytes(held[f"{place}.tokens"].numpy()).decode()
                # what is missing has the number -1, which is the last one
                tokens = np.array([*(text.split("\n") if text else ()), np.nan], dtype=object)
                values = tokens[values]
            # as they are: pandas 3 has a type of its own for text
            columns[name] = pd.Series(values, dtype=values.dtype)
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError("columns of different lengths")
        return pd.DataFrame(columns, copy=False)

    def _refused(self, reason: str | None) -> DataError:
        return DataError(
            f"{self._folder}: no cache of columns can be written there ({one_line(reason or 'it failed')}); "
            "let data_cache name a folder that can be written, or leave it out"
        )


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
