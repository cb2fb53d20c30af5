"""Embeddings of new users and items from their neighbourhood (CCD)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recbole_ccd.data.block import Block

# new rows whose two-hop neighbourhoods are worked out at a time
ROW_TILE = 2048


def embedding_tables(model: nn.Module, n_users: int, n_items: int) -> list[tuple[nn.Embedding, nn.Embedding]]:
    """The pairs of user and item embedding tables of a model.

    Tables belong together when their names differ in ``user``/``item`` only (``user_embedding`` and
    ``item_embedding``; ``user_mlp_embedding`` and ``item_mlp_embedding``).

    Args:
        model: any model.
        n_users: rows of a user table.
        n_items: rows of an item table.

    Returns:
        Pairs ``(users, items)`` in the order in which the model lists them.
    """
    tables = {name: m for name, m in model.named_modules() if isinstance(m, nn.Embedding)}
    pairs = []
    for name, users in tables.items():
        items = tables.get(name.replace("user", "item")) if "user" in name else None
        if items is not None and users.num_embeddings == n_users and items.num_embeddings == n_items:
            pairs.append((users, items))
    return pairs


def initialize_new_entities(
    model: nn.Module, block: Block, n_popular: int = 20, two_hop: bool = True
) -> None:
    """Starts the rows of new users and items from what is known about their neighbours.

    For a new user ``u``: ``e_u = ½·mean(e_i: i in N_u, known before) + ½·mean(e_v: v in P_u)`` with
    ``N_u`` the user's items in this block and ``P_u`` the ``n_popular`` most active earlier users who
    share an item with ``u``, filled up with the most active ones. A missing first term counts as
    zero. Items likewise. (CCD, Lee et al., KDD 2024.)

    Args:
        model: a grown model; models without embedding tables are left as they are.
        block: the block whose new ids are initialised; only its train part is used.
        n_popular: size of ``P_u``.
        two_hop: False leaves the second term out, and the halving with it.
    """
    users_items = block.train_matrix
    jobs = [
        (users_items, block.n_old_users, block.n_old_items),
        (users_items.T.tocsr(), block.n_old_items, block.n_old_users),
    ]
    weights = [_neighbour_weights(matrix, old, others, n_popular, two_hop) for matrix, old, others in jobs]
    with torch.no_grad():
        for tables in embedding_tables(model, block.n_users, block.n_items):
            # both sides read the old rows only, so the order of the two does not matter
            for side, (one_hop, popular) in enumerate(weights):
                table, other = tables[side].weight, tables[1 - side].weight
                if table.shape[0] > (n_old := jobs[side][1]):
                    table[n_old:] = _start(one_hop, popular, table, other).to(table)


def start_of_new_users(
    users_items: sp.csr_matrix, users: Tensor, items: Tensor, n_popular: int = 20, two_hop: bool = True
) -> Tensor:
    """The embeddings that :func:`initialize_new_entities` would give users who join those of a block.

    Args:
        users_items: train interactions of the block as 0/1; the rows from ``len(users)`` on are the new
            users'.
        users: embeddings of those known, shape ``(n_users, dim)``, row 0 being [PAD].
        items: embeddings of all items, shape ``(n_items, dim)``.
        n_popular: see :func:`initialize_new_entities`.
        two_hop: see :func:`initialize_new_entities`.

    Returns:
        Shape ``(new users, dim)``.
    """
    weights = _neighbour_weights(users_items, len(users), len(items), n_popular, two_hop)
    return _start(*weights, users, items).to(users)


def _start(one_hop: sp.csr_matrix, popular: sp.csr_matrix | None, table: Tensor, other: Tensor) -> Tensor:
    return _product(one_hop, other) + (0 if popular is None else _product(popular, table))


def _neighbour_weights(
    matrix: sp.csr_matrix, n_old: int, n_old_other: int, n_popular: int, two_hop: bool
) -> tuple[sp.csr_matrix, sp.csr_matrix | None]:
    """Weights of old other-side rows and of old same-side rows in each new row's start.

    Returns:
        Sparse matrices of shape (new, old other side) and (new, old same side).
    """
    known = sp.csr_matrix(matrix[n_old:, :n_old_other])
    share = 0.5 if two_hop else 1.0
    one_hop = sp.diags(share / np.maximum(known.getnnz(axis=1), 1)) @ known
    return sp.csr_matrix(one_hop), _popular_weights(matrix, n_old, n_popular) if two_hop else None


def _popular_weights(matrix: sp.csr_matrix, n_old: int, n_popular: int) -> sp.csr_matrix:
    """Half the mean over the popular two-hop neighbours, as a sparse matrix (new, old)."""
    n_new, size = matrix.shape[0] - n_old, min(n_popular, n_old - 1)
    if n_new == 0 or size <= 0:
        return sp.csr_matrix((n_new, n_old), dtype=np.float32)
    activity = matrix.getnnz(axis=1)[1:n_old]
    by_activity = np.argsort(-activity, kind="stable") + 1
    place = np.full(n_old, n_old, dtype=np.int64)
    place[by_activity] = np.arange(n_old - 1)
    old = matrix[:n_old].T.tocsr()
    tiles = [
        _most_active(sp.csr_matrix(matrix[start : min(start + ROW_TILE, matrix.shape[0])] @ old), place, size)
        for start in range(n_old, matrix.shape[0], ROW_TILE)
    ]
    chosen = by_activity[np.concatenate(tiles)]
    data = np.full(chosen.size, 0.5 / size, dtype=np.float32)
    return sp.csr_matrix((data, chosen.ravel(), np.arange(n_new + 1) * size), shape=(n_new, n_old))


def _most_active(shared: sp.csr_matrix, place: np.ndarray, size: int) -> np.ndarray:
    """Places of the ``size`` most active sharers of each row, filled up with the most active of all.

    Args:
        shared: (rows, old), nonzero where an item is shared.
        place: 0 for the most active old id, 1 for the next, …; shape (old,).
        size: how many to choose.

    Returns:
        Places of shape (rows, size).
    """
    rows = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
    places = place[shared.indices]
    order = np.lexsort((places, rows))
    within = np.arange(len(order)) - np.repeat(shared.indptr[:-1], np.diff(shared.indptr))
    kept = within < size
    rows, places = rows[order][kept], places[order][kept]
    # candidates: sharers come first in their order, then places 0, 1, 2, … that are not sharers
    candidates = np.full((shared.shape[0], 2 * size), np.iinfo(np.int64).max, dtype=np.int64)
    candidates[rows, within[kept]] = places
    fill = np.broadcast_to(np.arange(size), (shared.shape[0], size))
    taken = np.zeros((shared.shape[0], size), dtype=bool)
    low = places < size
    taken[rows[low], places[low]] = True
    candidates[:, size:] = np.where(taken, np.iinfo(np.int64).max, fill)
    first = np.argsort(candidates == np.iinfo(np.int64).max, axis=1, kind="stable")[:, :size]
    return np.take_along_axis(candidates, first, axis=1)


def _product(weights: sp.csr_matrix, table: Tensor) -> Tensor:
    rows = table[: weights.shape[1]].detach().cpu().numpy()
    return torch.from_numpy(np.asarray(weights @ rows, dtype=np.float32))
