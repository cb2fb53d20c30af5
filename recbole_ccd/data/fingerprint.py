"""Digests by which the data of two streams are told from each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from recbole.data.interaction import Interaction

if TYPE_CHECKING:
    from recbole_ccd.data.block import Block
    from recbole_ccd.data.dataset import IncrementalDataset


def fingerprint_of(dataset: IncrementalDataset, blocks: Iterable[Block]) -> dict[str, Any]:
    """What tells a stream's data apart from those of others.

    Args:
        dataset: the whole stream.
        blocks: its blocks.

    Returns:
        ``blocks``: the sizes of each; ``sha256``: a digest of interactions, their division, tokens and
        features as RecBole has prepared them.
    """
    digest = hashlib.sha256()
    for feat in (dataset.inter_feat, dataset.user_feat, dataset.item_feat):
        _add_table(digest, feat)
    for division in (dataset.block_of_row, dataset.part_of_row):
        digest.update(np.ascontiguousarray(division).astype(np.int64).tobytes())
    for field in (dataset.uid_field, dataset.iid_field):
        digest.update("\0".join(map(str, dataset.field2id_token[field])).encode())
    return {"blocks": [_sizes(block) for block in blocks], "sha256": digest.hexdigest()}


def _add_table(digest: Any, feat: Interaction | None) -> None:
    if feat is None:
        return
    for field in sorted(feat.interaction):
        values = feat.interaction[field]
        digest.update(f"{field} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(np.ascontiguousarray(values.cpu().numpy()).tobytes())


def _sizes(block: Block) -> dict[str, int]:
    parts = {"train": block.train, "valid": block.valid, "test": block.test}
    known = {"users": block.n_users - 1, "items": block.n_items - 1}
    return {**{f"{name} interactions": len(part) for name, part in parts.items()}, **known}
