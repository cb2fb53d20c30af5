"""What the benchmarks share: the data, clocks, memory and tables.

Importing this module also makes the package of this checkout importable when it is not installed, so it comes
before ``recbole_ccd``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

sys.path.append(str(Path(__file__).resolve().parent.parent))

from recbole_ccd.utils.openmp import yield_to_other_programs  # noqa: E402

# as the program does, and before torch is imported
yield_to_other_programs()
# RecBole on newer versions of pandas and torch, and torch on its sparse tensors
warnings.filterwarnings("ignore", category=FutureWarning)
warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
warnings.filterwarnings("ignore", message="torch.sparse.SparseTensor")

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.stream import BlockStream

MB = 1e6
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_SAMPLED_EVERY = 0.002  # seconds between two looks at the memory, where the kernel keeps no resettable peak


def yelp(data_path: str | Path, **settings: Any) -> tuple[CCDConfig, BlockStream]:
    """The paper's Yelp blocks.

    Args:
        data_path: the folder that holds ``yelp-ccd/yelp-ccd.block0.train.inter`` and so on.
        **settings: keys laid over those of ``results/settings/yelp.yaml``.

    Returns:
        The configuration, for the CPU and without progress bars, and the stream.
    """
    from recbole_ccd import CCDConfig, create_stream

    quiet = {"data_path": str(data_path), "use_gpu": False, "show_progress": False}
    # loaders are gone through without a model that could choose among candidates, and references distil to
    # embeddings that are not propagated
    plain = {"train_neg_sample_args": {"dynamic": False, "candidate_num": 0}, "distill_layer": "ego"}
    tuned = Path(__file__).parents[1] / "results/settings/yelp.yaml"
    config = CCDConfig("LightGCN", "yelp-ccd", [tuned], config_dict={**quiet, **plain, **settings})
    return config, create_stream(config)


def parser(description: str) -> argparse.ArgumentParser:
    """A command line with ``--data_path``, which every benchmark on real data needs."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--data_path", required=True, help="the folder that holds yelp-ccd/")
    return result


class Timer:
    """Wall-clock seconds of a ``with`` block, in ``seconds`` once it is left."""

    def __enter__(self) -> Timer:
        """Starts the clock."""
        self._start = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops it."""
        self.seconds = perf_counter() - self._start


def best_of(fn: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Median and least seconds of a call.

    Args:
        fn: what to time; call it once beforehand if its first call is special.
        repeats: how often.
    """
    seconds = []
    for _ in range(repeats):
        with Timer() as timer:
            fn()
        seconds.append(timer.seconds)
    return median(seconds), min(seconds)


def peak_memory(fn: Callable[[], Any]) -> float:
    """How far a call drives the process's resident memory above what it was before, in MB (10**6 bytes)."""
    with _watched() as growth:
        fn()
    return growth[0]


@dataclass
class Measured:
    """What a call took.

    Attributes:
        seconds: wall-clock time; the median of several calls.
        peak_mb: greatest growth of the resident memory during the calls, in MB.
        note: how the time was found where that is not by timing the whole.
        result: what the last call returned.
    """

    seconds: float
    peak_mb: float
    note: str = ""
    result: Any = None

    def scaled(self, factor: float, note: str) -> Measured:
        """The same for ``factor`` times the work; memory does not grow with it."""
        return Measured(self.seconds * factor, self.peak_mb, note, self.result)


def measure(fn: Callable[[], Any], repeats: int = 1) -> Measured:
    """Time and memory of a call in one go.

    Args:
        fn: what to measure.
        repeats: how often; the time is the median, the memory the greatest.
    """
    seconds, peaks, result = [], [], None
    for _ in range(repeats):
        result = None
        with _watched() as growth, Timer() as timer:
            result = fn()
        seconds.append(timer.seconds)
        peaks.append(growth[0])
    return Measured(median(seconds), max(peaks), result=result)


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Yields a list that holds, once the block is left, the growth of the resident memory within it."""
    gc.collect()
    # what earlier calls freed goes back to the system, or the allocator would hand it out unseen
    if hasattr(trim := ctypes.CDLL(None), "malloc_trim"):
        trim.malloc_trim(0)
    growth: list[float] = []
    before = _status("VmRSS")
    if _reset_peak():
        yield growth
        growth.append((_status("VmHWM") - before) / MB)
    else:
        with _sampled() as highest:
            yield growth
        growth.append((max(highest) - before) / MB)


def _status(key: str) -> int:
    """A memory field of the process's status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _reset_peak() -> bool:
    """Makes the kernel forget the peak so far; False where it does not let us."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return _status("VmHWM") - _status("VmRSS") < 16 * MB


@contextmanager
def _sampled() -> Iterator[list[int]]:
    """Looks at the resident memory from a thread; yields the list of what it saw."""
    seen, done = [_status("VmRSS")], threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLED_EVERY):
            seen.append(_status("VmRSS"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def ratio(slow: float, fast: float) -> str:
    """How many times as long one takes as the other, such as ``17.3 x``."""
    value = slow / fast
    return f"{value:.0f} x" if value >= 100 else f"{value:.1f} x"


def seconds(value: float) -> str:
    """Seconds to three digits."""
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def megabytes(value: float) -> str:
    """Megabytes, in whole ones."""
    return f"{value:,.0f} MB"


def percent(share: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return "-" if share is None else f"{100 * share:.0f} %"


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows under a title.

    Args:
        title: the title.
        rows: one dictionary per row, of the same keys in the same order, which are the header.
    """
    print(
        f"\n{title}\n{tabulate(rows, headers='keys', tablefmt='simple', disable_numparse=True)}", flush=True
    )
