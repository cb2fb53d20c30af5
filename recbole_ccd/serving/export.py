"""Embeddings and vocabulary as plain arrays, for a vector index."""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO

import numpy as np

from recbole_ccd.errors import ModelError
from recbole_ccd.serving.output import writing
from recbole_ccd.serving.served import ServedModel


def export_vectors(served: ServedModel, path: str | os.PathLike[str]) -> None:
    """Writes embeddings, tokens and ids to one ``.npz`` file; the inner product is the score.

    ``numpy.load(path, allow_pickle=False)`` reads it. It holds ``user_tokens``, ``user_ids`` and
    ``user_embeddings`` row by row, and the same of items; [PAD] is left out.

    Args:
        served: a model that scores by an inner product.
        path: the file; it appears when it is whole, in the place of one that was there.

    Raises:
        ModelError: the model does not score by an inner product.
        RunError: the file cannot be written.
    """
    if served.vectors is None:
        raise ModelError(
            f"{served.about.role} {served.about.model} does not score by an inner product and has no "
            "embeddings to export; export a student such as LightGCN or BPR"
        )
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for side, tokens, table in zip(
            ("user", "item"), (served.user_tokens, served.item_tokens), served.vectors, strict=True
        ):
            _add(archive, f"{side}_tokens", tokens[1:].astype(np.str_))
            _add(archive, f"{side}_ids", np.arange(1, len(tokens)))
            _add(archive, f"{side}_embeddings", table[1:].detach().numpy())


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    file: BinaryIO
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
