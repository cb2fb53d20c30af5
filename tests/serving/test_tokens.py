"""Tokens go in and come out as they are, whatever their characters."""

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_ccd.cli import main
from recbole_ccd.serving import Recommender, export_vectors
from recbole_ccd.serving.csv_text import csv_text
from recbole_ccd.serving.users_file import read_users
from recbole_ccd.utils.errors import DataError
from tests.serving.test_command import read_csv, working_folder, write_users

__all__ = ["working_folder"]
# in a line of text all but CR at its end and LF can stand for themselves
LITERAL = [
    '"', '"u1"', "'u1'", 'a "b", c', ",", "a,b", " u1", "u1 ", "a\rb", "\r,", "a\u00a0b", "\u3000", "\u2028",
    "\x0b", "=1+1", "+1", "-1", "@a", "{", "{}", '{"a": 1}', "[1]", "null", "NA", "\\t", "\ufeffu", "猫",
]  # fmt: skip
IN_JSON = [*LITERAL, "a\r", "a\nb", "\n", "a\r\nb", "a\tb", " ", '{"user": "a"}']


def named(served, users, items):
    """The same model with other tokens."""
    users, items = ["[PAD]", *users], ["[PAD]", *items]
    users += served.user_tokens[len(users) :].tolist()
    items += served.item_tokens[len(items) :].tolist()
    return Recommender(served.about, served._record, {"users": users, "items": items})


@pytest.fixture
def serving(served, monkeypatch):
    """Has the program serve a model whose tokens are these."""

    def serve(users, items):
        model = named(served, users, items)
        monkeypatch.setattr("recbole_ccd.serving.command.load_student", lambda *_: model)
        return model

    return serve


def recommended(*more):
    assert main(["--recommend=run", "--users=users.txt", "--output=out.csv", *more]) == 0
    return read_csv()


def test_users_as_text_come_out_as_they_went_in(serving):
    serving(LITERAL, IN_JSON)
    write_users(*LITERAL)
    rows = recommended("--k=60")
    assert list(dict.fromkeys(row["user"] for row in rows)) == LITERAL
    assert {row["source"] for row in rows} == {"student"}
    assert {row["item"] for row in rows} >= set(IN_JSON)
    frame = pd.read_csv("out.csv", dtype={"user": str, "item": str}, keep_default_na=False)
    assert frame["user"].tolist() == [row["user"] for row in rows]
    assert frame["item"].tolist() == [row["item"] for row in rows]


def test_users_as_json_come_out_as_they_went_in(serving):
    serving(IN_JSON, IN_JSON)
    write_users(*(json.dumps({"user": token}, ensure_ascii=n % 2 == 0) for n, token in enumerate(IN_JSON)))
    rows = recommended("--k=3")
    assert list(dict.fromkeys(row["user"] for row in rows)) == IN_JSON
    assert {row["source"] for row in rows} == {"student"}


def test_items_with_spaces_are_told_in_json(serving):
    items = ["two words", "and three words", "a\u00a0b", "x"]
    model = serving(["u"], items)
    lines = [{"user": "new one", "items": items[:2]}, {"user": "u", "items": ["two words"]}, {"user": "w"}]
    write_users(*map(json.dumps, lines), "plain\ta\u00a0b x")
    rows = recommended("--k=5")
    sources = {row["user"]: row["source"] for row in rows}
    assert sources == {"new one": "folded in", "u": "student", "w": "popular", "plain": "folded in"}
    model.fold_in({"new one": items[:2], "plain": items[2:]})
    for user in ("new one", "plain"):
        wanted = model.recommend([user], 5)["item"].tolist()
        assert [row["item"] for row in rows if row["user"] == user] == wanted


def test_what_reading_gives():
    Path("users.txt").write_bytes(
        b'\xef\xbb\xbfu1\r\n\r\n  \nb  c\ti1  i2 \n{"user": "d", "items": []}\n {"user": 7, "items": [8]} \nz'
    )
    assert read_users("users.txt") == {"u1": [], "b  c": ["i1", "i2"], "d": [], "7": ["8"], "z": []}


DEEP = "[" * 100_000
REFUSED = {
    '{"user": null}': "user is None, which is no token",
    '{"user": 1.5}': "user is 1.5, which is no token",
    '{"user": ["a"]}': "user is ['a'], which is no token",
    '{"user": ""}': "there is no user; put a token there",
    '{"user": "a", "items": "b c"}': "items are the text 'b c'; give a list of tokens",
    '{"user": "a", "items": {"b": 1}}': "items are {'b': 1}; give a list of tokens",
    '{"user": "a", "items": [true]}': "items hold True, which is no token",
    '{"user": "a", "item": ["b"]}': "unknown key 'item'; write {",
    '{"user": "\\ud800"}': "a token has half of a surrogate pair",
}
# in a file of JSON lines alone
NO_JSON = {
    "u1": "it is no JSON object with a user; write {",
    "[]": "it is no JSON object with a user; write {",
    '{"items": []}': "it is no JSON object with a user; write {",
    '{"user": "a"': "it is no JSON object with a user; write {",
    f'{{"user": {DEEP}': "it is no JSON object with a user; write {",
}


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        *((name, *case) for case in REFUSED.items() for name in ("users.txt", "users.jsonl")),
        *(("users.jsonl", *case) for case in NO_JSON.items()),
    ],
    ids=lambda value: value[:40],
)
def test_lines_that_cannot_be_understood(name, line, message):
    Path(name).write_text(f'{{"user": "first"}}\n{line}\n')
    with pytest.raises(DataError) as caught:
        read_users(name)
    assert str(caught.value).startswith(f"{name}, line 2: {message}") and "\n" not in str(caught.value)


def test_a_user_in_both_forms():
    Path("users.txt").write_text('u1\n{"user": "u1"}\n')
    with pytest.raises(DataError, match="line 2: user 'u1' stands in line 1 too; remove one"):
        read_users("users.txt")


def test_numbers_are_written_as_ever():
    scores = [0.5, 12.0, -1e-9, 123456789.0, 1 / 3]
    table = pd.DataFrame(
        {"user": list("abcde"), "rank": 1, "item": "i", "score": scores, "source": "student"}
    )
    rows = list(csv.reader(csv_text(table, True).splitlines()))
    assert rows[0] == ["user", "rank", "item", "score", "source"]
    assert [row[3] for row in rows[1:]] == ["0.5", "12", "-1e-09", "1.234568e+08", "0.3333333"]
    assert "\r" not in csv_text(table, True)


def tokens_of(arrays, side):
    """As docs/serving.md reads them."""
    if f"{side}_tokens" in arrays:
        return arrays[f"{side}_tokens"].tolist()
    content, offsets = arrays[f"{side}_token_bytes"].tobytes(), arrays[f"{side}_token_offsets"]
    return [content[a:b].decode() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


@pytest.mark.parametrize("strange", [IN_JSON, ["ends in\0", "\0"], ["x" * 100_000, "", "猫"]])
def test_exported_tokens_are_as_they_are(strange, served):
    model = named(served, strange, strange[:2])
    export_vectors(model, "out.npz")
    with np.load("out.npz", allow_pickle=False) as arrays:
        assert tokens_of(arrays, "user") == model.user_tokens[1:].tolist()
        assert tokens_of(arrays, "item") == model.item_tokens[1:].tolist()
        assert len(arrays) == 6 + sum(f"{side}_token_bytes" in arrays for side in ("user", "item"))


def test_one_long_token_does_not_take_the_room_of_many(served):
    model = named(served, ["x" * 1_000_000], [])
    tracemalloc.start()
    export_vectors(model, "out.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # an array in which all 67 are as long would be of 268 MB
    assert peak < 20_000_000 and Path("out.npz").stat().st_size < 2_000_000
