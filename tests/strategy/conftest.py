import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """On tiny tensors threads cost more time than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
