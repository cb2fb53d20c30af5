"""How the C library gives out memory to the program."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 << 20


def keep_freed_memory() -> None:
    """Lets glibc keep up to 256 MB of freed memory instead of returning it to the system at once.

    Training on a CPU frees and takes the same few tensors of several megabytes thousands of times. By
    default each of them is a new mapping, whose pages the kernel clears one by one: half the time of a
    LightGCN step of 128 dimensions. This is a setting of the whole process and so the program's to make,
    not the library's. Elsewhere than on glibc nothing happens.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def return_freed_memory() -> None:
    """Returns to the system what glibc keeps of freed memory, wherever in the heap it lies.

    What a stage has freed lies in pieces between what it has left, too small for the tables of the next
    one: beside 0.3 GB in use there were 0.4 GB of them. Elsewhere than on glibc nothing happens.
    """
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _glibc(name: str) -> Any:
    """A function of the C library; None where it is none of glibc's."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
