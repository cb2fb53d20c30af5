"""A synthetic stream as a RecBole atomic file: long tails, groups of taste, users and items that keep coming.

``python benchmarks/synthetic.py --users=2000 --items=1000 --interactions=40000 --output=DIR`` writes
``DIR/synthetic/synthetic.inter``. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

START, SPAN = 1_500_000_000, 100_000_000  # seconds since 1970, about three years
SESSION = 6  # interactions of a user that lie together in time
SESSION_LENGTH = 0.002  # as a share of the span
WRITTEN_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class StreamSize:
    """How large a synthetic stream is, and what it looks like.

    Attributes:
        users: number of users, each with three interactions or more.
        items: number of items.
        interactions: number of rows; pairs that cannot be told apart after several draws are left out, so
            that a very dense stream has a few less.
        groups: groups of taste.
        loyalty: share of a user's interactions with items of the own group.
        popularity: exponent of the items' long tail.
        activity: standard deviation of the logarithm of the users' activity.
        early_users: share of the users that arrive in the first half of the span.
        early_items: the same for the items.
    """

    users: int
    items: int
    interactions: int
    groups: int = 40
    loyalty: float = 0.7
    popularity: float = 0.9
    activity: float = 1.0
    early_users: float = 0.8
    early_items: float = 0.9

    def __post_init__(self) -> None:
        """Refuses sizes that make no stream.

        Raises:
            ValueError: the sizes do not fit together.
        """
        if self.interactions < 3 * self.users or self.items < 2 * self.groups:
            raise ValueError("a stream needs three interactions per user and two items per group")
        if self.interactions > self.users * self.items // 4:
            raise ValueError(f"{self.interactions} interactions fill the {self.users} x {self.items} pairs")


class _Catalogue:
    """Items that arrive over time, drawn by popularity among those there at a moment."""

    def __init__(self, arrival: np.ndarray, group: np.ndarray, weight: np.ndarray) -> None:
        self._items = np.lexsort((arrival, group))
        self._keys = group[self._items] + arrival[self._items]
        self._cumulative = np.concatenate([[0.0], np.cumsum(weight[self._items])])
        self._start = np.searchsorted(group[self._items], np.arange(group.max() + 1))

    def draw(self, group: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item per row, of the row's group and arrived by its time, both of shape ``(n,)``."""
        first = self._start[group]
        last = np.maximum(np.searchsorted(self._keys, group + time, side="right"), first + 1)
        low, high = self._cumulative[first], self._cumulative[last]
        place = np.searchsorted(self._cumulative, low + rng.random(len(group)) * (high - low), side="right")
        return self._items[np.clip(place - 1, first, last - 1)]


def _arrivals(n: int, early: float, rng: np.random.Generator) -> np.ndarray:
    """Times in [0, 1), a share ``early`` of them in the first half, and many of those at the very start."""
    times = rng.random(n)
    early_ones = rng.random(n) < early
    return np.where(early_ones, times**2 / 2, (1.0 + times) / 2) * (1.0 - SESSION_LENGTH)


def _visits(size: StreamSize, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """User and time of each row: sessions of about six rows, from the user's arrival on."""
    activity = rng.lognormal(sigma=size.activity, size=size.users)
    activity = np.minimum(activity, 0.1 * size.items / size.interactions * activity.sum())
    extra = size.interactions - 3 * size.users
    count = 3 + rng.multinomial(extra, activity / activity.sum())
    users = np.repeat(np.arange(size.users), count)
    sessions = np.maximum(count // SESSION, 1)
    first_row, first_session = np.cumsum(count) - count, np.cumsum(sessions) - sessions
    arrival = _arrivals(size.users, size.early_users, rng)
    begin = np.repeat(arrival, sessions)
    begin += rng.random(len(begin)) * (1.0 - SESSION_LENGTH - begin)
    begin[first_session] = arrival
    session = (np.arange(len(users)) - np.repeat(first_row, count)) % np.repeat(sessions, count)
    return users, begin[np.repeat(first_session, count) + session] + rng.random(len(users)) * SESSION_LENGTH


def _popularity(size: StreamSize, rng: np.random.Generator) -> np.ndarray:
    """Zipf's law with a flattened head: ``(rank + items / 200) ** -exponent`` in random order."""
    return (rng.permutation(size.items) + 1.0 + size.items / 200) ** -size.popularity


def _repeated(keys: np.ndarray) -> np.ndarray:
    """Rows whose key stands in an earlier row as well."""
    order = np.argsort(keys, kind="stable")
    return order[1:][keys[order[1:]] == keys[order[:-1]]]


def generate(size: StreamSize, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stream in order of time.

    Args:
        size: how large it is.
        seed: seed of everything drawn.

    Returns:
        Users and items, counted from 0, and times in seconds, each of shape ``(n,)``, int64.
    """
    rng = np.random.default_rng(seed)
    users, times = _visits(size, rng)
    group_of_user = rng.integers(size.groups, size=size.users)
    group_of_item = np.arange(size.items) % size.groups
    arrival, weight = _arrivals(size.items, size.early_items, rng), _popularity(size, rng)
    own = _Catalogue(arrival, group_of_item, weight)
    everything = _Catalogue(arrival, np.zeros(size.items, dtype=np.int64), weight)
    items = np.zeros(len(users), dtype=np.int64)
    rows = np.arange(len(users))
    for _ in range(12):
        loyal = rng.random(len(rows)) < size.loyalty
        inside, outside = rows[loyal], rows[~loyal]
        items[inside] = own.draw(group_of_user[users[inside]], times[inside], rng)
        items[outside] = everything.draw(np.zeros(len(outside), dtype=np.int64), times[outside], rng)
        rows = _repeated(users * size.items + items)
        if not len(rows):
            break
    order = np.argsort(times, kind="stable")
    order = order[~np.isin(order, rows)] if len(rows) else order
    return users[order], items[order], START + (times[order] * SPAN).astype(np.int64)


def write(folder: str | Path, name: str, size: StreamSize, seed: int = 0) -> Path:
    """Writes a stream as ``folder/name/name.inter``.

    Args:
        folder: RecBole's ``data_path``.
        name: the data set's name.
        size: how large it is.
        seed: seed of everything drawn.

    Returns:
        The file.
    """
    columns = generate(size, seed)
    path = Path(folder, name, f"{name}.inter")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for start in range(0, len(columns[0]), WRITTEN_AT_ONCE):
            rows = zip(*(part[start : start + WRITTEN_AT_ONCE].tolist() for part in columns), strict=True)
            file.write("".join([f"{user}\t{item}\t{time}\n" for user, item, time in rows]))
    return path


def main() -> None:
    """Writes the stream that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for key in ("users", "items", "interactions"):
        parser.add_argument(f"--{key}", type=int, required=True)
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="synthetic")
    parser.add_argument("--output", required=True, help="the folder to write NAME/NAME.inter into")
    given = parser.parse_args()
    size = StreamSize(given.users, given.items, given.interactions, given.groups)
    print(write(given.output, given.name, size, given.seed))


if __name__ == "__main__":
    main()
