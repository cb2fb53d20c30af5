"""How large a model is, also one that is counted or solved and has no parameters to speak of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, issparse
from torch import Tensor, nn

# what RecBole's models without gradient steps keep in plain attributes; their one parameter is a dummy
FITTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ADMMSLIM": ("item_similarity", "item_means"),
        "AsymKNN": ("w",),
        "EASE": ("item_similarity",),
        "ItemKNN": ("w",),
        "NCEPLRec": ("user_embeddings", "item_embeddings"),
        "Pop": ("item_cnt",),
        "Random": (),
        "SLIMElastic": ("item_similarity",),
    }
)


def size_of(model: nn.Module) -> dict[str, int]:
    """Parameters and bytes of a model.

    Of a model that learns by gradient steps these are all its parameters, frozen ones too, and the bytes
    of its state dict. Of one that is counted or solved (:data:`FITTED`) they are the values it has fitted:
    an entry per pair of items for EASE and ADMMSLIM (which has the items' means too), the similarities
    kept for ItemKNN, AsymKNN and SLIMElastic (nonzeros; the bytes are those of a sparse matrix with its
    indices), a count per item for Pop, user and item vectors for NCEPLRec, nothing for Random. The
    interactions they are asked with, and predictions that RecBole computes in advance from both, do not
    count. [PAD] does, as it does in embedding tables.

    Args:
        model: the model.

    Returns:
        ``parameters`` and ``bytes``.
    """
    names = FITTED.get(type(model).__name__)
    if names is None:
        tensors = list(model.state_dict().values())
        return {"parameters": sum(p.numel() for p in model.parameters()), "bytes": sum(map(_bytes, tensors))}
    values = [getattr(model, name) for name in names]
    return {"parameters": sum(map(_count, values)), "bytes": sum(map(_bytes, values))}


def _count(value: Any) -> int:
    if issparse(value):
        return int(value.nnz)
    return value.numel() if isinstance(value, Tensor) else int(np.asarray(value).size)


def _bytes(value: Any) -> int:
    if issparse(value):
        rows = csr_matrix(value)
        return rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return int(np.asarray(value).nbytes)
