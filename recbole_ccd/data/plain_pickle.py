"""Pickles of plain containers and numbers, read without running any of the code that a pickle can name.

Pickle's machine builds what a file says by calling what the file names. Here a name leads to one of the few
stand-ins below, which build lists, sets, dictionaries and numbers out of their arguments, or nowhere.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

_NUMBER = re.compile(r"[<>|=]?[biuf]\d{1,2}")
_DAMAGED = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError),
    *(ArithmeticError, MemoryError, RecursionError, AssertionError),
)


class NotPlainError(Exception):
    """A pickle holds something else than plain containers and numbers, or cannot be read."""


class _Kind:
    """Stands for a NumPy type of numbers."""

    def __init__(self, code: str, *_: Any) -> None:
        self._code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # byte order is what a type of numbers has beside its code
        self._code = f"{state[1]}{self._code.lstrip('<>|=')}"

    def values(self, data: Any) -> np.ndarray:
        """The numbers that some bytes hold."""
        if not isinstance(self._code, str) or not _NUMBER.fullmatch(self._code):
            raise NotPlainError(f"it holds an array of the type {self._code!r}")
        if not isinstance(data, bytes | bytearray):
            raise NotPlainError("it holds an array that is not written as bytes")
        return np.frombuffer(data, np.dtype(self._code))


class _Array(list[Any]):
    """Stands for a NumPy array, and becomes the list of its numbers."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, _, data = state
        self[:] = _listed(kind, data, shape)


def _listed(kind: Any, data: Any, shape: Any) -> list[Any]:
    if not isinstance(kind, _Kind) or not isinstance(shape, tuple) or len(shape) != 1:
        raise NotPlainError("it holds an array that is no plain list of numbers")
    return kind.values(data).tolist()


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _array_of_buffer(data: Any, kind: Any, shape: Any, *_: Any) -> list[Any]:
    return _listed(kind, data, shape)


def _number(kind: Any, data: Any) -> int | float:
    if not isinstance(kind, _Kind):
        raise NotPlainError("it holds a number of no type")
    (value,) = kind.values(data).tolist()
    return value


def _plain_dict(*arguments: Any) -> dict[Any, Any]:
    # of a defaultdict the factory, of an ordered one the pairs that old versions have written
    return dict(*[given for given in arguments if isinstance(given, list)])


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise NotPlainError(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    # how old protocols write that there are none
    return b""


def _factory(*_: Any) -> None:
    raise NotPlainError("it calls a type")


_BUILTINS: dict[str, Callable[..., Any]] = {
    "set": set,
    "frozenset": frozenset,
    "bytes": _no_bytes,
    **dict.fromkeys(("list", "dict", "int", "float"), _factory),
}
_ARRAYS: dict[str, Callable[..., Any]] = {"scalar": _number, "_reconstruct": _empty_array}
_STAND_INS: dict[str, dict[str, Callable[..., Any]]] = {
    **dict.fromkeys(("builtins", "__builtin__"), _BUILTINS),
    "collections": {"defaultdict": _plain_dict, "OrderedDict": _plain_dict},
    "_codecs": {"encode": _bytes},
    "numpy": {"dtype": _Kind, "ndarray": _Array},
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"), _ARRAYS),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), {"_frombuffer": _array_of_buffer}),
}


class _StandIn:
    """What a name in a pickle leads to: it can be called, and not changed."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise NotPlainError("it changes what it is built by")


class _PlainUnpickler(pickle.Unpickler):
    """Pickle's machine with nothing to call but the stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name.

        Raises:
            NotPlainError: there is none.
        """
        found = _STAND_INS.get(module, {}).get(name)
        if found is None:
            raise NotPlainError(f"it holds {module}.{name}")
        return _StandIn(found)

    def persistent_load(self, pid: Any) -> Any:
        """Refuses what lies outside of the file.

        Raises:
            NotPlainError: always.
        """
        raise NotPlainError("it refers to something outside of the file")


def read_plain(file: BinaryIO) -> Any:
    """What a pickle of plain containers and numbers holds.

    Args:
        file: the pickle; nothing is looked for behind its end.

    Returns:
        Lists, tuples, sets, dictionaries, texts and numbers; of a NumPy array with one axis the list of its
        numbers, of a ``defaultdict`` a dictionary.

    Raises:
        NotPlainError: It holds something else, which is named, or cannot be read.
    """
    try:
        return _PlainUnpickler(file).load()
    except _DAMAGED as error:
        raise NotPlainError(f"it cannot be read ({type(error).__name__}: {error})") from error
