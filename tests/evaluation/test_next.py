"""The next block before it is learned: hand-made matrices, and what is looked at of each block."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from recbole_ccd.data.splitting import PARTS, TEST
from recbole_ccd.evaluation import FullSortEvaluator, StreamResult, summary
from recbole_ccd.evaluation.result import RANDOM
from recbole_ccd.quick_start import create_stream
from recbole_ccd.ranking import tiles
from recbole_ccd.report import final_table
from recbole_ccd.report.tables import next_line
from recbole_ccd.strategy.evaluation import measure_random, random_order
from recbole_ccd.utils.errors import RunError
from tests.evaluation.test_result import CONFIG, metrics
from tests.strategy.runs import write_files

# user a has items 1 to 4, b has 2, 5 and 6
FIRST = {
    "b0.train": [("a", "1"), ("a", "2"), ("b", "2"), ("b", "5")],
    "b0.valid": [("a", "3"), ("b", "6")],
    "b0.test": [("a", "4")],
}
# a comes back to 4, its test item, and twice to 6; c and 7 are new
SECOND = {
    "b1.train": [("a", "4"), ("a", "6"), ("b", "1"), ("c", "1"), ("a", "7")],
    "b1.valid": [("a", "6"), ("b", "3"), ("a", "4")],
    "b1.test": [("a", "5"), ("c", "7"), ("b", "5")],
}


@pytest.fixture
def by_hand(make_config, tmp_path):
    """Makes that stream and its configuration."""

    def make(**keys):
        names = write_files(tmp_path, "hand", {**FIRST, **SECOND})
        where = {"dataset": "hand", "data_path": tmp_path, "benchmark_filename": names, "load_col": None}
        given = {"topk": [2], "valid_metric": "Recall@2", "metrics": ["Recall", "Hit"], **where, **keys}
        config = make_config(**given)
        return config, create_stream(config)

    return make


def tokens(stream, pairs):
    """Pairs of ids as the tokens of a file."""
    names = [stream.dataset.field2id_token[field] for field in ("user_id", "item_id")]
    return {(str(names[0][user]), str(names[1][item])) for user, item in pairs}


def wanted(stream, loader):
    """What is to be found, as often as it counts."""
    _, _, rows, items = loader.collate_fn(list(range(len(loader.uid_list))))
    pairs = list(zip(loader.uid_list[rows].tolist(), items.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return tokens(stream, pairs)


def masked(stream, loader):
    return tokens(stream, zip(*(ids.tolist() for ids in loader.history.nonzero()), strict=True))


def test_all_known_pairs_count_once_and_what_a_user_has_had_is_masked(by_hand):
    config, stream = by_hand()
    loader = stream[1].next_loader(config)
    assert wanted(stream, loader) == {("a", "6"), ("a", "5"), ("b", "1"), ("b", "3")}
    assert masked(stream, loader) == {pair for rows in FIRST.values() for pair in rows}
    # 11 interactions, of which c's two and a's with 7 are of nobody who is known
    assert stream[1].unserved(config) == {"users": 1 / 3, "items": 1 / 6, "interactions": 3 / 11}


def test_with_valid_parts_nothing_else_is_looked_at(by_hand):
    config, stream = by_hand(eval_part="valid")
    loader = stream[1].next_loader(config)
    # that a has had 4 in a test part nobody knows
    assert wanted(stream, loader) == {("a", "6"), ("a", "4"), ("b", "3")}
    assert masked(stream, loader) == {pair for part in ("train", "valid") for pair in FIRST[f"b0.{part}"]}
    assert stream[1].unserved(config) == {"users": 0.0, "items": 0.0, "interactions": 0.0}


def test_recall_by_hand(by_hand):
    config, stream = by_hand()
    ids = {str(token): n for n, token in enumerate(stream.dataset.field2id_token["item_id"])}
    users = {str(token): n for n, token in enumerate(stream.dataset.field2id_token["user_id"])}
    # best first; a has had 1 to 4, so that its list is 5, 6; b has had 2, 5 and 6, so that its is 4, 3
    orders = {"a": "145263", "b": "254631"}
    scores = torch.full((stream[0].n_users, stream[0].n_items), -1.0)
    for user, order in orders.items():
        for place, item in enumerate(order):
            scores[users[user], ids[item]] = 6.0 - place
    evaluator = FullSortEvaluator(config, lambda _: lambda some: scores[some].clone())
    found = evaluator.evaluate(nn.Identity(), stream[1].next_loader(config))
    # a finds both, b the second of its two
    assert found == {"recall@2": 0.75, "hit@2": 1.0}


def test_nothing_is_left_where_everything_is_new_or_had(make_config, tmp_path):
    second = {"b1.train": [("a", "1"), ("c", "1")], "b1.valid": [("c", "9")], "b1.test": [("b", "9")]}
    names = write_files(tmp_path, "none", {**FIRST, **second})
    where = {"dataset": "none", "data_path": tmp_path, "benchmark_filename": names, "load_col": None}
    config = make_config(topk=[2], valid_metric="Recall@2", **where)
    block = create_stream(config)[1]
    assert block.next_loader(config) is None
    assert block.unserved(config) == {"users": 1 / 3, "items": 1 / 2, "interactions": 3 / 4}


@pytest.mark.parametrize("part", ["test", "valid"])
def test_pairs_of_a_longer_stream_are_those_of_a_naive_loop(tiny_stream, make_config, part):
    config, data = make_config(eval_part=part), tiny_stream.dataset
    users, items = (data.inter_feat[field].tolist() for field in ("user_id", "item_id"))
    rows = list(zip(users, items, data.block_of_row.tolist(), data.part_of_row.tolist(), strict=True))
    for k, block in enumerate(list(tiny_stream)[1:]):
        before = tiny_stream[k]
        had = {(u, i) for u, i, b, p in rows if b <= k and (part == "test" or p != TEST)}
        brought = [(u, i) for u, i, b, p in rows if b == k + 1 and (part == "test" or PARTS[p] == "valid")]
        known = {(u, i) for u, i in brought if u < before.n_users and i < before.n_items}
        loader = block.next_loader(config)
        assert wanted(tiny_stream, loader) == tokens(tiny_stream, known - had)
        assert masked(tiny_stream, loader) == tokens(tiny_stream, had)
        strange = [(u, i) for u, i in brought if u >= before.n_users or i >= before.n_items]
        assert block.unserved(config)["interactions"] == pytest.approx(len(strange) / len(brought))
        assert len(strange) and len(known) > len(known - had)


def test_a_random_order_does_not_depend_on_batches_and_finds_its_share(tiny_stream, make_config):
    block = tiny_stream[1]
    found = []
    for size in (200, 2000, 10**6):
        config = make_config(eval_batch_size=size, topk=[20], valid_metric="Recall@20")
        found.append(measure_random(config, block, block.next_loader(config)))
    assert found[0] == found[1] == found[2]
    loader, n_items = block.next_loader(config), tiny_stream[0].n_items - 1
    had = np.diff(loader.history.indptr)[loader.uid_list.numpy()]
    expected = np.mean(20 / (n_items - had))
    assert found[0]["recall@20"] == pytest.approx(expected, abs=0.15)
    other = make_config(seed=3, topk=[20], valid_metric="Recall@20")
    assert measure_random(other, block, block.next_loader(other)) != found[0]


@pytest.mark.parametrize("large", [False, True])
def test_any_order_of_the_items_is_as_likely_for_each_user(tiny_stream, monkeypatch, large):
    monkeypatch.setattr(tiles, "_WORTH", 1 if large else 10**9)
    block, n_draws = tiny_stream[0], 400
    users, cpu = torch.arange(1, block.n_users), torch.device("cpu")
    firsts = torch.zeros(block.n_users, block.n_items)
    for seed in range(n_draws):
        scores = random_order(np.random.default_rng(seed), block, cpu)(users)[:, 1:]
        firsts[users, scores.argmax(1) + 1] += 1
    n = block.n_items - 1
    # each item heads the lists as often, of each user and of all; 1.3 is far beyond five standard errors
    assert firsts[1:, 1:].sum(0).max() < 1.3 * n_draws * len(users) / n
    assert firsts[1:, 1:].max() < n_draws / n + 6 * (n_draws / n) ** 0.5


def test_mean_and_forward_transfer_by_hand() -> None:
    values, random = [0.4, None, 0.2], [0.1, 0.3, 0.06]
    # (0.4 + 0.2) / 2; (0.3 + 0.14) / 2
    expected = {"next": values, "next_mean": pytest.approx(0.3), "FWT": pytest.approx(0.22)}
    assert summary.summarise_next(values, random) == expected
    assert summary.summarise_next([], []) == {"next": [], "next_mean": None, "FWT": None}
    assert summary.summarise_next([0.1], [None]) == {"next": [0.1], "next_mean": 0.1, "FWT": None}
    with pytest.raises(ValueError):
        summary.forward_transfer([0.1], [])


SHARES = {"users": 0.25, "items": 0.5, "interactions": 0.125}


def make_result(n_blocks=3):
    result = StreamResult(CONFIG, n_blocks, [{"users": 10 + k, "items": 20} for k in range(n_blocks)])
    for k in range(n_blocks):
        result.add_row("student", k, [metrics(0.4)] * (k + 1))
    result.add_row("teacher", 0, [metrics(0.5)])
    for role, block, value in (("student", 0, 0.3), ("student", 1, 0.5), ("teacher", 0, 0.4)):
        result.add_next(role, block, metrics(value))
    for block in (0, 1):
        result.add_next(RANDOM, block, metrics(0.1 + block / 10))
    result.add_unserved(0, SHARES)
    return result


def test_the_document_and_back() -> None:
    document = make_result().to_dict()["next"]
    student = {"next": [0.3, 0.5], "next_mean": 0.4, "FWT": pytest.approx(0.25)}
    teacher = {"next": [0.4, None], "next_mean": 0.4, "FWT": pytest.approx(0.3)}
    recall = {"student": student, "teacher": teacher, "random": {"next": [0.1, 0.2]}}
    assert document["metrics"]["recall@20"] == recall
    assert document["metrics"]["ndcg@20"]["student"]["next"] == [0.15, 0.25]
    assert document["unserved"] == [SHARES, None]
    again = StreamResult.from_dict(json.loads(json.dumps(make_result().to_dict(), sort_keys=True)))
    assert again.to_dict() == make_result().to_dict()


def test_a_result_of_an_earlier_version_has_measured_none() -> None:
    document = make_result().to_dict()
    del document["next"]
    result = StreamResult.from_dict(document)
    assert result.next_values("student", "recall@20") == [None, None] and result.unserved == [None, None]
    assert result.to_dict()["next"]["metrics"]["recall@20"] == {}
    assert "before it is learned" not in final_table(result)


def test_what_comes_later_makes_room_for_more() -> None:
    result = make_result()
    result.extend([*result.known, {"users": 20, "items": 20}])
    assert result.next_values("student", "recall@20") == [0.3, 0.5, None]
    result.add_next("student", 2, metrics(0.7))
    assert result.next_summary("student", "recall@20")["next_mean"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("role", "block", "values"),
    [
        ("student", 2, metrics(0.1)),  # the last block of three
        ("student", -1, metrics(0.1)),
        ("nobody", 0, metrics(0.1)),
        ("student", 0, {"recall@20": 0.1}),
        ("random", 0, metrics(math.nan)),
    ],
)
def test_wrong_arguments_are_refused(role, block, values) -> None:
    with pytest.raises(ValueError):
        make_result().add_next(role, block, values)


@pytest.mark.parametrize("shares", [{**SHARES, "users": 1.5}, {"users": 0.1}, {**SHARES, "items": math.nan}])
def test_wrong_shares_are_refused(shares) -> None:
    with pytest.raises(ValueError, match="shares"):
        make_result().add_unserved(0, shares)


def damaged(change):
    document = copy.deepcopy(make_result().to_dict())
    change(document["next"])
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("unserved"),
        lambda found: found["metrics"].pop("ndcg@20"),
        lambda found: found["metrics"]["recall@20"]["student"]["next"].append(0.1),
        lambda found: found["metrics"]["recall@20"]["student"].update(next=["high", 0.1]),
        lambda found: found["unserved"].__setitem__(0, {"users": 2}),
        lambda found: found["metrics"].update({"recall@20": None}),
    ],
)
def test_a_document_that_does_not_fit_is_refused(change) -> None:
    with pytest.raises(RunError, match="does not fit format 1"):
        StreamResult.from_dict(damaged(change))


def test_the_tables_show_it() -> None:
    result = make_result()
    lines = [line.split() for line in final_table(result).splitlines()]
    assert ["1", "0.3000", "0.4000", "0.1000", "0.2500", "0.5000", "0.1250"] in lines
    assert ["mean", "0.4000", "0.4000", *"----"] in lines
    assert ["FWT", "0.2500", "0.3000", *"----"] in lines
    # H, BWT, forgetting and next; the teacher has one row
    assert ["recall@20", "0.4000", "0.0000", "0.0000", "0.4000", "-", "-", "-", "0.4000"] in lines
    assert next_line(result, 0) == (
        "block 1 before it is learned, recall@20: student 0.3000, teacher 0.4000, random 0.1000; "
        "not served: 25.0% of its users, 50.0% of its items, 12.5% of its interactions"
    )
    assert max(map(len, final_table(result).splitlines())) <= 110
