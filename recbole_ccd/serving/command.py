"""What ``run_ccd.py --recommend=…`` and ``run_ccd.py --export=…`` do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from logging import getLogger
from time import perf_counter

import pandas as pd

from recbole_ccd.config.suggestions import suggestion
from recbole_ccd.report.log import RunLog
from recbole_ccd.serving.arguments import EXCLUDED
from recbole_ccd.serving.csv_text import csv_text
from recbole_ccd.serving.export import export_vectors
from recbole_ccd.serving.loading import load_student
from recbole_ccd.serving.output import check_output, is_standard_output, writing
from recbole_ccd.serving.recommender import FOLDED_IN, POPULAR, Recommender
from recbole_ccd.serving.users_file import read_users
from recbole_ccd.utils.console import say
from recbole_ccd.utils.errors import ConfigError, one_line

_KEYS = {
    "recommend": ("recommend", "users", "k", "output", "exclude_seen", "role"),
    "export": ("export", "output"),
}
_NEEDED = {"recommend": ("users", "output"), "export": ("output",)}
_WORDS = {"true": "all", "false": "none"}
# of a number of items; nobody has more, and integers of thousands are not read
_DIGITS = 18
# users who are named, of those who get something else than they might expect
_SHOWN = 3
# users whose recommendations are held at a time, and rows of these
_USERS = 1 << 16
_ROWS = 1 << 21


def is_serving(argv: Sequence[str]) -> bool:
    """Whether arguments ask for recommendations or for an export rather than for a run."""
    return any(text.partition("=")[0] in ("--recommend", "--export") for text in argv)


def serve(argv: Sequence[str]) -> None:
    """Recommends or exports as the arguments say, and prints what was done in a line.

    Args:
        argv: ``--recommend=RUN_DIR --users=FILE --output=FILE.csv`` with ``--k``, ``--exclude_seen`` and
            ``--role`` if wanted, or ``--export=RUN_DIR --output=FILE.npz``.

    Raises:
        CCDError: bad input; nothing has been written then.
    """
    given = _arguments(argv)
    with RunLog(None, "WARNING"):
        lines = _recommend(given) if "recommend" in given else _export(given)
    # what is said does not get into what is written
    say("\n".join(lines), sys.stderr if is_standard_output(given["output"]) else None)


def _export(given: dict[str, str]) -> list[str]:
    check_output(given["output"])
    served = load_student(given["export"])
    export_vectors(served, given["output"])
    return [f"{served}: {given['output']}"]


def _arguments(argv: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in argv:
        key, separator, value = text.removeprefix("--").partition("=")
        if not (text.startswith("--") and separator and value.strip()):
            raise ConfigError(
                f"the argument {one_line(text)!r} (command line) cannot be read; write it as --key=value"
            )
        if given.setdefault(key, value) != value:
            raise ConfigError(f"--{key} occurs twice (command line); give it once")
    if {"recommend", "export"} <= given.keys():
        raise ConfigError("--recommend and --export exclude each other (command line); give one of them")
    task = "recommend" if "recommend" in given else "export"
    for key in given:
        if key not in _KEYS[task]:
            otherwise = f"give one of: {', '.join(sorted(_KEYS[task]))}"
            remedy = suggestion(key, _KEYS[task], otherwise)
            start = f"unknown key {one_line(key)!r} beside --{task} (command line)"
            raise ConfigError(f"{start}; {remedy}")
    for key in _NEEDED[task]:
        if key not in given:
            raise ConfigError(f"--{task} needs --{key}=FILE (command line); give it")
    return given


def _recommend(given: dict[str, str]) -> list[str]:
    k = given.get("k", "20")
    if not (k.isascii() and k.isdigit() and k.strip("0")):
        raise ConfigError(f"k is {one_line(k)!r} (command line); give an integer >= 1")
    if len(k.lstrip("0")) > _DIGITS:
        raise ConfigError(
            f"k is {one_line(k)!r} (command line), more than any number of items; give a smaller one"
        )
    exclude = given.get("exclude_seen", "all").lower()
    exclude = _WORDS.get(exclude, exclude)
    if exclude not in EXCLUDED:
        raise ConfigError(
            f"exclude_seen is {one_line(exclude)!r} (command line); give one of: {', '.join(EXCLUDED)}"
        )
    check_output(given["output"], given["users"])
    users = read_users(given["users"])
    served = load_student(given["recommend"], given.get("role", "student"))
    served.fold_in({token: items for token, items in users.items() if items})
    start = perf_counter()
    told = _write(served, list(users), _length(k, served), exclude, given["output"])
    seconds = perf_counter() - start
    return [
        f"{served}: {len(users)} users ({told.sources}) in {seconds:.1f}s: {given['output']}",
        *told.lines,
    ]


def _length(k: str, served: Recommender) -> int:
    """The length of lists that there can be."""
    n_items = len(served.item_tokens) - 1
    if int(k) > n_items:
        words = "k is %d (command line), more than the %d items, where lists end"
        getLogger("recbole_ccd").warning(words, int(k), n_items)
    return min(int(k), n_items)


@dataclass
class _Named:
    """Users of a kind: how many, and the first of them."""

    n: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, users: Sequence[str]) -> None:
        self.n += len(users)
        self.first += users[: _SHOWN - len(self.first)]

    def __str__(self) -> str:
        more = self.n - len(self.first)
        return ", ".join(one_line(repr(token)) for token in self.first) + (
            f" and {more} more" if more else ""
        )


class _Told:
    """What is said of recommendations that have been written.

    Args:
        role: of the model they come from.
        k: the length of lists.
        all_items: whether that is all items, so that nobody expects as many.
    """

    def __init__(self, role: str, k: int, all_items: bool) -> None:
        self._k, self._all_items = k, all_items
        self._counts = dict.fromkeys((role, POPULAR, FOLDED_IN), 0)
        self._unknown, self._done, self._short = _Named(), _Named(), _Named()

    def add(self, users: Sequence[str], table: pd.DataFrame) -> None:
        """Takes in users and their recommendations, each user once."""
        lengths = table["user"].value_counts()
        first = table[table["rank"] == 1]
        for source, n in first["source"].value_counts().items():
            self._counts[str(source)] += int(n)
        self._unknown.add(first.loc[first["source"] == POPULAR, "user"].tolist())
        self._done.add([user for user in users if user not in lengths.index])
        short = set() if self._all_items else set(lengths.index[lengths < self._k])
        self._short.add([user for user in users if user in short])

    @property
    def sources(self) -> str:
        """How many users got theirs from where."""
        nothing = {"without recommendations": self._done.n} if self._done.n else {}
        return ", ".join(f"{n} {source}" for source, n in {**self._counts, **nothing}.items())

    @property
    def lines(self) -> Iterator[str]:
        """Who got something else than might be expected."""
        if self._unknown.n:
            yield f"popular items are for users who are not known: {self._unknown}"
        if self._done.n:
            yield f"no row is for users who have no item left: {self._done}"
        if self._short.n:
            yield f"fewer than {self._k} rows are for users who have no more items left: {self._short}"


def _write(served: Recommender, users: list[str], k: int, exclude: str, path: str) -> _Told:
    """Writes recommendations user by user."""
    told = _Told(served.about.role, k, all_items=k == len(served.item_tokens) - 1)
    left, header = iter(users), True
    with writing(path) as file:
        while part := list(islice(left, max(min(_USERS, _ROWS // k), 1))):
            table = served.recommend(part, k, exclude)
            file.write(csv_text(table, header).encode("utf-8", "surrogatepass"))
            header = False
            told.add(part, table)
    return told
