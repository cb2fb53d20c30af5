"""A graph model on a part of its graph: the same weights, some of the interactions left out."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import SGL
from scipy.sparse import coo_matrix, csr_matrix

from recbole_ccd.data.sparse import contains
from recbole_ccd.model.scoring import clear_cache


def graph_of(model: GeneralRecommender) -> csr_matrix:
    """The interactions that a model propagates over.

    Args:
        model: one that :func:`~recbole_ccd.data.block.reads_graph`.

    Returns:
        Users × items, float32 with sorted indices: how often each pair counts, which only SGL's do more than
        once.
    """
    if isinstance(model, SGL):
        return _matrix_of(model._user.cpu().numpy(), model._item.cpu().numpy(), _shape_of(model))
    pairs = model.interaction_matrix.tocoo()
    graph = _matrix_of(pairs.row, pairs.col, _shape_of(model))
    graph.data[:] = 1.0
    return graph


def without(model: GeneralRecommender, dropped: csr_matrix) -> GeneralRecommender:
    """The model on its graph without some pairs, which is normalised anew.

    Args:
        model: one that :func:`reads_graph`; left as it is.
        dropped: the pairs, with sorted indices; there may be some that the graph has not.

    Returns:
        A shallow copy that shares all weights with the model, or the model itself if nothing is dropped.
    """
    if not dropped.nnz:
        return model
    other, left = copy(model), without_pairs(graph_of(model), dropped).tocoo()
    clear_cache(other)
    if isinstance(model, SGL):
        times = left.data.astype(np.int64)
        ids = (np.repeat(ids.astype(np.int64), times) for ids in (left.row, left.col))
        other._user, other._item = map(torch.from_numpy, ids)
        other.train_graph = other.csr2tensor(other.create_adjust_matrix(is_sub=False))
    else:
        other.interaction_matrix = left
        other.norm_adj_matrix = other.get_norm_adj_mat().to(model.device)
    return other


def drawn_pairs(interactions: csr_matrix, share: float, generator: torch.Generator) -> csr_matrix:
    """A share of the pairs of a matrix, drawn uniformly without replacement.

    Args:
        interactions: users × items.
        share: from 0 to 1.
        generator: source of the draw.

    Returns:
        The pairs drawn, of the same shape, with sorted indices.
    """
    n = round(share * interactions.nnz)
    drawn = torch.randperm(interactions.nnz, generator=generator)[:n].numpy()
    pairs = interactions.tocoo()
    return _matrix_of(pairs.row[drawn], pairs.col[drawn], interactions.shape)


def without_pairs(interactions: csr_matrix, dropped: csr_matrix) -> csr_matrix:
    """The pairs of a matrix that are not among others, with what they count.

    Args:
        interactions: users × items.
        dropped: with sorted indices; it may have more or fewer rows and columns.
    """
    pairs = interactions.tocoo()
    kept = ~contains(dropped, pairs.row, pairs.col)
    return _matrix_of(pairs.row[kept], pairs.col[kept], interactions.shape, pairs.data[kept])


def _shape_of(model: GeneralRecommender) -> tuple[int, int]:
    return model.n_users, model.n_items


def _matrix_of(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], data: np.ndarray | None = None
) -> csr_matrix:
    data = np.ones(len(rows), dtype=np.float32) if data is None else data
    result = coo_matrix((data, (rows, columns)), shape=shape).tocsr()
    result.sort_indices()
    return result
