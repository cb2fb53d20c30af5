"""Atomic files: each token as it stands there, and what cannot be read reported by file, column and row."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_ccd.utils.atomic_files import open_input
from recbole_ccd.utils.errors import DataError, one_line

_TYPES = tuple(kind.value for kind in FeatureType)
_FLOAT, _TOKEN = FeatureType.FLOAT.value, FeatureType.TOKEN.value
_CHUNK = 1 << 20  # bytes looked at at once


def read_header(path: str, separator: str) -> dict[str, str]:
    """The columns of an atomic file; :func:`check_rows` looks at what stands under them.

    Args:
        path: the file.
        separator: what stands between columns.

    Returns:
        Type by name, in the file's order.

    Raises:
        DataError: If the file cannot be opened, is empty or not UTF-8, or its first line is no header of
            different ``name:type`` columns.
    """
    with _opened(path) as file:
        return _columns(path, file.readline(), separator)


def check_rows(path: str, separator: str, n_columns: int) -> None:
    """Refuses rows that cannot be read as they stand.

    Args:
        path: the file.
        separator: what stands between columns.
        n_columns: how many columns its header names.

    Raises:
        DataError: If a row is not UTF-8, is longer than the header, or holds a character that no token can.
    """
    if _rows_are_plain(path, separator, n_columns):
        return
    with _opened(path) as file:
        file.readline()
        _check_each(path, file, separator, n_columns)


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    try:
        with io.TextIOWrapper(open_input(path), encoding="utf-8", newline="\n") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; make it a file that can be read") from None
    except UnicodeDecodeError:
        raise _not_utf8(path) from None


def _rows_are_plain(path: str, separator: str, n_columns: int) -> bool:
    """Whether there is surely nothing to refuse: many rows at a time, without telling which is wrong."""
    if len(separator) > 1 or not separator.isascii() or separator in "\0\r\n":
        return False
    others = bytes(code for code in range(256) if chr(code) not in f"{separator}\n")
    with open_input(path) as file:
        while chunk := file.read(_CHUNK):
            chunk += file.readline()
            if b"\0" in chunk or chunk.count(b"\r") != chunk.count(b"\r\n") or not _is_utf8(chunk):
                return False
            marks = np.frombuffer(chunk.translate(None, others), dtype=np.uint8)
            # the last line may have no end
            ends = np.append(np.flatnonzero(marks == ord("\n")), len(marks))
            if (np.diff(ends, prepend=-1) > n_columns).any():
                return False
    return True


def _is_utf8(chunk: bytes) -> bool:
    try:
        return chunk.isascii() or bool(chunk.decode())
    except UnicodeDecodeError:
        return False


def _check_each(path: str, rows: TextIO, separator: str, n_columns: int) -> None:
    for number, line in enumerate(rows, 2):
        # pandas drops what is too much in a row, or takes it for a label and shifts all columns
        if line.count(separator) >= n_columns:
            n_fields = line.count(separator) + 1
            raise DataError(
                f"{path}: line {number} has {n_fields} fields under {n_columns} columns; give each row one "
                "per column"
            )
        if "\0" in line or "\r" in line:
            _check_characters(path, number, line)


def _check_characters(path: str, number: int, line: str) -> None:
    """Refuses what ends a token for some readers and not for others."""
    text = line.removesuffix("\n").removesuffix("\r")
    found = next((name for mark, name in (("\0", "NUL"), ("\r", "carriage return")) if mark in text), None)
    if found is not None:
        raise DataError(f"{path}: line {number} has a {found} within it; remove it")


def read_columns(
    path: str, header: Mapping[str, str], loaded: Collection[str], separator: str
) -> pd.DataFrame:
    """Columns of an atomic file that :func:`check_rows` has looked at. Quote marks are part of their token.

    Args:
        path: the file.
        header: its columns, type by name.
        loaded: those to load.
        separator: what stands between columns.

    Returns:
        The columns in the file's order: numbers for the type float, else text. Empty fields and what pandas
        takes for nothing (NA, null and the like) are missing.

    Raises:
        DataError: If a number cannot be read.
    """
    numbers = [name for name in loaded if header[name] == _FLOAT]
    # as Python's own strings: pandas 3 has a type of its own for str
    kinds = {name: np.float64 if name in numbers else object for name in loaded}
    try:
        return _table(path, header, kinds, separator)
    except ValueError as error:
        texts = _table(path, header, dict.fromkeys(numbers, object), separator)
        for name in numbers:
            wrong = texts[name].notna() & pd.to_numeric(texts[name], errors="coerce").isna()
            if wrong.any():
                row = int(np.argmax(wrong))
                start = f"{path}: {name} of data row {row + 1} is {shown(texts[name][row])}"
                raise DataError(f"{start}, which is no number; correct that row") from error
        raise DataError(f"{path}: {one_line(error)}; correct that file") from error


def sequences(
    path: str, column: pd.Series, kind: FeatureType, separator: str, longest: int | None
) -> list[np.ndarray]:
    """The entries of a column of sequences, taken apart as RecBole does.

    Args:
        path: the file, for messages.
        column: its text, missing where there is nothing.
        kind: ``TOKEN_SEQ`` or ``FLOAT_SEQ``.
        separator: what stands between the entries.
        longest: how many of them are kept; None for all.

    Raises:
        DataError: If an entry is to be a number, and is none.
    """
    convert = float if kind == FeatureType.FLOAT_SEQ else str
    parts: list[np.ndarray] = []
    for row, text in enumerate(column.fillna(""), 1):
        entries = [entry for entry in text.split(separator) if entry]
        try:
            parts.append(np.array([convert(entry) for entry in entries])[:longest])
        except ValueError as error:
            start = f"{path}: {column.name} of data row {row} is {shown(text)}"
            raise DataError(f"{start}, which are no numbers; correct that row") from error
    return parts


def _table(path: str, header: Mapping[str, str], kinds: Mapping[str, type], separator: str) -> pd.DataFrame:
    source: str | io.StringIO = path
    if len(separator) > 1 or not separator.isascii():
        # pandas' fast reader takes one byte, and takes more than one character for a regular expression
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        mark = next((chr(code) for code in range(1, 32) if chr(code) not in f"{text}\r\n"), None)
        if mark is None:
            raise DataError(f"{path}: it holds every control character; give field_separator one character")
        source, separator = io.StringIO(text.replace(separator, mark), newline=""), mark
    return pd.read_csv(
        source,
        sep=separator,
        header=0,
        names=list(header),
        index_col=False,
        usecols=list(kinds),
        dtype=dict(kinds),
        quoting=csv.QUOTE_NONE,
    )


def shown(text: str) -> str:
    """Text in quotes, so that blanks at its ends and characters without a shape can be seen."""
    return one_line(repr(text))


def named(columns: Collection[str]) -> str:
    """Names of columns in a row; in quotes those in which there is something that cannot be seen."""
    plain = (name if name.isprintable() and name == name.strip() else repr(name) for name in columns)
    return one_line(", ".join(plain))


def _columns(path: str, line: str, separator: str) -> dict[str, str]:
    if not line.strip():
        raise DataError(f"{path}: the first line is empty; begin it with the columns, such as user_id:token")
    if line.startswith("\ufeff"):
        raise DataError(f"{path}: it begins with a byte order mark; save it as UTF-8 without one")
    if not line.endswith("\n"):
        raise DataError(f"{path}: the header has no line end; end it with one, and let rows follow")
    _check_characters(path, 1, line)
    header: dict[str, str] = {}
    for entry in line[:-1].removesuffix("\r").split(separator):
        name, _, kind = entry.partition(":")
        if not name or not kind or ":" in kind:
            raise DataError(
                f"{path}: {shown(entry)} in the header is no name:type; write columns such as "
                f"user_id:token with {separator!r} (field_separator) between them"
            )
        if kind not in _TYPES:
            start = f"{path}: column {shown(name)} is of type {shown(kind)}"
            raise DataError(f"{start}; give one of: {', '.join(_TYPES)}")
        if name in header:
            raise DataError(f"{path}: column {shown(name)} occurs twice; rename or remove one")
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
        DataError: If a column is missing, not loaded, or not of type token.
    """
    for key, field in keys.items():
        if field not in header:
            raise DataError(
                f"{path}: no column {shown(field)} among {named(header)}; correct the header or {key}"
            )
        if field not in loaded:
            raise DataError(f"{path}: column '{field}' is not loaded; name it in load_col.inter")
        if header[field] != _TOKEN:
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
        DataError: If there are labels, and nothing selects by them.
    """
    if label in loaded and label not in seen_to:
        raise DataError(
            f"{path}: column '{label}' would have no effect, as every interaction that is kept counts as "
            f"positive; keep those that are by val_interval, such as {{{label}: '[1,1]'}}, or do not load it "
            "(load_col)"
        )


def _not_utf8(path: str) -> DataError:
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        line = next((number for number, text in enumerate(file, 1) if "\ufffd" in text), 1)
    return DataError(f"{path}: line {line} is not UTF-8; save the file as UTF-8")
