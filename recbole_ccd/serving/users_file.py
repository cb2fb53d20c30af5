"""The users to recommend to, as a text file names them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from recbole_ccd.serving.arguments import checked_token, checked_tokens, shown
from recbole_ccd.utils.atomic_files import read_input
from recbole_ccd.utils.errors import ConfigError, DataError, one_line

_USER, _ITEMS = "user", "items"
# files in which every line is a JSON object
_JSON_LINES = (".jsonl", ".ndjson")
_FORM = f'write {{"{_USER}": "token", "{_ITEMS}": ["token", …]}}'


class _Place(NamedTuple):
    """Where something stands, for messages."""

    path: Path
    line: int

    def error(self, problem: str) -> DataError:
        return DataError(f"{self.path}, line {self.line}: {problem}")


def read_users(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Reads users, one per line, with what they have done lately if a tab and item tokens follow.

    Blank lines count for nothing. Items are separated by spaces; every other character is part of a token. A
    line may be a JSON object instead, whose ``user`` is a token and whose ``items``, if there are any, a list
    of tokens; any character may be in these. In a ``.jsonl`` file every line is one.

    Args:
        path: a UTF-8 text file.

    Returns:
        Item tokens by user token, in the order of the file; mostly none.

    Raises:
        DataError: If the file cannot be read, names no user, or a line cannot be understood.
    """
    users: dict[str, list[str]] = {}
    line_of: dict[str, int] = {}
    only_json = Path(path).suffix.lower() in _JSON_LINES
    for number, line in enumerate(_lines(Path(path)), start=1):
        if not line.strip(" \t"):
            continue
        place = _Place(Path(path), number)
        entry = _object(line)
        if only_json or (isinstance(entry, dict) and _USER in entry):
            token, items = _of_json(entry, place)
        else:
            token, items = _of_text(line, place)
        if token in users:
            raise place.error(f"user '{one_line(token)}' stands in line {line_of[token]} too; remove one")
        users[token], line_of[token] = items, number
    if not users:
        raise DataError(f"{path}: it names no user; write one token per line")
    return users


def _object(line: str) -> Any:
    """What a line is in JSON; None where it is none."""
    try:
        return json.loads(line) if line.lstrip(" \t").startswith("{") else None
    except (ValueError, RecursionError):
        return None


def _of_json(entry: Any, place: _Place) -> tuple[str, list[str]]:
    if not isinstance(entry, dict) or _USER not in entry:
        raise place.error(f"it is no JSON object with a {_USER}; {_FORM}")
    further = [key for key in entry if key not in (_USER, _ITEMS)]
    if further:
        raise place.error(f"unknown key {shown(further[0])}; {_FORM}")
    try:
        token = checked_token(f"{_USER} is", entry[_USER])
        items = checked_tokens(_ITEMS, entry.get(_ITEMS, []), "are")
        if not token:
            raise ConfigError(f"there is no {_USER}; put a token there")
        "".join([token, *items]).encode()
    except ConfigError as error:
        raise place.error(str(error)) from None
    except UnicodeEncodeError:
        raise place.error("a token has half of a surrogate pair, which is no character; write both") from None
    return token, items


def _of_text(line: str, place: _Place) -> tuple[str, list[str]]:
    token, *items = line.split("\t")
    if not token.strip(" "):
        raise place.error("there is no user before the tab; put a token there")
    if len(items) > 1:
        raise place.error(
            f"{len(items)} tabs; write one between the user and the items, and spaces between items"
        )
    return token, [item for item in items[0].split(" ") if item] if items else []


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
