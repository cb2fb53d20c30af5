import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.data.sparse import contains, csr_rows, pairs_matrix, union


def random_matrix(shape, density=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return csr_matrix((rng.random(shape) < density).astype(np.float32))


def test_csr_rows_by_hand():
    matrix = csr_matrix(np.array([[0, 0, 0], [1, 0, 1], [0, 1, 0]]))
    owners, columns = csr_rows(matrix, np.array([2, 7, 1, 0, 1]))
    assert owners.tolist() == [0, 2, 2, 4, 4] and columns.tolist() == [1, 0, 2, 0, 2]
    assert owners.dtype == columns.dtype == np.int64


def test_csr_rows_of_nothing():
    matrix = csr_matrix(np.eye(3))
    for rows in (np.zeros(0, dtype=np.int64), np.array([3, 9])):
        assert [part.tolist() for part in csr_rows(matrix, rows)] == [[], []]


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_contains_equals_the_dense_matrix(density):
    matrix = random_matrix((13, 17), density)
    # rows 13 and 14 are beyond the matrix
    rows, columns = (part.ravel() for part in np.meshgrid(np.arange(15), np.arange(17), indexing="ij"))
    expected = np.vstack([matrix.toarray(), np.zeros((2, 17))]) > 0
    assert contains(matrix, rows, columns).tolist() == expected.ravel().tolist()
    backwards = contains(matrix, rows[::-1], columns[::-1])
    assert backwards.tolist() == expected.ravel()[::-1].tolist()


def test_contains_of_no_pairs():
    none = np.zeros(0, dtype=np.int64)
    assert contains(random_matrix((3, 4)), none, none).shape == (0,)


def test_lists_become_one_matrix_of_ones():
    # row 0 and id 0 are padding; the second list covers two rows only; 2 3 and 3 1 share 3
    lists = [torch.tensor([[9, 9], [2, 3], [1, 0]]), torch.tensor([[4, 4], [3, 1]])]
    matrix = pairs_matrix(lists, 4, 5)
    expected = [[0] * 5, [0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0] * 5]
    assert isinstance(matrix, csr_matrix) and matrix.toarray().tolist() == expected
    assert matrix.dtype == bool and matrix.indices.tolist() == [1, 2, 3, 1]


def test_no_lists_become_an_empty_matrix():
    matrix = pairs_matrix([], 2, 3)
    assert matrix.shape == (2, 3) and matrix.nnz == 0


def test_lists_over_several_tiles(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    lists = [torch.randint(8, shape, generator=generator) for shape in ((11, 3), (7, 4), (2, 1))]
    expected = np.zeros((13, 8), dtype=np.float32)
    for ids in lists:
        for row, columns in enumerate(ids.tolist()):
            expected[row, columns] = 1.0
    expected[0], expected[:, 0] = 0.0, 0.0
    for tile in (1, 4, 100):
        monkeypatch.setattr("recbole_ccd.data.sparse._ROW_TILE", tile)
        matrix = pairs_matrix(lists, 13, 8)
        assert np.array_equal(matrix.toarray(), expected) and matrix.nnz == expected.sum()
        assert matrix.has_canonical_format


def test_a_union_has_the_nonzeros_of_all_and_no_more_memory():
    first = pairs_matrix([torch.tensor([[0, 0], [3, 1], [2, 0]])], 3, 5)
    second = pairs_matrix([torch.tensor([[0, 0], [3, 4], [0, 0]])], 3, 5)
    both = union(first, second)
    assert both.toarray().tolist() == ((first + second).toarray() > 0).tolist()
    assert both.dtype == bool and both.has_sorted_indices
    held = [part if part.base is None else part.base for part in (both.data, both.indices)]
    assert [len(part) for part in held] == [both.nnz] * 2 == [4, 4]
