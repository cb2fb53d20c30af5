"""GraphSAIL's three terms against hand arithmetic and naive loops."""

import math

import pytest
import torch

from recbole_ccd.loss import global_structure_loss, local_structure_loss, self_embedding_loss, share_of_past

# two neighbours, none, one
ROWS, COLS = torch.tensor([0, 0, 2]), torch.tensor([1, 2, 0])


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_local_structure_by_hand():
    old = torch.tensor([[1.0, 2.0], [9.0, 9.0], [2.0, 0.0]])
    new = torch.tensor([[1.0, 1.0], [5.0, 5.0], [0.0, 1.0]])
    old_others = torch.tensor([[1.0, 0.0], [1.0, 0.0], [3.0, 2.0]])
    new_others = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 2.0], [7.0, 7.0]])
    # (1, 2).(2, 1) = 4 has become (1, 1).(2, 1) = 3, and (2, 0).(1, 0) = 2 has become (0, 1).(2, 0) = 0;
    # the node without neighbours does not count: (1 + 4) / 2
    loss = local_structure_loss(old, new, old_others, new_others, ROWS, COLS)
    assert loss.item() == pytest.approx(2.5)


def naive_local(old, new, old_others, new_others, rows, cols):
    changes = []
    for node in range(len(old)):
        mine = [c for r, c in zip(rows.tolist(), cols.tolist(), strict=True) if r == node]
        if mine:
            before = old[node] @ (sum(old_others[c] for c in mine) / len(mine))
            changes.append((new[node] @ (sum(new_others[c] for c in mine) / len(mine)) - before) ** 2)
    return sum(changes) / len(changes)


def test_local_structure_equals_loops_with_gradients():
    rows, cols = torch.tensor([0, 0, 0, 2, 3, 3, 5]), torch.tensor([4, 1, 4, 0, 2, 3, 5])
    old, old_others = numbers(6, 3, seed=1), numbers(6, 3, seed=2)
    results = []
    for function in (local_structure_loss, naive_local):
        new, others = (numbers(n, 3, seed=n).requires_grad_() for n in (6, 8))
        loss = function(old, new, old_others, others, rows, cols)
        loss.backward()
        results.append((loss.detach(), new.grad, others.grad))
    torch.testing.assert_close(results[0], results[1])
    assert results[0][2][6:].eq(0).all()


def test_the_past_is_a_constant():
    past = [numbers(3, 2, seed=n).requires_grad_() for n in range(2)]
    now = [numbers(3, 2, seed=n).requires_grad_() for n in range(2, 4)]
    centers, weights = (
        numbers(4, 2, seed=4).requires_grad_(),
        torch.ones(3, dtype=torch.float64).requires_grad_(),
    )
    terms = [
        local_structure_loss(past[0], now[0], past[1], now[1], ROWS, COLS),
        global_structure_loss(past[0], now[0], centers, 1.0),
        self_embedding_loss(past[0], now[0], weights),
    ]
    for term in terms:
        assert term.item() > 0
        term.backward()
    assert all(x.grad is None or x.grad.eq(0).all() for x in (*past, centers, weights))
    assert all(x.grad.abs().sum() > 0 for x in now)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_global_structure_by_hand(temperature):
    # h.a / tau = 0, log 3 gives 1/4, 3/4, and e = 0 gives 1/2, 1/2:
    # 1/4 log(1/2) + 3/4 log(3/2) = -0.173287 + 0.304099
    old, new = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    centers = torch.tensor([[0.0], [math.log(3.0) * temperature]])
    loss = global_structure_loss(old, new, centers, temperature)
    assert loss.item() == pytest.approx(0.130812, abs=1e-6)
    # another node that has not moved halves the mean
    both = global_structure_loss(old.expand(2, 1), torch.tensor([[0.0], [1.0]]), centers, temperature)
    assert both.item() == pytest.approx(0.130812 / 2, abs=1e-6)


def test_self_embedding_by_hand():
    old = torch.tensor([[0.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    new = torch.tensor([[1.0, 3.0], [1.0, 1.0], [9.0, 9.0]])
    # squares 5, 2 and 50 with weights 1, 3 and 0
    loss = self_embedding_loss(old, new, torch.tensor([1.0, 3.0, 0.0]))
    assert loss.item() == pytest.approx((5 + 3 * 2) / 4)


def test_the_less_is_new_the_more_weight():
    weights = share_of_past(torch.tensor([3, 0, 0, 5]), torch.tensor([1, 2, 0, 0]))
    assert weights.tolist() == [0.75, 0.0, 0.0, 1.0]


def test_nothing_at_all_costs_nothing_and_has_a_gradient():
    none, ids = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    others, lonely = torch.ones(3, 2), torch.ones(2, 2)
    for nodes in (none, lonely):
        new = nodes.clone().requires_grad_()
        terms = [
            local_structure_loss(nodes, new, others, others, ids, ids),
            global_structure_loss(nodes, new, others, 1.0),
            self_embedding_loss(nodes, new, torch.zeros(len(nodes))),
        ]
        assert [term.item() for term in terms] == pytest.approx([0.0] * 3, abs=1e-6)
        sum(terms).backward()
        assert new.grad.abs().sum() < 1e-6 and new.grad.isfinite().all()


def test_gradcheck():
    new, others = numbers(3, 2, seed=5).requires_grad_(), numbers(4, 2, seed=6).requires_grad_()
    old, old_others, centers = numbers(3, 2, seed=7), numbers(3, 2, seed=8), numbers(4, 2, seed=9)
    weights = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)

    def terms(new, others):
        return (
            local_structure_loss(old, new, old_others, others, ROWS, COLS),
            global_structure_loss(old, new, centers, 0.7),
            self_embedding_loss(old, new, weights),
        )

    assert torch.autograd.gradcheck(terms, (new, others))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: local_structure_loss(x, x[:1], x, x, ROWS, COLS),
        lambda x: local_structure_loss(x, x, x, x[:, :1], ROWS, COLS),
        lambda x: local_structure_loss(x, x, x, x, ROWS, COLS[:2]),
        lambda x: global_structure_loss(x, x, x[:, :1], 1.0),
        lambda x: global_structure_loss(x, x, x, 0.0),
        lambda x: self_embedding_loss(x, x, torch.ones(2)),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ValueError, match="and|fit|positive"):
        call(torch.ones(3, 2))
