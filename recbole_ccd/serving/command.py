"""What ``run_ccd.py --recommend=…`` and ``run_ccd.py --export=…`` do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from logging import getLogger
from time import perf_counter
from typing import Any

import pandas as pd

from recbole_ccd.report.log import RunLog
from recbole_ccd.serving.csv_text import csv_text
from recbole_ccd.serving.export import export_vectors
from recbole_ccd.serving.loading import load_student
from recbole_ccd.serving.output import check_output, is_standard_output, writing
from recbole_ccd.serving.recommender import FOLDED_IN, POPULAR, Recommender
from recbole_ccd.serving.users_file import read_users
from recbole_ccd.utils.console import say
from recbole_ccd.utils.errors import one_line

# users who are named, of those who get something else than they might expect
_SHOWN = 3
# users whose recommendations are held at a time, and rows of these
_USERS = 1 << 16
_ROWS = 1 << 21


def export(given: Mapping[str, Any]) -> None:
    """Writes the student's tables, and prints what was done in a line.

    Args:
        given: the arguments of ``--export`` by name.

    Raises:
        CCDError: bad input; nothing has been written then.
    """
    with RunLog(None, "WARNING"):
        check_output(given["output"])
        served = load_student(given["export"])
        export_vectors(served, given["output"])
    _say([f"{served}: {given['output']}"], given["output"])


def recommend(given: Mapping[str, Any]) -> None:
    """Writes recommendations, and prints what was done in a line or a few.

    Args:
        given: the arguments of ``--recommend`` by name.

    Raises:
        CCDError: bad input; nothing has been written then.
    """
    with RunLog(None, "WARNING"):
        lines = _recommend(given)
    _say(lines, given["output"])


def _say(lines: Sequence[str], output: str) -> None:
    """Prints lines so that they do not get into what is written."""
    say("\n".join(lines), sys.stderr if is_standard_output(output) else None)


def _recommend(given: Mapping[str, Any]) -> list[str]:
    check_output(given["output"], given["users"])
    users = read_users(given["users"])
    served = load_student(given["recommend"], given["role"])
    served.fold_in({token: items for token, items in users.items() if items})
    start = perf_counter()
    k = _length(given["k"], served)
    told = _write(served, list(users), k, given["exclude_seen"], given["output"])
    seconds = perf_counter() - start
    return [
        f"{served}: {len(users)} users ({told.sources}) in {seconds:.1f}s: {given['output']}",
        *told.lines,
    ]


def _length(k: int, served: Recommender) -> int:
    """The length of lists that there can be."""
    n_items = len(served.item_tokens) - 1
    if k > n_items:
        words = "k is %d (command line), more than the %d items, where lists end"
        getLogger("recbole_ccd").warning(words, k, n_items)
    return min(k, n_items)


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
