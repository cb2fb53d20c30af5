"""What is missing in files of data, in columns of every kind; the data set that is expected is made by hand.

No other version of pandas is asked: what holds here holds on each that the tests are run with.
"""

import logging
import warnings
from contextlib import contextmanager

import pandas as pd
import pytest
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_ccd.compat import TodaysDataset
from recbole_ccd.data.dataset import IncrementalDataset

COLUMNS = {
    "inter": ["user_id", "item_id", "timestamp", "place", "tags", "rating", "delays"],
    "user": ["user_id", "job", "hobbies", "age", "scores"],
    "item": ["item_id", "brand", "genres", "price", "shape"],
}
# a missing field is empty, or holds what pandas takes for nothing
INTER = """\
user_id:token|item_id:token|timestamp:float|place:token|tags:token_seq|rating:float|delays:float_seq
u1|i1|1|home|a b|2|0.5 1.5
u1|i2|2||||
u2|i1|3|work|b c|4|2.5
u3|i3|4|home|NA|NA|NA
"""
USER = """\
user_id:token|job:token|hobbies:token_seq|age:float|scores:float_seq
u2||||
u1|clerk|x y|20|0.25 0.75
u3|cook|y|40|null
"""
# there is no row of i2
ITEM = """\
item_id:token|brand:token|genres:token_seq|price:float|shape:float_seq
i1|NaN|drama|8|1 2 3
i3|acme||N/A|4
"""
PLAIN = {
    "filter_inter_by_user_or_item": False,
    "field_separator": "|",
    "block_ratios": [0.5, 0.5],
    "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}},
}


@pytest.fixture
def prepared(make_config, tmp_path):
    """Prepares a data set of three files."""
    folder = tmp_path / "gaps"
    folder.mkdir()

    def prepare(inter=INTER, user=USER, item=ITEM, **keys):
        for suffix, text in (("inter", inter), ("user", user), ("item", item)):
            (folder / f"gaps.{suffix}").write_text(text, encoding="utf-8")
        settings = {**PLAIN, "load_col": COLUMNS, **keys}
        return IncrementalDataset(make_config("BPR", "gaps", data_path=tmp_path, **settings))

    return prepare


def held(feat):
    """What a table of a data set holds, in plain numbers."""
    return {name: values.tolist() for name, values in feat.interaction.items()}


def test_interactions(prepared):
    dataset = prepared()
    assert held(dataset.inter_feat) == {
        "user_id": [1, 1, 2, 3],
        "item_id": [1, 2, 1, 3],
        "timestamp": [1, 2, 3, 4],
        "place": [1, 0, 2, 1],
        "tags": [[1, 2], [0, 0], [2, 3], [0, 0]],
        "rating": [2, 3, 4, 3],
        "delays": [[0.5, 1.5], [0, 0], [2.5, 0], [0, 0]],
    }
    tokens = {name: list(dataset.field2id_token[name]) for name in ("place", "tags")}
    assert tokens == {"place": ["[PAD]", "home", "work"], "tags": ["[PAD]", "a", "b", "c"]}


def test_users(prepared):
    feat = prepared().user_feat
    # the row of [PAD] lacks everything
    assert held(feat) == {
        "user_id": [0, 1, 2, 3],
        "job": [0, 1, 0, 2],
        "hobbies": [[0, 0], [1, 2], [0, 0], [2, 0]],
        "age": [30, 20, 30, 40],
        "scores": [[0, 0], [0.25, 0.75], [0, 0], [0, 0]],
    }


def test_items(prepared):
    feat = prepared().item_feat
    assert held(feat) == {
        "item_id": [0, 1, 2, 3],
        "brand": [0, 0, 0, 1],
        "genres": [[0], [1], [0], [0]],
        "price": [8, 8, 8, 8],
        "shape": [[0, 0, 0], [1, 2, 3], [0, 0, 0], [4, 0, 0]],
    }


def test_with_numbers_brought_to_one_scale(prepared):
    dataset = prepared(normalize_all=True)
    # (2, 3, 4, 3), and the entries of all sequences together: from 0.5 to 2.5
    assert held(dataset.inter_feat)["rating"] == [0, 0.5, 1, 0.5]
    assert held(dataset.inter_feat)["delays"] == [[0, 0.5], [0, 0], [1, 0], [0, 0]]
    assert held(dataset.user_feat)["age"] == [0.5, 0, 0.5, 1]
    assert held(dataset.item_feat)["shape"][1] == pytest.approx([0, 1 / 3, 2 / 3])


@pytest.fixture
def gaps():
    """Builds a data set of a class, of prepared columns of each kind with a gap in each."""

    def build(kind):
        feat = pd.DataFrame({"token": [1.0, None], "float": [4.0, None]})
        feat["token_seq"], feat["float_seq"] = [[1, 2], float("nan")], [float("nan"), [0.5]]
        dataset = kind.__new__(kind)
        dataset.feat_name_list, dataset.feat, dataset.logger = ["feat"], feat, logging.getLogger("quiet")
        dataset.field2type = {name: FeatureType(name) for name in feat}
        return dataset

    return build


@pytest.mark.parametrize("copies", [False, True])
def test_what_is_missing_is_filled_whether_or_not_pandas_copies_on_write(copies, gaps):
    dataset = gaps(TodaysDataset)
    with copying(copies):
        dataset._fill_nan()
    feat = dataset.feat
    assert not feat.isna().any(axis=None)
    assert feat["token"].tolist() == [1, 0] and feat["token"].dtype == "int64"
    assert feat["float"].tolist() == [4, 4]
    assert [list(entry) for entry in feat["token_seq"]] == [[1, 2], []]
    assert [list(entry) for entry in feat["float_seq"]] == [[], [0.5]]
    assert feat["token_seq"][1].dtype == "int64" and feat["float_seq"][0].dtype == "float64"


def test_recboles_own_way_leaves_gaps_where_pandas_copies_on_write(gaps):
    dataset = gaps(Dataset)
    dataset.feat = dataset.feat[["token", "float"]]
    with copying(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset._fill_nan()
    assert dataset.feat.isna().sum().tolist() == [1, 1]


@contextmanager
def copying(whether):
    """Lets pandas copy on write; from 3 on it always does."""
    if pd.__version__.startswith("2."):
        with pd.option_context("mode.copy_on_write", whether):
            yield
    else:
        yield
