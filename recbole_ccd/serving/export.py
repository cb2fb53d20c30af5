"""Embeddings and vocabulary as plain arrays, for a vector index."""

from __future__ import annotations

import os
import zipfile

import numpy as np

from recbole_ccd.serving.arguments import shown
from recbole_ccd.serving.output import writing
from recbole_ccd.serving.recommender import Recommender
from recbole_ccd.utils.atomic_files import given_path
from recbole_ccd.utils.errors import ConfigError, ModelError

# how many times the bytes of its tokens an array may take in which all are as long as the longest
_ROOM = 16
# and how many it may take in any case
_SMALL = 1 << 20


def export_vectors(served: Recommender, path: str | os.PathLike[str]) -> None:
    """Writes embeddings, tokens and ids to one ``.npz`` file; the inner product is the score.

    ``numpy.load(path, allow_pickle=False)`` reads it. It holds ``user_tokens``, ``user_ids`` and
    ``user_embeddings`` row by row, and the same of items; [PAD] is left out. NumPy gives all tokens of an
    array the room of the longest, and forgets a NUL at the end of one. Where that would lose something, or
    take many times the room, there are ``user_token_bytes`` in the place of ``user_tokens``: all tokens one
    after the other as UTF-8, each from its place in ``user_token_offsets`` to the next.

    Args:
        served: a model that scores by an inner product.
        path: the file; it appears when it is whole, in the place of one that was there.

    Raises:
        ConfigError: If an argument is of the wrong type.
        ModelError: If the model does not score by an inner product.
        RunError: If the file cannot be written.
    """
    if not isinstance(served, Recommender):
        raise ConfigError(f"served is {shown(served)}; give what load_student returns")
    given_path("path", path, "the file to write")
    if served.vectors is None:
        raise ModelError(
            f"{served.about.role} {served.about.model} does not score by an inner product and has no "
            "embeddings to export; export a student such as LightGCN or BPR"
        )
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for side, tokens, table in zip(
            ("user", "item"), (served.user_tokens, served.item_tokens), served.vectors, strict=True
        ):
            for name, array in _arrays_of(tokens[1:].tolist()).items():
                _add(archive, f"{side}_{name}", array)
            _add(archive, f"{side}_ids", np.arange(1, len(tokens)))
            _add(archive, f"{side}_embeddings", table[1:].detach().numpy())


def _arrays_of(tokens: list[str]) -> dict[str, np.ndarray]:
    """Tokens in a form that needs no pickle, and not much more room than they do."""
    encoded = [token.encode("utf-8", "surrogatepass") for token in tokens]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    needed = np.dtype("U1").itemsize * max(map(len, tokens), default=0) * len(tokens)
    fits = needed <= max(_ROOM * int(offsets[-1]), _SMALL)
    if fits and not any(token.endswith("\0") for token in tokens):
        return {"tokens": np.array(tokens, dtype=np.str_)}
    return {"token_bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8), "token_offsets": offsets}


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
