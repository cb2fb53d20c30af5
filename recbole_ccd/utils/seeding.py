"""One seed, one result: what we draw has generators of its own, and RecBole's are one run's at a time."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from recbole.utils import init_seed

from recbole_ccd.utils.errors import RunError

# the global generators belong to the process, and so does who draws from them
_drawing = threading.RLock()


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, independent of what else was drawn before.

    Args:
        seed: the run's seed.
        *purpose: what the numbers are for, e.g. ``("student_update", block, "replay")``.

    Returns:
        An integer in ``[0, 2**32)``, the range numpy's legacy seeding accepts.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator on the CPU for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.default_rng(derive_seed(seed, *purpose))


@contextmanager
def exclusive(patience: float = 0.0) -> Iterator[None]:
    """Holds the global generators, which RecBole's models draw their weights and dropout from, for a thread.

    Two runs in threads of one process would draw from them by turns, and neither would have the result of
    its seed. One thread may enter it again, as a comparison does for each of its runs. It may also stand
    above a function, as a decorator.

    Args:
        patience: seconds to wait for another thread.

    Raises:
        RunError: If another thread holds them.
    """
    if not _drawing.acquire(timeout=patience):
        raise RunError(
            "another run is under way in this process, and models of both would draw from the same "
            "generators; wait for its end, or start this one in a process of its own"
        )
    try:
        yield
    finally:
        _drawing.release()


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """Runs torch with deterministic algorithms for a while, then as before.

    Without it the gradient of an indexed embedding is summed by several threads in any order (torch's
    ``index_put_`` with ``accumulate`` on CPU), and two runs differ in the last bits.

    Args:
        enabled: RecBole's ``reproducibility``; False leaves everything as it is.
    """
    if not enabled:
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    # a module of properties, of which its annotations know nothing
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # the check for reads of memory never written costs a pass over every new tensor
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = fill


def seed_stage(seed: int, reproducibility: bool, *purpose: str | int) -> None:
    """Seeds the global generators that RecBole's models draw from (weights, dropout) for one stage.

    Because every stage starts from its own seed, its result depends on its inputs alone, not on how
    many numbers earlier stages drew.
    """
    init_seed(derive_seed(seed, *purpose), reproducibility)


def generator_states() -> dict[str, Any]:
    """States of the global generators of torch (all devices), numpy and Python."""
    state: Any = np.random.get_state()
    name, keys, *rest = state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "python": random.getstate(),
    }


def same_states(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether nothing was drawn between two calls of :func:`generator_states`."""
    (name, keys, *rest), (other_name, other_keys, *others) = one["numpy"], other["numpy"]
    pairs = zip([one["torch"], *one["cuda"], keys], [other["torch"], *other["cuda"], other_keys], strict=True)
    plain = (one["python"], name, rest) == (other["python"], other_name, others)
    return plain and all(torch.equal(state, later) for state, later in pairs)


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Sets the global generators to what :func:`generator_states` gave; devices only if none has gone."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
