"""How the C library gives out memory to the program."""

from __future__ import annotations

import ctypes
import sys

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
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
