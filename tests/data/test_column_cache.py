"""Columns from a cache are those of the file as it is, or the file is read."""

import os

import numpy as np
import pytest

import recbole_ccd
from recbole_ccd.data import atomic, dataset
from recbole_ccd.data.column_cache import ColumnCache
from recbole_ccd.data.new_block import read_new_block
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import DataError
from tests.conftest import write_inter

HEADER = (
    "user_id:token\titem_id:token\ttimestamp:float\trating:float\tplace:token\ttags:token_seq\tv:float_seq"
)
ROWS = [
    ('"u3"', "007", 1, 0.30000000000000004, "home", "a b", "0.5 1.5"),
    ("u3", "7", 2, "", "NA", "", ""),
    (" u3", "7.0", 3, "5.", "", "b c", "-2e5"),
    ("u\N{LINE SEPARATOR}é", "007", 4, "null", "hö", "NA", "3"),
    *((f"u{n % 7}", f"i{n % 11}", 5 + n, n / 3, "home", "c", "1") for n in range(60)),
]
COLUMNS = ["user_id", "item_id", "timestamp", "rating", "place", "tags", "v"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own").mkdir()
    write_inter(tmp_path / "own" / "own.inter", ROWS, HEADER)
    # nothing is ever in this one
    write_inter(tmp_path / "own" / "own.user", [("u1", ""), ("u2", "NA")], "user_id:token\tjob:token")
    return tmp_path


@pytest.fixture
def read(folder, make_config, monkeypatch):
    """Reads the data set, and says which files' text was read, and what there is then."""

    def load(columns=COLUMNS, cached=True, **keys):
        seen = []

        def noted(path, *arguments):
            seen.append(os.path.basename(path))
            return atomic.read_columns(path, *arguments)

        monkeypatch.setattr(dataset, "read_columns", noted)
        cache = {"data_cache": str(folder / "cache")} if cached else {}
        load_col = {"inter": columns, "user": ["user_id", "job"]}
        own = {"dataset": "own", "data_path": folder, "load_col": load_col, "block_ratios": [0.6, 0.4]}
        found = create_stream(make_config(**{**own, "filter_inter_by_user_or_item": False, **cache, **keys}))
        return seen, held(found)

    return load


def held(stream):
    """Everything that a stream holds, in plain values."""
    of, tables = stream.dataset, (stream.dataset.inter_feat, stream.dataset.user_feat)
    values = [{name: (str(v.dtype), v.tolist()) for name, v in feat.interaction.items()} for feat in tables]
    tokens = {name: list(map(str, found)) for name, found in of.field2id_token.items()}
    given = [of.given_in(block).pairs.tolist() for block in range(of.n_blocks)]
    properties = (of.field2type, of.field2seqlen, of.field2bucketnum, of.field2source)
    return values, tokens, given, properties, of.block_of_row.tolist(), stream.fingerprint


BOTH = ["own.inter", "own.user"]


def test_what_is_read_is_the_same_without_a_cache_with_a_new_one_and_with_a_fresh_one(read, folder):
    seen, expected = read(cached=False)
    assert seen == BOTH and not (folder / "cache").exists()
    assert {'"u3"', "u3", " u3"} <= set(expected[1]["user_id"])
    assert {"007", "7", "7.0"} <= set(expected[1]["item_id"])
    assert read() == (BOTH, expected)
    assert read() == ([], expected)
    assert read(benchmark_filename=None) == ([], expected)


def test_frames_are_the_same_to_the_type_of_each_entry(folder):
    path = str(folder / "own" / "own.inter")
    header = atomic.read_header(path, "\t")
    expected = atomic.read_columns(path, header, list(header), "\t")
    cache = ColumnCache(str(folder), path, "\t", header)
    assert cache.load() is None
    cache.save(expected)
    found = cache.load()
    assert found.dtypes.equals(expected.dtypes) and found.index.equals(expected.index)
    for name in expected:
        pairs = zip(found[name], expected[name], strict=True)
        assert all(type(one) is type(other) and (one == other or other != other) for one, other in pairs)


def changed_file(folder, monkeypatch):
    path = folder / "own" / "own.inter"
    times = path.stat()
    # of the same size and the same moment
    path.write_bytes(path.read_bytes().replace(b"007", b"008"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def other_version(folder, monkeypatch):
    monkeypatch.setattr(recbole_ccd, "__version__", "0.0.0")


def damaged(folder, monkeypatch):
    for path in (folder / "cache").glob("own.inter*"):
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(whole)


def cut_off(folder, monkeypatch):
    for path in (folder / "cache").glob("own.inter*"):
        path.write_bytes(path.read_bytes()[:-200])


def of_another_file(folder, monkeypatch):
    (path,) = (folder / "cache").glob("own.inter*")
    (other,) = (folder / "cache").glob("own.user*")
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("change", [changed_file, other_version, damaged, cut_off, of_another_file])
def test_what_is_out_of_date_or_damaged_is_not_used_and_replaced(change, read, folder, monkeypatch):
    read()
    change(folder, monkeypatch)
    _, expected = read(cached=False)
    seen, found = read()
    assert "own.inter" in seen and found == expected
    assert read() == ([], expected)
    assert len(list((folder / "cache").iterdir())) == 2


def test_other_columns_are_read_and_kept_beside(read):
    few = COLUMNS[:3]
    read()
    expected = read(few, cached=False)[1]
    assert read(few) == (["own.inter"], expected)
    assert read(few) == read(few) == ([], expected)
    assert read()[0] == []


def test_a_column_of_another_type_is_another_one(read, folder):
    path = folder / "own" / "own.inter"
    read()
    path.write_text(path.read_text("utf-8").replace("rating:float", "rating:token"), "utf-8")
    expected = read(cached=False)[1]
    assert read() == (["own.inter"], expected)


def test_a_file_that_changes_while_it_is_read_is_not_kept(folder):
    path = folder / "own" / "own.inter"
    header = atomic.read_header(str(path), "\t")
    cache = ColumnCache(str(folder / "cache"), str(path), "\t", header)
    assert cache.load() is None
    cache.check_writable()
    feat = atomic.read_columns(str(path), header, list(header), "\t")
    path.write_bytes(path.read_bytes() + b"u1\ti1\t99\n")
    cache.save(feat)
    assert not list((folder / "cache").iterdir())


def test_rows_are_looked_at_before_anything_is_kept(read, folder):
    with open(folder / "own" / "own.inter", "a", encoding="utf-8") as file:
        file.write("u1\ti1\t99" + "\t1" * 9 + "\n")
    with pytest.raises(DataError, match="line 66 has 12 fields under 7 columns; give each row one"):
        read()
    assert not (folder / "cache").exists()


def test_a_folder_that_cannot_be_written_is_refused(read, folder):
    (folder / "cache").write_text("")
    with pytest.raises(DataError, match="cache: no cache of columns .*let data_cache name a folder that can"):
        read()


def test_a_new_block_is_not_cached(folder, make_config):
    config = make_config(load_col=None, data_cache=str(folder / "cache"))
    read_new_block(config, [folder / "own" / "own.inter"])
    assert not (folder / "cache").exists()


@pytest.mark.parametrize("separator", ["\t", "a", "\r"])
def test_many_rows_at_once_are_refused_as_each_by_itself_would_be(separator, tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_CHUNK", 7)
    path, rng = tmp_path / "any.inter", np.random.default_rng(0)
    characters = [separator.encode(), b"\n", b"x", b"yy", "é".encode(), b"\r\n", b"\r", b"\0", b"\xe2"]
    odds = np.array([4, 4, 8, 8, 4, 2, 0.2, 0.2, 0.2])
    outcomes = set()
    for _ in range(150):
        rows = b"".join(rng.choice(np.array(characters, dtype=object), 15, p=odds / odds.sum()))
        path.write_bytes(separator.join(["b:token", "c:token", "d:token\n"]).encode() + rows)
        found = []
        for at_once in (True, False):
            with monkeypatch.context() as patch:
                if not at_once:
                    patch.setattr(atomic, "_rows_are_plain", lambda *_: False)
                try:
                    found.append(atomic.check_rows(str(path), separator, 3))
                except DataError as error:
                    found.append(str(error).split(";")[0])
        assert found[0] == found[1], rows
        outcomes.add(found[0] is None)
    assert outcomes == {True, False} or separator == "\r"
