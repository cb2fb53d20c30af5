import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from recbole_ccd.model.history import PaddedRows, padded, reading, use_history
from tests.model.small_models import small_model

# rows: none; 2 -> 1.0; 1 -> 0.5 and 3 -> 2.0
MATRIX = csr_matrix(np.array([[0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0.5, 0, 2.0]], dtype=np.float32))


def test_rows_are_padded_with_zeros():
    rows = PaddedRows(MATRIX, MATRIX.data, 3, torch.device("cpu"))
    assert rows.shape == (3, 3)
    assert rows[torch.tensor([2, 0, 1, 2])].tolist() == [[0.5, 2, 0], [0, 0, 0], [1, 0, 0], [0.5, 2, 0]]
    ids = PaddedRows(MATRIX, MATRIX.indices.astype(np.int64), 2, torch.device("cpu"))
    assert (
        ids[torch.tensor([2, 1])].tolist() == [[1, 3], [2, 0]] and ids[torch.tensor([1])].dtype == torch.int64
    )


def test_padded_rows_are_recboles_dense_history(tiny_stream, make_config):
    block = tiny_stream[1]
    _, model = small_model(make_config, "MultiVAE", block, graph="block")
    users = torch.tensor([block.n_users - 1, 0, 5, 5, 40])
    sparse = model.get_rating_matrix(users)
    model.build_histroy_items(block.train)
    assert isinstance(model.history_item_id, torch.Tensor)
    dense = model.get_rating_matrix(users)
    assert sparse.shape == (5, block.n_items) and sparse.sum() > 0
    assert torch.equal(sparse, dense)


def test_weights_of_interactions_are_read(tiny_stream, make_config):
    block = tiny_stream[0]
    _, model = small_model(make_config, "MultiVAE", block)
    matrix = block.train_matrix.copy()
    matrix.data[:] = np.arange(1, matrix.nnz + 1) / 10
    use_history(model, matrix)
    users = torch.arange(block.n_users)
    assert torch.equal(model.get_rating_matrix(users), torch.from_numpy(matrix.toarray()))


def test_an_empty_history_is_read_as_zeros(tiny_stream, make_config):
    block = tiny_stream[0]
    _, model = small_model(make_config, "MultiVAE", block)
    use_history(model, csr_matrix((block.n_users, block.n_items), dtype=np.float32))
    assert model.get_rating_matrix(torch.tensor([1, 2])).abs().sum() == 0


def test_reading_other_rows_ends_with_the_block_even_after_an_error(tiny_stream, make_config):
    block = tiny_stream[1]
    _, model = small_model(make_config, "MultiVAE", block, graph="block")
    users = torch.arange(block.n_users)
    own, other = (torch.from_numpy(m.toarray()) for m in (block.train_matrix, block.train_so_far))
    with reading(model, padded(block.train_so_far, model.device)):
        assert torch.equal(model.get_rating_matrix(users), other)
    assert torch.equal(model.get_rating_matrix(users), own)
    with pytest.raises(ZeroDivisionError), reading(model, padded(block.train_so_far, model.device)):
        raise ZeroDivisionError
    assert torch.equal(model.get_rating_matrix(users), own)
