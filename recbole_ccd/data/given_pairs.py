"""What a stream has been given: all pairs of user and item in its files, dropped rows included."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Given:
    """What came in some files.

    Attributes:
        pairs: :func:`pair_codes` of what was in them, each once and in order, shape ``(n,)``, int64.
        newest: the moment of their last interaction, shape ``(1,)``, float64; ``(0,)`` where none is known.
    """

    pairs: Tensor
    newest: Tensor

    @classmethod
    def of(cls, codes: np.ndarray, times: np.ndarray | None = None) -> Given:
        """What rows say.

        Args:
            codes: the pair of each, shape ``(n,)``.
            times: the moment of each; None where there are none.
        """
        known = np.zeros(0) if times is None or not len(times) else times.max(keepdims=True)
        return cls(torch.from_numpy(np.unique(codes)), torch.from_numpy(known.astype(np.float64)))

    @classmethod
    def joined(cls, parts: Sequence[Given]) -> Given:
        """What came in all of several."""
        pairs = torch.cat([part.pairs for part in parts]).unique()
        times = torch.cat([part.newest for part in parts])
        return cls(pairs, times.max().reshape(1) if len(times) else times)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Given:
        """What :attr:`tensors` was.

        Raises:
            KeyError: If a tensor is missing.
        """
        return cls(tensors["pairs"], tensors["newest"])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The attributes as tensors, to be saved."""
        return {"pairs": self.pairs, "newest": self.newest}


def pair_codes(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A number for the pair of each row, which depends on its tokens alone.

    Two of a billion different pairs have the same one with a probability of three per cent.

    Args:
        users: tokens, shape ``(n,)``.
        items: tokens, shape ``(n,)``.

    Returns:
        Shape ``(n,)``, int64.
    """
    return (_digests(users) * _MIX + _digests(items)).view(np.int64)


def _digests(tokens: np.ndarray) -> np.ndarray:
    codes, found = pd.factorize(tokens)
    texts = (str(token).encode("utf-8", "surrogatepass") for token in found)
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)[codes]


def repeated(codes: np.ndarray, keep: str, blocks: np.ndarray | None = None) -> np.ndarray:
    """The rows that ``rm_dup_inter`` takes away.

    Args:
        codes: the pair of each row, in order of arrival, shape ``(n,)``.
        keep: ``first`` keeps the first row of a pair. ``last`` keeps the last one in each block, as an
            earlier block has been learned by the time a later one arrives.
        blocks: block of each row; None where all are of one.

    Returns:
        Shape ``(n,)`` bool.
    """
    rows = pd.DataFrame({"pair": codes})
    if keep == "last" and blocks is not None:
        rows["block"] = blocks
    return rows.duplicated(keep=keep).to_numpy()


def moments(rows: pd.DataFrame, field: str | None) -> np.ndarray | None:
    """The times of rows as numbers.

    Args:
        rows: interactions.
        field: the column of times.

    Returns:
        Shape ``(n,)``; None where there is no such column, it holds no numbers, or one is missing.
    """
    if field not in rows or rows[field].dtype != np.float64:
        return None
    times = rows[field].to_numpy()
    return times if np.isfinite(times).all() else None
