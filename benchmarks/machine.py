"""What this machine can do: memory bandwidth, matrix products, exponentials.

``python benchmarks/machine.py`` prints the rates. The other benchmarks ask :func:`limits` for them
and say how near a path comes to the time that its unavoidable work would take at these rates.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import common  # noqa: F401 - before torch, which reads at its import how threads are to wait
import torch
from common import best_of, print_table
from torch import Tensor

# (rows, inner, columns): scores of a batch of users, teacher and student; the two products of their gradients
SHAPES = (
    (2048, 128, 12000),
    (1024, 128, 11500),
    (1024, 8, 11500),
    (256, 8, 11500),
    (1024, 11500, 8),
    (11500, 1024, 8),
    (11500, 1024, 128),
    (512, 16, 2048),
    (512, 64, 2048),
)
_LARGE = 1 << 26  # elements of an array far beyond all caches: 256 MB of float32
_CACHED = 1 << 20  # elements of an array that stays in the caches: 4 MB


@dataclass(frozen=True)
class Limits:
    """Measured rates, float32.

    Attributes:
        copy: bytes read and written per second by a large copy.
        read: bytes read per second by a large sum.
        triad: bytes read and written per second by ``a = b + 2 c``.
        exp: exponentials per second in arrays that stay in the cache.
        products: floating-point operations per second of a matrix product, by its shape.
    """

    copy: float
    read: float
    triad: float
    exp: float
    products: dict[tuple[int, int, int], float]

    def product(self, rows: int, inner: int, columns: int) -> float:
        """The rate of the measured shape nearest to one, that is with the same narrow side first."""

        def distance(shape: tuple[int, int, int]) -> float:
            wanted = torch.tensor([rows, inner, columns], dtype=torch.float64)
            return float((torch.tensor(shape, dtype=torch.float64) / wanted).log().abs().sum())

        return self.products[min(self.products, key=distance)]


@dataclass
class Work:
    """Work that cannot be avoided, in seconds at the machine's rates.

    The parts are added up: the kernels run one after the other. Matrix products and exponentials are
    counted once per score, memory traffic only for what fits in no cache.

    Attributes:
        limits: the rates.
        seconds: the total so far.
    """

    limits: Limits
    seconds: float = 0.0

    def product(self, rows: float, inner: float, columns: float, times: float = 1) -> Work:
        """Adds matrix products of ``(rows, inner)`` and ``(inner, columns)``."""
        flops = 2.0 * rows * inner * columns
        self.seconds += times * flops / self.limits.product(round(rows), round(inner), round(columns))
        return self

    def exp(self, count: float) -> Work:
        """Adds exponentials."""
        self.seconds += count / self.limits.exp
        return self

    def moved(self, n_bytes: float) -> Work:
        """Adds bytes to read or write."""
        self.seconds += n_bytes / self.limits.triad
        return self

    def share(self, seconds: float) -> float:
        """Which share of the machine's limit a path reaches that took ``seconds``."""
        return self.seconds / seconds


@lru_cache(maxsize=1)
def limits() -> Limits:
    """Measures the machine, once per process; takes a few seconds."""
    return Limits(*_bandwidths(), _exp_rate(), {shape: _product_rate(*shape) for shape in SHAPES})


def _bandwidths() -> tuple[float, float, float]:
    """Bytes per second of a copy, a sum and a triad."""
    a, b, c = (torch.ones(_LARGE) for _ in range(3))
    size = 4.0 * _LARGE
    return (
        2 * size / _fastest(lambda: a.copy_(b)),
        size / _fastest(lambda: b.sum()),
        3 * size / _fastest(lambda: torch.add(b, c, alpha=2.0, out=a)),
    )


def _exp_rate() -> float:
    source = torch.linspace(-10.0, 10.0, _CACHED)
    target = torch.empty_like(source)

    def several() -> None:
        for _ in range(10):
            torch.exp(source, out=target)

    return 10 * _CACHED / _fastest(several)


def _product_rate(rows: int, inner: int, columns: int) -> float:
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    result = torch.empty(rows, columns)

    def product() -> Tensor:
        return torch.mm(left, right, out=result)

    return 2.0 * rows * inner * columns / _fastest(product)


def _fastest(fn: Callable[[], object]) -> float:
    fn()
    return best_of(fn, 15)[1]


def print_limits(found: Limits) -> None:
    """Prints the rates."""
    rows = [
        {"what": "memory, copy (read + write)", "rate": f"{found.copy / 1e9:.1f} GB/s"},
        {"what": "memory, sum (read)", "rate": f"{found.read / 1e9:.1f} GB/s"},
        {"what": "memory, triad (2 reads + write)", "rate": f"{found.triad / 1e9:.1f} GB/s"},
        {"what": "exponentials in the cache", "rate": f"{found.exp / 1e9:.2f} G/s"},
    ]
    for (n, k, m), rate in found.products.items():
        rows.append({"what": f"product ({n} x {k}) @ ({k} x {m})", "rate": f"{rate / 1e9:.0f} GFLOP/s"})
    name = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    print_table(f"This machine ({name}, {torch.get_num_threads()} threads), float32", rows)


if __name__ == "__main__":
    print_limits(limits())
