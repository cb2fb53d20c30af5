"""What ``run_ccd.py --recommend=…`` and ``run_ccd.py --export=…`` do."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter

import pandas as pd

from recbole_ccd.config.names import suggestion
from recbole_ccd.errors import ConfigError, one_line
from recbole_ccd.serving.export import export_vectors
from recbole_ccd.serving.loading import load_student
from recbole_ccd.serving.output import check_output, writing
from recbole_ccd.serving.served import EXCLUDED, FOLDED_IN, POPULAR, ServedModel
from recbole_ccd.serving.users_file import read_users

_KEYS = {
    "recommend": ("recommend", "users", "k", "output", "exclude_seen", "role"),
    "export": ("export", "output"),
}
_NEEDED = {"recommend": ("users", "output"), "export": ("output",)}
_WORDS = {"true": "all", "false": "none"}
# of a number of items; nobody has more
_DIGITS = 10
# unknown users who are named
_SHOWN = 3
# users whose recommendations are held at a time
_USERS = 1 << 16


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
    if "recommend" in given:
        _recommend(given)
    else:
        check_output(given["output"], given["export"])
        served = load_student(given["export"])
        export_vectors(served, given["output"])
        print(f"{served}: {given['output']}")


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


def _recommend(given: dict[str, str]) -> None:
    k = given.get("k", "20")
    if not (k.isascii() and k.isdigit() and len(k) < _DIGITS and int(k)):
        raise ConfigError(f"k is {one_line(k)!r} (command line); give an integer >= 1")
    exclude = given.get("exclude_seen", "all").lower()
    exclude = _WORDS.get(exclude, exclude)
    if exclude not in EXCLUDED:
        raise ConfigError(
            f"exclude_seen is {one_line(exclude)!r} (command line); give one of: {', '.join(EXCLUDED)}"
        )
    check_output(given["output"], given["recommend"], given["users"])
    users = read_users(given["users"])
    served = load_student(given["recommend"], given.get("role", "student"))
    served.fold_in({token: items for token, items in users.items() if items})
    start = perf_counter()
    sources, unknown = _write(served, list(users), int(k), exclude, Path(given["output"]))
    seconds = perf_counter() - start
    shown = ", ".join(f"{n} {source}" for source, n in sources.items())
    print(f"{served}: {len(users)} users ({shown}) in {seconds:.1f}s: {given['output']}")
    if unknown:
        more = sources[POPULAR] - len(unknown)
        named = ", ".join(one_line(repr(token)) for token in unknown) + (f" and {more} more" if more else "")
        print(f"popular items are for users who are not known: {named}")


def _write(
    served: ServedModel, users: list[str], k: int, exclude: str, path: Path
) -> tuple[dict[str, int], list[str]]:
    """Writes recommendations user by user; returns the number of users by source, and some unknown ones."""
    unknown: list[str] = []
    counts = dict.fromkeys((served.about.role, POPULAR, FOLDED_IN), 0)
    left, header = iter(users), True
    with writing(path) as file:
        while part := list(islice(left, _USERS)):
            table = served.recommend(part, k, exclude)
            file.write(_as_csv(table, header))
            header = False
            first = table[table["rank"] == 1]
            for source, n in first["source"].value_counts().items():
                counts[str(source)] += int(n)
            popular = first.loc[first["source"] == POPULAR, "user"]
            unknown += popular.head(_SHOWN - len(unknown)).tolist()
    return counts, unknown


def _as_csv(table: pd.DataFrame, header: bool) -> bytes:
    text = io.StringIO()
    table.to_csv(
        text,
        index=False,
        header=header,
        float_format="%.7g",
        quoting=csv.QUOTE_MINIMAL,
        lineterminator="\n",
    )
    return text.getvalue().encode("utf-8", "surrogatepass")
