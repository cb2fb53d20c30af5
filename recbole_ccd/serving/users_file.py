"""The users to recommend to, as a text file names them."""

from __future__ import annotations

import os
from pathlib import Path

from recbole_ccd.errors import DataError, one_line
from recbole_ccd.files import read_input


def read_users(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Reads users, one per line, with what they have done lately if a tab and item tokens follow.

    Blank lines count for nothing. Items are separated by spaces.

    Args:
        path: a UTF-8 text file.

    Returns:
        Item tokens by user token, in the order of the file; mostly none.

    Raises:
        DataError: the file cannot be read, names no user, or a line cannot be understood.
    """
    users: dict[str, list[str]] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(_lines(Path(path)), start=1):
        if not line.strip():
            continue
        token, *items = line.split("\t")
        if not token.strip():
            raise DataError(f"{path}, line {number}: there is no user before the tab; put a token there")
        if len(items) > 1:
            raise DataError(
                f"{path}, line {number}: {len(items)} tabs; write one between the user and the items, and "
                "spaces between items"
            )
        if token in users:
            shown = one_line(token)
            raise DataError(
                f"{path}, line {number}: user '{shown}' stands in line {line_of[token]} too; remove one"
            )
        users[token], line_of[token] = items[0].split() if items else [], number
    if not users:
        raise DataError(f"{path}: it names no user; write one token per line")
    return users


def _lines(path: Path) -> list[str]:
    try:
        content = read_input(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give --users a text file, one user per line") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: it is not UTF-8; save the file as UTF-8") from None
    return [line.removesuffix("\r") for line in text.split("\n")]
