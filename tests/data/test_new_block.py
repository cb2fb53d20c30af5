"""A new block: its files, how it is divided, and the ids of who is new."""

import numpy as np
import pytest
import torch

from recbole_ccd.data.new_block import NewBlock, divided, new_files, numbered, read_new_block
from recbole_ccd.data.splitting import DROPPED, TEST, TRAIN, VALID, SplitRule, split_parts
from recbole_ccd.utils.errors import ConfigError, DataError
from recbole_ccd.utils.seeding import numpy_generator
from tests.conftest import write_inter

HEADER = "user_id:token\titem_id:token"


def arrival_of(rows, given=None, times=None):
    users, items = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    parts = np.full(len(rows), DROPPED, dtype=np.int8) if given is None else np.array(given, dtype=np.int8)
    return NewBlock(["new.inter"], users, items, parts, times, "", np.ones(len(rows), dtype=bool))


@pytest.fixture
def triple(tmp_path):
    files = {}
    for part in ("valid", "test", "train"):
        files[part] = tmp_path / f"a.{part}.inter"
        write_inter(files[part], [("u1", f"i-{part}"), ("u2", "i0")], HEADER)
    return files


def test_files_by_their_names(triple, tmp_path):
    order = [triple[part] for part in ("train", "valid", "test")]
    assert new_files(list(triple.values())) == order
    assert new_files(",".join(map(str, triple.values()))) == order
    comma = tmp_path / "a,b.inter"
    write_inter(comma, [("u1", "i1")], HEADER)
    assert new_files(comma) == new_files(str(comma)) == new_files([comma]) == [comma]
    with pytest.raises(ConfigError, match="new_block names 2 files; give one, or three, with .train."):
        new_files(order[:2])
    with pytest.raises(ConfigError, match="new_block names 3 files"):
        new_files([order[0], order[0], order[1]])
    with pytest.raises(DataError, match="b.inter: no such file; give new_block an atomic .inter file"):
        new_files(f"{comma}x,{tmp_path / 'b.inter'}".replace(f"{comma}x,", ""))


def test_a_triple_says_who_belongs_where(triple, make_config):
    config = make_config(load_col={"inter": ["user_id", "item_id"]}, benchmark_filename=["b0"])
    arrival = read_new_block(config, new_files(list(triple.values())))
    assert arrival.users.tolist() == ["u1", "u2"] * 3
    assert arrival.items.tolist() == ["i-train", "i0", "i-valid", "i0", "i-test", "i0"]
    assert arrival.given.tolist() == [TRAIN, TRAIN, VALID, VALID, TEST, TEST]
    users, items, parts = divided(arrival, config, 3)
    assert (users.tolist(), items.tolist()) == (arrival.users.tolist(), arrival.items.tolist())
    assert parts.tolist() == arrival.given.tolist()


def test_the_digest_is_of_the_content(tmp_path, make_config):
    config = make_config(load_col=None)
    files = [tmp_path / name for name in ("a.inter", "b.inter", "c.inter", "d.inter")]
    timed = f"{HEADER}\ttimestamp:float"
    write_inter(files[0], [("u1", "i1", 3), ("u2", "i2", 4)], timed)
    write_inter(files[1], [("u1", "i1", 3), ("u2", "i2", 4)], timed)
    write_inter(files[2], [("u1", "i1", 3), ("u2", "i2", 5)], timed)
    write_inter(files[3], [("u1", "i1"), ("u2", "i2")], HEADER)
    digests = [read_new_block(config, [file]).sha256 for file in files]
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_times_give_the_order_and_files_without_them_their_own(tmp_path, make_config):
    config = make_config(eval_args={"split": {"RS": [1.0, 0.0, 0.0]}}, load_col=None)
    rows = [("u1", "i1", 3), ("u2", "i2", 1), ("u3", "i3", 2), ("u4", "i4", 1)]
    arrival = arrival_of(
        [row[:2] for row in rows], [TRAIN, TEST, TRAIN, TRAIN], np.array([3.0, 1.0, 2.0, 1.0])
    )
    users, items, parts = divided(arrival, config, 1)
    assert (users.tolist(), parts.tolist()) == (["u2", "u4", "u3", "u1"], [TEST, TRAIN, TRAIN, TRAIN])
    assert items.tolist() == ["i2", "i4", "i3", "i1"]
    write_inter(tmp_path / "new.inter", [row[:2] for row in rows], HEADER)
    assert read_new_block(config, [tmp_path / "new.inter"]).times is None


def test_a_block_is_split_by_its_own_generator(make_config):
    config = make_config(benchmark_filename=["b0"])
    rows = [(f"u{n % 7}", f"i{n % 11}") for n in range(200)]
    users, items = ([int(row[n][1:]) for row in rows] for n in (0, 1))
    for block, number, purpose in ((4, 0, ("split", 4)), (4, 1, ("split", 4, 1))):
        rng = numpy_generator(config["seed"], *purpose)
        expected = split_parts(np.array(users), np.array(items), SplitRule((0.8, 0.1, 0.1)), rng)
        *tokens, parts = divided(arrival_of(rows), config, block, number)
        assert parts.tolist() == expected[expected != DROPPED].tolist()
        kept = [row for row, part in zip(rows, expected, strict=True) if part != DROPPED]
        assert list(zip(*map(list, tokens), strict=True)) == kept


def test_there_must_be_something_to_learn_and_to_measure_on(make_config):
    config = make_config(benchmark_filename=["b0"])
    few = [("u1", "i1"), ("u2", "i2")]
    with pytest.raises(DataError, match="new.inter: block 2 would have no test interactions; give more rows"):
        divided(arrival_of(few), config, 2)
    with pytest.raises(DataError, match="block 2 would have no train interactions"):
        divided(arrival_of(few, [VALID, TEST]), config, 2)
    with pytest.raises(DataError, match="block 2 would have no valid interactions"):
        divided(arrival_of(few, [TRAIN, TEST]), make_config(eval_part="valid"), 2)
    # what adds to a block need not be measured on
    assert divided(arrival_of(few), config, 2, 1)[2].tolist() == [TRAIN, TRAIN]


def test_new_tokens_get_the_next_ids_in_order_of_arrival():
    known = {"users": ["[PAD]", "a", "b"], "items": ["[PAD]", "x"]}
    rows = (
        np.array(["c", "a", "[PAD]", "c"], dtype=object),
        np.array(["z", "x", "z", "y"], dtype=object),
        np.array([TRAIN, TRAIN, VALID, TEST], dtype=np.int8),
    )
    columns, after = numbered(rows, known)
    assert after == {"users": ["[PAD]", "a", "b", "c", "[PAD]"], "items": ["[PAD]", "x", "z", "y"]}
    assert columns["users"].tolist() == [3, 1, 4, 3] and columns["items"].tolist() == [2, 1, 2, 3]
    assert columns["parts"].tolist() == [0, 0, 1, 2]
    assert [columns[name].dtype for name in ("users", "items", "parts")] == [
        torch.int32,
        torch.int32,
        torch.int8,
    ]
    # the same rows once more bring nobody
    again, same = numbered(rows, after)
    assert same == after and again["users"].equal(columns["users"])
