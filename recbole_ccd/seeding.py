"""One seed, one result: every random choice has a generator of its own, derived from what it is for."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from recbole.utils import init_seed


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


def seed_stage(seed: int, reproducibility: bool, *purpose: str | int) -> None:
    """Seeds the global generators that RecBole's models draw from (weights, dropout) for one stage.

    Because every stage starts from its own seed, its result depends on its inputs alone, not on how
    many numbers earlier stages drew.
    """
    init_seed(derive_seed(seed, *purpose), reproducibility)
