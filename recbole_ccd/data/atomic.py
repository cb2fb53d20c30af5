"""Atomic files: what RecBole's reader would stumble over, told by file, column and row."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Collection, Mapping
from io import TextIOWrapper

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_ccd.errors import DataError, one_line
from recbole_ccd.files import open_input

_TYPES = tuple(kind.value for kind in FeatureType)


def read_header(path: str, separator: str) -> dict[str, str]:
    """The columns of an atomic file, of which no row is longer than its header.

    Args:
        path: the file.
        separator: what stands between columns.

    Returns:
        Type by name, in the file's order.

    Raises:
        DataError: the file cannot be opened, is empty or not UTF-8, its first line is no header of different
            ``name:type`` columns, or a row is longer than that.
    """
    try:
        with TextIOWrapper(open_input(path), encoding="utf-8") as file:
            header = _columns(path, file.readline(), separator)
            # pandas drops what is too much in a row, or takes it for a label and shifts all columns
            for number, line in enumerate(file, 2):
                if line.count(separator) >= len(header) < _n_fields(line, separator):
                    raise DataError(
                        f"{path}: line {number} has {_n_fields(line, separator)} fields under {len(header)} "
                        "columns; give each row one per column"
                    )
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; make it a file that can be read") from None
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    return header


def _n_fields(line: str, separator: str) -> int:
    """Fields of a row as pandas counts them; 0 where it cannot be told."""
    if len(separator) != 1:
        return 0
    try:
        return len(next(csv.reader([line], delimiter=separator), []))
    except csv.Error:
        return 0


def _columns(path: str, line: str, separator: str) -> dict[str, str]:
    if not line.strip():
        raise DataError(f"{path}: the first line is empty; begin it with the columns, such as user_id:token")
    if line.startswith("\ufeff"):
        raise DataError(f"{path}: it begins with a byte order mark; save it as UTF-8 without one")
    if not line.endswith("\n"):
        raise DataError(f"{path}: the header has no line end; end it with one, and let rows follow")
    header: dict[str, str] = {}
    for entry in line[:-1].split(separator):
        name, _, kind = entry.partition(":")
        if not name or not kind or ":" in kind:
            raise DataError(
                f"{path}: '{one_line(entry)}' in the header is no name:type; write columns such as "
                f"user_id:token with {separator!r} (field_separator) between them"
            )
        if kind not in _TYPES:
            start = f"{path}: column '{one_line(name)}' is of type '{one_line(kind)}'"
            raise DataError(f"{start}; give one of: {', '.join(_TYPES)}")
        if name in header:
            raise DataError(f"{path}: column '{one_line(name)}' occurs twice; rename or remove one")
        header[name] = kind
    return header


def check_ids(path: str, header: Mapping[str, str], loaded: Collection[str], keys: Mapping[str, str]) -> None:
    """Refuses interactions without users or items.

    Args:
        path: the file.
        header: its columns, type by name.
        loaded: the columns that are loaded.
        keys: the columns of users and items by the key that names each.

    Raises:
        DataError: a column is missing, not loaded, or not of type token.
    """
    for key, field in keys.items():
        if field not in header:
            given = one_line(", ".join(header))
            raise DataError(f"{path}: no column '{field}' among {given}; correct the header or {key}")
        if field not in loaded:
            raise DataError(f"{path}: column '{field}' is not loaded; name it in load_col.inter")
        if header[field] != FeatureType.TOKEN.value:
            start = f"{path}: column '{field}' is of type {header[field]}, and ids are tokens"
            raise DataError(f"{start}; write {field}:token")


def check_label(path: str, label: str, loaded: Collection[str], seen_to: Collection[str]) -> None:
    """Refuses labels that would change nothing, as every interaction that is kept is a positive one.

    Args:
        path: the file.
        label: the column of labels.
        loaded: the columns that are loaded.
        seen_to: those by which interactions are selected, or that are said to be unused.

    Raises:
        DataError: there are labels, and nothing selects by them.
    """
    if label in loaded and label not in seen_to:
        raise DataError(
            f"{path}: column '{label}' would have no effect, as every interaction that is kept counts as "
            f"positive; keep those that are by val_interval, such as {{{label}: '[1,1]'}}, or do not load it "
            "(load_col)"
        )


def unreadable(path: str, separator: str, numbers: Collection[str], error: Exception) -> DataError:
    """Why a file could not be read, with the row where that is known.

    Args:
        path: the file.
        separator: what stands between columns.
        numbers: names of the columns of type float that were to be loaded.
        error: what reading it has raised.
    """
    if isinstance(error, UnicodeDecodeError):
        return _not_utf8(path)
    if "Unable to convert" in str(error):
        for name in numbers:
            wrong = _first_wrong(path, separator, f"{name}:{FeatureType.FLOAT.value}")
            if wrong is not None:
                row, value = wrong
                start = f"{path}: {name} of data row {row} is '{one_line(value)}', which is no number"
                return DataError(f"{start}; correct that row")
    if "field larger than field limit" in str(error):
        start = f"{path}: line {_first_too_long(path, separator)} has a field of more than"
        return DataError(
            f"{start} {csv.field_size_limit():,} characters; shorten it, or close its quote mark"
        )
    if "unexpected end of data" in str(error):
        with open(path, encoding="utf-8") as file:
            line = next((number for number, text in enumerate(file, 1) if text.count('"') % 2), 1)
        return DataError(f"{path}: line {line} has a quote mark that is never closed; remove it")
    return DataError(f"{path}: {one_line(error)}; correct that line, each needs one field per column")


def _first_too_long(path: str, separator: str) -> int:
    """The line in which the first field begins that is longer than can be read."""
    line = 1
    with open(path, encoding="utf-8", newline="") as file:
        # a separator of several characters divides what no quote mark can hold together
        rows = csv.reader(file, delimiter=separator if len(separator) == 1 else "\0")
        with contextlib.suppress(csv.Error):
            for _ in rows:
                line = rows.line_num + 1
    return line


def _first_wrong(path: str, separator: str, column: str) -> tuple[int, str] | None:
    """Row and value of the first entry of a column that is no number."""
    table = pd.read_csv(path, delimiter=separator, usecols=[column], dtype=str, engine="python")
    values = table[column]
    wrong = values.notna() & pd.to_numeric(values, errors="coerce").isna()
    row = int(np.argmax(wrong))
    return (row + 1, values[row]) if wrong.any() else None


def _not_utf8(path: str) -> DataError:
    with open(path, encoding="utf-8", errors="replace") as file:
        line = next((number for number, text in enumerate(file, 1) if "\ufffd" in text), 1)
    return DataError(f"{path}: line {line} is not UTF-8; save the file as UTF-8")
