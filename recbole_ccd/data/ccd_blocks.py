"""The blocks that the authors of CCD publish, as pickles, made into atomic files.

The experiment of Lee, Kang, Kweon, Yu (KDD 2024) reads a pickle per block that holds a train, a valid and a
test dictionary, each with the items of every user. How files and keys are called, and whether several blocks
share a file, is found out rather than asked for: names that say train, valid or test tell the part, the last
number in them the block.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_ccd.config.catalogue import properties, properties_dir
from recbole_ccd.data.plain_pickle import NotPlainError, read_plain
from recbole_ccd.utils.atomic_files import atomic_write, open_input
from recbole_ccd.utils.errors import DataError, one_line

_ENDINGS = (".pickle", ".pkl", ".p")
_HEADER = "user_id:token\titem_id:token\n"
_PARTS = {"train": r"train\w*", "valid": r"val(?:id\w*)?", "test": r"test\w*"}
_LETTERS = {"u": "users", "i": "items"}

Id = int | str
Rows = dict[Id, list[Id]]
"""The items of each user, in the order in which they are written."""


@dataclass
class FoundBlocks:
    """What a folder of pickles holds.

    Attributes:
        blocks: of each block, in order, the three parts by name.
        files: the file, or the files, that each block comes from.
        left: what was left aside, file by file, and why.
    """

    blocks: list[dict[str, Rows]] = field(default_factory=list)
    files: list[list[str]] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Piece:
    """One part of one block, as a file has it."""

    file: str
    block: int
    part: str
    rows: Rows


def read_blocks(folder: str | os.PathLike[str]) -> FoundBlocks:
    """The blocks in a folder of pickles.

    Args:
        folder: the folder; folders in it are looked at too.

    Returns:
        The blocks, and what else is there.

    Raises:
        DataError: If there is no block, one is missing or without a part, or two files hold the same one.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; give the one that holds the pickles of the blocks")
    found, pieces = FoundBlocks(), list[_Piece]()
    for path in _pickles(Path(folder)):
        name = str(path.relative_to(folder))
        try:
            with open_input(path) as file:
                content = read_plain(file)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; make it a file that can be read") from error
        except NotPlainError as error:
            found.left[name] = one_line(str(error))
            continue
        held = list(_pieces_of(name, content))
        if not held:
            found.left[name] = "it holds no train, valid or test dictionaries"
        pieces += held
    _arrange(Path(folder), pieces, found)
    return found


def _pickles(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name.lower().endswith(_ENDINGS))


def _part(text: object) -> str | None:
    """The part that a name is of; None if it is of none or of several."""
    words = re.findall(r"[a-z]+", str(text).lower())
    named = [part for part, form in _PARTS.items() if any(re.fullmatch(form, word) for word in words)]
    return named[0] if len(named) == 1 else None


def _number(text: object) -> int | None:
    """The last number in a name."""
    found = re.findall(r"\d+", str(text))
    return int(found[-1][:9]) if found else None


def _pieces_of(file: str, content: Any) -> Iterator[_Piece]:
    """The parts of blocks that a file holds: of one block, of several, or one part of one or of several."""
    path = Path(file)
    part, number = _part(path.stem), _number(path.stem)
    # files of parts may lie in a folder of their block
    block = next(
        (n for n in (number, *(_number(folder.name) for folder in path.parents)) if n is not None), 0
    )
    if _is_block(content):
        yield from _of_block(file, block, content)
    elif part is not None and (rows := _rows(content)) is not None:
        yield _Piece(file, block, part, rows)
    else:
        yield from _of_several(file, part, content)


def _of_several(file: str, part: str | None, content: Any) -> Iterator[_Piece]:
    """Several blocks, or one part of several where the file or a key says which."""
    for number, entry in _numbered(content):
        if _is_block(entry):
            yield from _of_block(file, number, entry)
        elif part is not None and (rows := _rows(entry)) is not None:
            yield _Piece(file, number, part, rows)
    for key, value in content.items() if isinstance(content, Mapping) and part is None else ():
        named = _part(key)
        if named is not None:
            yield from _of_several(file, named, value)


def _numbered(content: Any) -> Iterator[tuple[int, Any]]:
    if isinstance(content, list | tuple):
        yield from enumerate(content)
    elif isinstance(content, Mapping):
        for place, (key, value) in enumerate(content.items()):
            number = key if isinstance(key, int) else _number(key)
            yield (place if number is None else number), value


def _is_block(content: Any) -> bool:
    """Whether something is a dictionary with the dictionaries of the three parts."""
    if not isinstance(content, Mapping):
        return False
    named = [part for key, value in content.items() if (part := _part(key)) and _rows(value) is not None]
    return sorted(named) == sorted(_PARTS)


def _of_block(file: str, block: int, content: Mapping[Any, Any]) -> Iterator[_Piece]:
    for key, value in content.items():
        part, rows = _part(key), _rows(value)
        if part is not None and rows is not None:
            yield _Piece(file, block, part, rows)


def _rows(content: Any) -> Rows | None:
    """A dictionary with the items of each user; None if it is something else."""
    if not isinstance(content, Mapping):
        return None
    rows = Rows()
    for key, items in content.items():
        user = _id(key)
        if user is None or not isinstance(items, list | tuple | set | frozenset):
            return None
        # a set of texts has another order in each process
        ordered = sorted(items, key=str) if isinstance(items, set | frozenset) else items
        ids = [entry for item in ordered if (entry := _id(item)) is not None]
        if len(ids) < len(ordered):
            return None
        rows[user] = ids
    return rows


def _id(value: Any) -> Id | None:
    """An id of a user or an item; None if it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _arrange(folder: Path, pieces: Iterable[_Piece], found: FoundBlocks) -> None:
    """Puts pieces in the order of blocks."""
    held = dict[int, dict[str, _Piece]]()
    for piece in pieces:
        other = held.setdefault(piece.block, {}).setdefault(piece.part, piece)
        if other is not piece:
            raise DataError(
                f"{folder}: {other.file} and {piece.file} both hold the {piece.part} part of block "
                f"{piece.block}; leave the pickles of one data set there"
            )
    left = "; ".join(f"{name}: {reason}" for name, reason in found.left.items())
    aside = f" (left aside: {one_line(left, 400)})" if left else ""
    if not held:
        raise DataError(
            f"{folder}: no pickle there holds the train, valid and test dictionaries of a block{aside}; give "
            "the folder of one data set of the authors' repository"
        )
    # some count from 1
    first = min(held)
    for number in range(first, max(held) + 1):
        missing = [part for part in _PARTS if part not in held.get(number, {})]
        if first > 1 or missing:
            what = f"the {' and the '.join(missing)} part of block {number}" if first <= 1 else "block 0"
            raise DataError(
                f"{folder}: {what} is missing{aside}; give the folder with all files of one data set"
            )
        found.blocks.append({part: held[number][part].rows for part in _PARTS})
        found.files.append(sorted({piece.file for piece in held[number].values()}))


def convert(folder: str | os.PathLike[str], output: str | os.PathLike[str]) -> list[str]:
    """Makes a data set of the pickles of its blocks: ``NAME.block0.train.inter`` and so on.

    Numbers become tokens as they are in the data of this package's results: user 3 is ``u3``, item 5 ``i5``.

    Args:
        folder: the folder with the pickles.
        output: the folder of the data set, whose name is the data set's; made if it is not there.

    Returns:
        What was found and written, line by line.

    Raises:
        DataError: If the folder does not hold the blocks, or files cannot be written; nothing of the
            data set is left then.
    """
    target = Path(os.path.abspath(output))
    name = target.name
    found = read_blocks(folder)
    wanted = [
        target / f"{name}.block{number}.{part}.inter"
        for number in range(len(found.blocks))
        for part in _PARTS
    ]
    taken = next((path for path in wanted if os.path.lexists(path)), None)
    if not name or taken is not None:
        raise DataError(f"{taken or target}: it is there already; give another --output, or remove it")
    texts = [_text(rows) for block in found.blocks for rows in block.values()]
    written = list[Path]()
    try:
        target.mkdir(parents=True, exist_ok=True)
        for path, text in zip(wanted, texts, strict=True):
            atomic_write(path, text)
            written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise DataError(
            f"{target}: it cannot be written ({error.strerror}); free space or give another --output"
        ) from error
    return _report(found, target)


def _text(rows: Rows) -> str:
    return _HEADER + "".join(
        f"{_token('u', user)}\t{_token('i', item)}\n" for user, items in rows.items() for item in items
    )


def _token(letter: str, value: Id) -> str:
    if isinstance(value, int):
        return f"{letter}{value}"
    if re.search(r"[\t\r\n\0]", value) or not value:
        raise DataError(
            f"{one_line(repr(value))} among the {_LETTERS[letter]} can be no token; remove it from the "
            "pickles"
        )
    return value


def _report(found: FoundBlocks, target: Path) -> list[str]:
    """What was read, what it comes to, and what was left aside."""
    lines, users, items = list[str](), set[Id](), set[Id]()
    for number, (block, files) in enumerate(zip(found.blocks, found.files, strict=True)):
        sizes = ", ".join(f"{sum(map(len, rows.values()))} {part}" for part, rows in block.items())
        before = len(users), len(items)
        for rows in block.values():
            users.update(user for user, entries in rows.items() if entries)
            items.update(item for entries in rows.values() for item in entries)
        new = f"{len(users) - before[0]} new users, {len(items) - before[1]} new items"
        lines.append(f"block {number} ({', '.join(files)}): {sizes} interactions; {new}")
    lines += [f"left aside {name}: {reason}" for name, reason in found.left.items()]
    arguments = [f"--dataset={target.name}", f"--data_path={target.parent}"]
    names = [f"block{number}.{part}" for number in range(len(found.blocks)) for part in _PARTS]
    if properties(properties_dir() / "dataset" / f"{target.name}.yaml").get("benchmark_filename") != names:
        arguments.append(f"--benchmark_filename=[{','.join(names)}]")
    sizes = f"{len(found.blocks)} blocks, {len(users)} users, {len(items)} items"
    return [*lines, f"{target}: {sizes}; run it with {shlex.join(arguments)}"]
