"""Whole rows of scores in falling order, on the CPU by numpy's sorts, which are faster than torch's."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

# Rows that a thread sorts at a time: few enough to stay in its cache.
_SORTED_ROWS = 8


def descending_order(scores: Tensor) -> Tensor:
    """The columns of each row from the highest score to the lowest, ties by column.

    Args:
        scores: (B, n), of any device and type; quickest in float32 on the CPU.

    Returns:
        (B, n) int64 columns.
    """
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return scores.argsort(dim=1, descending=True, stable=True)
    # Adding 0 makes -0.0 equal to 0.0.
    values = (scores.detach() + 0.0).numpy()
    order = torch.empty(scores.shape, dtype=torch.int64)
    places = order.numpy()
    sort_rows = sort_packed if sorts_by_vectors() else sort_by_radix

    def sort(start: int) -> None:
        tile = slice(start, start + _SORTED_ROWS)
        sort_rows(values[tile], places[tile])

    # Numpy releases the interpreter while it sorts, so threads share the rows.
    with ThreadPoolExecutor(max(torch.get_num_threads(), 1)) as pool:
        list(pool.map(sort, range(0, len(values), _SORTED_ROWS)))
    return order


def sorts_by_vectors() -> bool:
    """Whether numpy sorts 64-bit integers by vector instructions here, several times as fast as without."""
    first_version = {"AVX512": "1.25.0", "AVX2": "2.0.0"}.get(torch.backends.cpu.get_cpu_capability())
    return first_version is not None and np.lib.NumpyVersion(np.__version__) >= first_version


def sort_packed(values: np.ndarray, out: np.ndarray) -> None:
    """Orders rows by a sort of value and column in one integer.

    Args:
        values: (B, n) float32 without -0.0.
        out: (B, n) int64, for the columns of each row by falling value, ties by column.
    """
    # Flipping all bits but the sign of a negative number orders floats like integers; ~ reverses that.
    bits = values.view(np.int32)
    out[:] = ~(bits ^ ((bits >> 31) & np.int32(2**31 - 1)))
    out <<= 32
    out |= np.arange(values.shape[1])
    out.sort(axis=1)
    out &= 2**32 - 1


def sort_by_radix(values: np.ndarray, out: np.ndarray) -> None:
    """As :func:`sort_packed`, by numpy's radix sort of the low, then the high 16 bits."""
    n_rows, n = values.shape
    # Flipping the sign bit, or all bits of a negative number, orders floats like unsigned integers.
    bits = values.view(np.int32)
    keys = ~(bits ^ ((bits >> 31) | np.int32(-(2**31))))
    # Places in all rows laid end to end, which numpy takes twice as fast as places in each row.
    starts = np.arange(0, n_rows * n, n)[:, None] if n else np.zeros((n_rows, 1), np.int64)
    low = np.argsort(keys.astype(np.uint16), axis=1, kind="stable") + starts
    high = (keys >> 16).astype(np.uint16).take(low)
    np.subtract(low.take(np.argsort(high, axis=1, kind="stable") + starts), starts, out=out)
