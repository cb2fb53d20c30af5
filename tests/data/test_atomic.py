"""Atomic files are read as they stand: quote marks are characters, and nothing else is read otherwise."""

import numpy as np
import pandas as pd
import pytest
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource

from recbole_ccd.data.new_block import read_new_block
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import DataError
from tests.conftest import write_inter

PAIRS = "user_id:token\titem_id:token"
# pairs of tokens that a reader with quoting would make one, or stumble over
ODD = ['"u3"', "u3", '"u12" jr', '"', 'u"3', '""', " u3", "u3 ", "'u3'", "#u3", "\\u3", "u3\\", "u3,"]
ODD += ["\N{LINE SEPARATOR}u3"]


def columns_of(path, make_config, source=FeatureSource.INTERACTION, **keys):
    """What our reader and RecBole's make of a file, with the properties that they note."""
    dataset = create_stream(make_config(load_col=None, **keys)).dataset
    found = []
    for reader in (type(dataset), Dataset):
        dataset._get_preset()
        feat = reader._load_feat(dataset, str(path), source)
        found.append((feat, dataset.field2type, dataset.field2seqlen, dataset.field2bucketnum))
    return found


@pytest.fixture
def odd_folder(tmp_path):
    """A data set whose users and items, and their features, have every odd token."""
    folder = tmp_path / "odd"
    folder.mkdir()
    rows = [(ODD[n % len(ODD)], ODD[n // len(ODD)], n) for n in range(len(ODD) ** 2 // 2)]
    write_inter(folder / "odd.inter", [*rows, *(("plain", f"i{n}", n) for n in range(99))])
    write_inter(
        folder / "odd.user", [(t, t, f"{t} x") for t in ODD], "user_id:token\tname:token\ttags:token_seq"
    )
    write_inter(folder / "odd.item", [(t, t) for t in ODD], "item_id:token\ttitle:token")
    return tmp_path


def test_tokens_are_taken_literally_in_every_file(odd_folder, make_config):
    keys = {"dataset": "odd", "data_path": odd_folder, "block_ratios": [0.6, 0.4]}
    dataset = create_stream(make_config(**keys, load_col={"inter": "*", "user": "*", "item": "*"})).dataset
    for field in ("user_id", "name"):
        assert set(ODD) <= set(dataset.field2id_token[field])
    assert {f"{token} x".split(" ")[0] for token in ODD} - {""} <= set(dataset.field2id_token["tags"])
    users, tokens = dataset.get_user_feature(), dataset.field2id_token
    shown = zip(
        tokens["user_id"][users["user_id"].numpy()], tokens["name"][users["name"].numpy()], strict=True
    )
    assert all(user == name for user, name in shown if user in ODD)


def test_tokens_of_a_new_block_are_too(tmp_path, make_config):
    write_inter(tmp_path / "new.inter", [(token, token) for token in ODD], PAIRS)
    arrival = read_new_block(make_config(load_col=None), [tmp_path / "new.inter"])
    assert arrival.users.tolist() == arrival.items.tolist() == ODD


@pytest.mark.parametrize("mark", ["\0", "\r"])
@pytest.mark.parametrize(
    "line", [f"u3\ti{{}}3{end}" for end in ("", "\n", "\r\n")] + ["u{}\ti3\n", "u3\ti3{}\r\n"]
)
def test_what_would_end_a_token_is_refused(tmp_path, make_config, mark, line):
    (tmp_path / "new.inter").write_bytes(f"{PAIRS}\nu1\ti1\n{line.format(mark)}".encode())
    with pytest.raises(DataError, match=r"line 3 has a (NUL|carriage return) within it; remove it"):
        read_new_block(make_config(load_col=None), [tmp_path / "new.inter"])


TEXT = "\n".join(
    [
        f"{PAIRS}\trating:float\ttimestamp:float\ttags:token_seq\tvector:float_seq\tnote:token",
        "u1\ti1\t0.30000000000000004\t881250949\ta b  c\t0.1 -2e5\tplain",
        "u2\ti2\t\t1e-320\t\t\tNA",
        "",
        "u1\ti2\t5.\t-7205759403792793.5\tNA x\t3\t a ",
        "u3\ti1\tnan\tinf",
        "  ",
        "u3\ti3\t1E5\t+4\tnull\t1 2 3\té\N{LINE SEPARATOR}",
    ]
)


@pytest.mark.skipif(pd.__version__ >= "3", reason="RecBole's reader ends at a missing sequence")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("keys", [{}, {"seq_len": {"tags": 2}}], ids=str)
def test_without_quote_marks_all_is_as_with_recbole(tmp_path, make_config, end, keys):
    path = tmp_path / "all.inter"
    path.write_bytes(TEXT.replace("\n", end).encode())
    (ours, *properties), (theirs, *expected) = columns_of(path, make_config, **keys)
    assert properties == expected
    assert ours.dtypes.equals(theirs.dtypes) and ours.index.equals(theirs.index)
    for name in theirs:
        for one, other in zip(ours[name], theirs[name], strict=True):
            if isinstance(other, np.ndarray):
                assert one.dtype == other.dtype and one.tolist() == other.tolist()
            else:
                assert one == other or (pd.isna(one) and pd.isna(other)), name


@pytest.mark.parametrize("separator", [",", "::", "|", " ", "é", ".*"])
def test_a_separator_is_no_pattern(tmp_path, make_config, separator):
    rows = [("u1", 'a"b'), ("u+2", "(i)"), ("u1", "x\ty")]
    text = "\n".join(separator.join(row) for row in [PAIRS.split("\t"), *rows]) + "\n"
    (tmp_path / "new.inter").write_text(text, encoding="utf-8")
    arrival = read_new_block(make_config(load_col=None, field_separator=separator), [tmp_path / "new.inter"])
    assert list(zip(arrival.users, arrival.items, strict=True)) == rows


def test_a_sequence_that_is_to_be_numbers(tmp_path, make_config):
    rows = [("u1", "i1", "1 2"), ("u1", "i1", "1 two")]
    write_inter(tmp_path / "new.inter", rows, f"{PAIRS}\tv:float_seq")
    with pytest.raises(
        DataError, match=r"v of data row 2 is '1 two', which are no numbers; correct that row"
    ):
        read_new_block(make_config(load_col=None), [tmp_path / "new.inter"])
