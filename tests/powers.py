"""Permissions count for root too, where Linux can arrange it."""

import ctypes
import os
import sys
from contextlib import contextmanager

import pytest

# of linux/capability.h: its version 3, and the rights to pass over the permissions of files
_VERSION, _OVERRIDE = 0x20080522, 1 << 1 | 1 << 2


@contextmanager
def permissions_count():
    """What this thread may do to files is what their permissions say, as long as this is entered."""
    before = _effective(lambda powers: powers & ~_OVERRIDE)
    try:
        yield
    finally:
        _effective(lambda _: before)


def _effective(change):
    """Changes the capabilities that are in force and returns those before; nothing where there are none."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return 0
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(_VERSION, 0)
    # effective, permitted and inheritable ones, the lower half and the upper half
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        return 0
    before, sets[0] = sets[0], change(sets[0])
    libc.capset(header, sets)
    return before


def skip_if_readable(path):
    """Skips where a file that nobody may read can be read all the same."""
    if _possible(lambda: path.open().close()):
        pytest.skip("permissions do not count here")


def skip_if_writable(folder):
    """Skips where a folder that nobody may write to can be written to all the same."""
    if _possible((folder / "touched").touch):
        (folder / "touched").unlink()
        pytest.skip("permissions do not count here")


def _possible(attempt):
    try:
        attempt()
    except PermissionError:
        return False
    return True
