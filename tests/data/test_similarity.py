"""The similarity graph against a dense reference."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recbole_ccd.data.similarity import similarity_graph


def naive_graph(dense, mean_degree):
    degrees = (dense != 0).sum(1)
    binary = (dense != 0).astype(np.int64)
    pairs = []
    for i in range(len(dense)):
        for j in range(i + 1, len(dense)):
            overlap = int(binary[i] @ binary[j])
            if overlap:
                pairs.append((-(overlap**2) / (degrees[i] * degrees[j]), i, j))
    result = np.zeros((len(dense), len(dense)))
    for _, i, j in sorted(pairs)[: round(mean_degree * (degrees > 0).sum() / 2)]:
        result[i, j] = result[j, i] = 1.0
    return result


def random_matrix(n, m, density, seed):
    return (np.random.default_rng(seed).random((n, m)) < density).astype(np.float64)


def test_by_hand():
    # Rows {a, b}, {a, b}, {b, c}, {d}, {}: cosines 1 for (0, 1), 1/2 for (0, 2) and (1, 2), 0 else.
    matrix = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]))
    # Four rows have interactions; mean degree 1/2 allows one edge, 10 all three.
    assert [*zip(*similarity_graph(matrix, 0.5).nonzero(), strict=True)] == [(0, 1), (1, 0)]
    assert similarity_graph(matrix, 10).toarray()[:3, :3].tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert similarity_graph(matrix, 10).nnz == 6


@pytest.mark.parametrize("block_rows", [1, 7, 1000])
@pytest.mark.parametrize("mean_degree", [0, 1.5, 6, 100])
def test_equals_naive(block_rows, mean_degree):
    for seed, density in ((1, 0.1), (2, 0.4)):
        dense = random_matrix(40, 25, density, seed)
        graph = similarity_graph(csr_matrix(dense), mean_degree, block_rows)
        assert np.array_equal(graph.toarray(), naive_graph(dense, mean_degree))


def test_mean_degree_symmetry_and_type():
    matrix = csr_matrix(random_matrix(300, 80, 0.1, 3))
    graph = similarity_graph(matrix, 10, block_rows=64)
    assert graph.nnz == 3000
    assert (graph != graph.T).nnz == 0 and not graph.diagonal().any()
    assert graph.dtype == np.float32 and graph.has_sorted_indices and set(graph.data) == {1.0}


def test_all_tied():
    # Six equal rows; mean degree 2 allows six of the fifteen pairs, those with the lowest ids.
    graph = similarity_graph(csr_matrix(np.ones((6, 3))), 2, block_rows=2)
    assert graph.nnz == 12 and graph[0].nnz == 5


def test_repeated_and_explicit_zero_entries_do_not_count():
    matrix = csr_matrix(
        (np.array([1.0, 1.0, 0.0, 1.0, 3.0]), ([0, 0, 1, 1, 2], [0, 0, 0, 1, 1])), shape=(3, 2)
    )
    before = matrix.copy()
    assert [*zip(*similarity_graph(matrix, 10).nonzero(), strict=True)] == [(1, 2), (2, 1)]
    assert np.array_equal(matrix.data, before.data)


def test_empty_matrices():
    assert similarity_graph(csr_matrix((4, 5)), 10).nnz == 0
    assert similarity_graph(csr_matrix((0, 5)), 10).shape == (0, 0)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="out of range"):
        similarity_graph(csr_matrix((2, 2)), -1)
    with pytest.raises(ValueError, match="out of range"):
        similarity_graph(csr_matrix((2, 2)), 1, block_rows=0)
