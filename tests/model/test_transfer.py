"""SML's transfer against hand arithmetic."""

import math

import pytest
import torch

from recbole_ccd.model.transfer import TableTransfer, Transfer


def generator():
    return torch.Generator().manual_seed(0)


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def test_the_transfer_of_one_number_by_hand():
    transfer = TableTransfer(1, (1, 1), 1, generator())
    # weights and bias of each layer; the first one looks at before, now and their product
    by_layer = [([[0.5, 0.25, 1.0]], 0.1), ([[0.5]], 0.0), ([[-1.0]], 0.2), ([[3.0]], -0.5)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(transfer.layers, by_layer, strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.fill_(bias)
    # of 1 before and 2 now: .5 + .5 + 2 + .1
    hidden = gelu(0.2 - gelu(0.5 * gelu(3.1)))
    made = transfer(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    assert made.item() == pytest.approx(2 + 3 * hidden - 0.5)
    assert made.item() == pytest.approx(1.105445, abs=1e-6)


def test_dimensions_share_their_filters():
    transfer = TableTransfer(3, (4, 2), 5, generator())
    sizes = [tuple(layer.weight.shape) for layer in transfer.layers]
    assert sizes == [(4, 3), (2, 4), (5, 6), (3, 5)]


def test_before_it_has_learned_anything_it_changes_nothing():
    transfer = Transfer({"user": 4, "item": 2}, [3, 2], 5, generator())
    tables = [{"user": torch.randn(6, 4), "item": torch.randn(5, 2)} for _ in range(2)]
    made = transfer(*tables, {"user": 4, "item": 5})
    assert all(torch.equal(made[name], tables[1][name]) for name in ("user", "item"))
    # another one of the same seed begins with the same weights
    other = Transfer({"user": 4, "item": 2}, [3, 2], 5, generator()).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in transfer.state_dict().items())


def test_what_is_new_stays():
    transfer = Transfer({"user": 4}, [3, 2], 5, generator())
    with torch.no_grad():
        for value in transfer.parameters():
            value.add_(0.1)
    before, now = torch.randn(6, 4), torch.randn(6, 4)
    made = transfer({"user": before}, {"user": now}, {"user": 4})["user"]
    assert (made != now).any(dim=1).tolist() == [False, True, True, True, False, False]
