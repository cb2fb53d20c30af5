"""How a block is divided: RecBole's orders, groups and leave-one-out, against its own and by hand."""

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_ccd import create_stream
from recbole_ccd.data.new_block import divided
from recbole_ccd.data.splitting import DROPPED, TEST, TRAIN, VALID, SplitRule, split_parts
from recbole_ccd.utils.errors import DataError
from tests.config.refused import refused
from tests.conftest import tiny_rows, write_inter
from tests.data.test_new_block import arrival_of

SHARES = {"RS": [0.8, 0.1, 0.1]}


def rule(split=None, order="RO", group_by="user"):
    return SplitRule.of({"split": split or SHARES, "order": order, "group_by": group_by})


def split(users, rule, times=None, items=None, seed=0):
    items = np.zeros(len(users), dtype=int) if items is None else np.array(items)
    times = None if times is None else np.array(times)
    return split_parts(np.array(users), items, rule, np.random.default_rng(seed), times)


def test_by_time_the_last_of_each_user_is_held_out_valid_before_test():
    users = [1, 2, 1, 1, 2, 1, 2]
    times = [9, 5, 1, 7, 4, 3, 6]
    parts = split(users, rule(order="TO"), times)
    # user 1 has 1, 3, 7, 9; user 2 has 4, 5, 6
    assert parts.tolist() == [TEST, VALID, TRAIN, VALID, TRAIN, TRAIN, TEST]


def test_of_one_moment_the_first_row_comes_first():
    assert split([1] * 5, rule(order="TO"), [3] * 5).tolist() == [TRAIN] * 3 + [VALID, TEST]


def test_nothing_is_drawn_by_time():
    rng = np.random.default_rng(4)
    users, times = rng.integers(0, 9, 200), rng.permutation(200)
    one, other = (split(users, rule(order="TO"), times, seed=seed) for seed in (1, 2))
    assert (one == other).all()
    one, other = (split(users, rule(), times, seed=seed) for seed in (1, 2))
    assert (one != other).any()


@pytest.mark.parametrize("group_by", ["user", "none"])
def test_by_time_it_is_recboles_split(tmp_path, group_by):
    rng = np.random.default_rng(3)
    # ten rows each, so that the shares are whole numbers, of every item, so that nothing is dropped
    users, items = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)
    times = rng.permutation(200)
    (tmp_path / "own").mkdir()
    rows = [(f"u{u}", f"i{i}", t) for u, i, t in zip(users, items, times, strict=True)]
    write_inter(tmp_path / "own" / "own.inter", rows)
    args = {"split": SHARES, "order": "TO", "group_by": group_by, "mode": "full"}
    keys = {"data_path": str(tmp_path), "load_col": None, "eval_args": args, "state": "critical"}
    theirs = Dataset(Config("BPR", "own", config_dict=keys)).build()
    parts = split(users, rule(order="TO", group_by=group_by), times, items)
    assert DROPPED not in parts
    for part, dataset in zip((TRAIN, VALID, TEST), theirs, strict=True):
        assert sorted(dataset.inter_feat["timestamp"].tolist()) == sorted(times[parts == part].tolist())


@pytest.mark.parametrize(
    ("mode", "counts"),
    [("valid_and_test", (3, 1, 1)), ("valid_only", (4, 1, 0)), ("test_only", (4, 0, 1))],
)
@pytest.mark.parametrize("order", ["TO", "RO"])
def test_one_is_left_out_for_each_part(mode, counts, order):
    parts = split([1] * 5, rule({"LS": mode}, order), [5, 4, 3, 2, 1])
    assert tuple(int(np.sum(parts == part)) for part in (TRAIN, VALID, TEST)) == counts
    if order == "TO":
        assert parts[0] == (VALID if mode == "valid_only" else TEST)
        # whoever has no more than are left out keeps all for training
        few = split([1] * sum(counts[1:]), rule({"LS": mode}, order), np.arange(sum(counts[1:])))
        assert set(few.tolist()) == {TRAIN}


def test_leave_one_out_by_time_is_recboles():
    users = np.repeat(np.arange(6), [3, 4, 5, 6, 7, 8])
    times = np.random.default_rng(1).permutation(len(users))
    parts = split(users, rule({"LS": "valid_and_test"}, "TO"), times)
    frame = pd.DataFrame({"user": users, "time": times, "part": parts}).sort_values("time")
    for _, rows in frame.groupby("user"):
        assert rows["part"].tolist() == [TRAIN] * (len(rows) - 2) + [VALID, TEST]


def test_as_a_whole_the_rows_of_all_users_are_divided_together():
    # 20 rows: two for test and two for valid, whoever has done them
    users, times = [1] * 17 + [2, 1, 2], np.arange(20)
    parts = split(users, rule(order="TO", group_by="none"), times)
    # the last two rows of user 2 have nothing to be learned from
    assert parts.tolist() == [TRAIN] * 16 + [VALID, DROPPED, TEST, DROPPED]
    assert split([2, *users[1:]], rule(order="TO", group_by=None), times)[-1] == TEST


def test_held_out_items_must_be_trained_by_time_too():
    parts = split([1] * 4, rule(order="TO"), [1, 2, 3, 4], items=[0, 0, 0, 7])
    assert parts.tolist() == [TRAIN, TRAIN, DROPPED, DROPPED]


def stream_by_time(make_config, **keys):
    return create_stream(make_config(eval_args={"order": "TO"}, **keys))


def check_order(stream):
    for block in stream:
        frames = [part.inter_feat for part in (block.train, block.valid, block.test)]
        for earlier, later in zip(frames, frames[1:], strict=False):
            last, first = (
                pd.DataFrame({"u": f["user_id"].numpy(), "t": f["timestamp"].numpy()}).groupby("u")["t"]
                for f in (earlier, later)
            )
            common = last.max().index.intersection(first.min().index)
            assert len(common)
            assert (last.max()[common] <= first.min()[common]).all()


def test_a_stream_in_order_of_time_within_each_block(make_config, tiny_stream):
    stream = stream_by_time(make_config)
    check_order(stream)
    with pytest.raises(AssertionError):
        check_order(tiny_stream)
    # where blocks begin and end is the same
    assert [(b.n_users, b.n_items) for b in stream] != []
    assert stream.dataset.n_blocks == tiny_stream.dataset.n_blocks


def test_so_do_blocks_that_come_in_files(make_config, tmp_path):
    (tmp_path / "own").mkdir()
    rows = tiny_rows()
    # files are not in order of time
    for number, part in enumerate((rows[:1500], rows[1500:])):
        write_inter(tmp_path / "own" / f"own.b{number}.inter", part[::-1])
    keys = {"dataset": "own", "data_path": tmp_path, "benchmark_filename": ["b0", "b1"]}
    check_order(stream_by_time(make_config, **keys))
    for number, part in enumerate((rows[:1500], rows[1500:])):
        path = tmp_path / "own" / f"own.b{number}.inter"
        write_inter(path, [row[:2] for row in part], "user_id:token\titem_id:token")
    with pytest.raises(DataError, match="own: eval_args.order is TO, and there is no column 'timestamp'.*RO"):
        stream_by_time(make_config, **keys)


def test_a_new_block_is_divided_by_the_same_rule(make_config):
    config = make_config(eval_args={"order": "TO"}, benchmark_filename=["b0"])
    rows = [("u1", f"i{n % 2}") for n in range(6)]
    with pytest.raises(DataError, match="eval_args.order is TO"):
        divided(arrival_of(rows), config, 1)


def test_one_rule_takes_the_place_of_another(make_config):
    config = make_config(eval_args={"split": {"LS": "valid_and_test"}})
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    stream = create_stream(config)
    assert all(len(block.test) and len(block.valid) for block in stream)
    assert max(np.bincount(stream[0].test.inter_feat["user_id"].numpy())) == 1


def test_what_cannot_be_done_is_refused_with_the_reason():
    def of(**args):
        return {"config_dict": {"eval_args": args}}

    refused(
        "eval_args.mode is 'uni100'",
        "as all known items are ranked and none are sampled",
        **of(mode="uni100"),
    )
    refused("eval_args.split is {'TS': [0.8, 0.1, 0.1]}", **of(split={"TS": [0.8, 0.1, 0.1]}))
    refused("eval_args.split is {'LS': 'both'}", **of(split={"LS": "both"}))
    refused("eval_args.group_by is 'item'", "one of: user, none, ~", **of(group_by="item"))
    refused("eval_args.group_by is 'none'", "LS", **of(split={"LS": "test_only"}, group_by="none"))
