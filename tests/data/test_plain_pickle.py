"""Pickles of plain containers and numbers are read, and nothing in one is ever run."""

import array
import collections
import datetime
import io
import os
import pickle
import pickletools
import types

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_ccd.data import plain_pickle
from recbole_ccd.data.plain_pickle import NotPlainError, read_plain

PLAIN = {
    "numbers": {"a": [1, 2.5, True, None, -(2**70)], "b": (3, b"xyz", "text")},
    "sets": {1: {1, 2}, 2: frozenset({3})},
    "defaultdict": collections.defaultdict(list, {1: [2, 3]}),
    "ordered": collections.OrderedDict([("b", 1), ("a", [2])]),
    "nested": [({"x": [[], {}, ()]},)],
}
ARRAYS = {
    "int64": np.arange(5),
    "int32": np.array([3, -1], dtype=np.int32),
    "big-endian": np.array([1, 2, 300], dtype=">i4"),
    "unsigned": np.array([255, 0], dtype=np.uint8),
    "float32": np.array([0.5, -2.0], dtype=np.float32),
    "bool": np.array([True, False]),
    "empty": np.array([], dtype=np.int64),
    "slice": np.arange(10)[::3],
}


def read(content, protocol):
    return read_plain(io.BytesIO(pickle.dumps(content, protocol)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_containers_are_what_they_were(name, protocol):
    found = read(PLAIN[name], protocol)
    assert found == PLAIN[name]
    assert type(found) in (dict, list)
    if name == "ordered":
        assert list(found) == ["b", "a"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_numbers_become_lists(name, protocol):
    found = read({7: ARRAYS[name]}, protocol)
    assert list(found[7]) == ARRAYS[name].tolist() and isinstance(found[7], list)
    assert all(type(value) in (int, float, bool) for value in found[7])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_become_numbers(protocol):
    found = read({np.int64(3): [np.int32(5), np.float64(0.25), np.uint16(9)]}, protocol)
    assert found == {3: [5, 0.25, 9]} and type(next(iter(found))) is int


class Poison:
    """Whoever unpickles it makes a folder."""

    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


REFUSED = {
    "posix.mkdir": Poison(os.mkdir, "made"),
    "eval": Poison(eval, "__import__('os').mkdir('made')"),
    "getattr": Poison(getattr, "x", "upper"),
    "datetime.date": datetime.date(2024, 1, 1),
    "array.array": array.array("i", [1]),
    "torch._utils._rebuild_tensor_v2": torch.zeros(2),
    "pandas.core.frame.DataFrame": pd.DataFrame({"a": [1]}),
    "types.SimpleNamespace": types.SimpleNamespace(a=1),
    "collections.Counter": collections.Counter("ab"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_anything_else_is_refused_by_name(name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotPlainError, match=rf"it holds .*{name.partition('.')[0]}"):
        read({"train": {1: [2]}, "more": REFUSED[name]}, protocol)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a", "b"]),
        np.array([object()], dtype=object),
        np.array([1 + 2j]),
        np.zeros(2, dtype=[("a", "i4")]),
        np.zeros((2, 2)),
        np.datetime64("2024-01-01"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_anything_but_numbers_are_refused(value, protocol):
    with pytest.raises(NotPlainError):
        read([value], protocol)


# pickles by hand, which call, change or name what no dumps would write
BY_HAND = {
    "types are not called": b"cbuiltins\nlist\n(tR.",
    "bytes are not made of numbers": b"c__builtin__\\nbytes\\n(K\\x05tR.",
    "stand-ins have no attributes": b"cnumpy.core.multiarray\nscalar\n(N}X\x01\x00\x00\x00aK\x01stb.",
    "dotted names": b"\x80\x04\x8c\x0bcollections\x8c\x18defaultdict.__init_subclass__\x93.",
    "modules": b"cos\nsystem\n(X\x04\x00\x00\x00truetR.",
    "persistent ids": b"Pabc\n.",
    "extensions": b"\x80\x02\x82\x01.",
    "types of numbers": b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8tR.",
    "nothing": b"",
    "text": b"user_id:token\titem_id:token\n",
    "half": pickle.dumps({1: list(range(100))})[:-30],
    "empty stack": b".",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_pickles_by_hand_do_nothing_either(name):
    before = dict(vars(plain_pickle))
    if name == "types of numbers":
        # a type alone is harmless, an array of it is not made
        read_plain(io.BytesIO(BY_HAND[name]))
    else:
        with pytest.raises(NotPlainError):
            read_plain(io.BytesIO(BY_HAND[name]))
    assert dict(vars(plain_pickle)) == before


def test_what_is_built_cannot_be_changed_for_the_next_file():
    # sets an attribute of what stands for numpy's types of numbers, by pickle's own way of doing so
    by_hand = b"cnumpy\ndtype\n(NX\x06\x00\x00\x00valuesK\x01tb."
    list(pickletools.genops(by_hand))
    with pytest.raises(NotPlainError):
        read_plain(io.BytesIO(by_hand))
    assert read([np.int64(4)], 4) == [4]
