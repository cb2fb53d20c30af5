"""The relaxed ranking loss against hand arithmetic, a naive loop and autograd."""

import math

import pytest
import torch

from recbole_ccd.loss import list_wise_loss, masked_log_sum_exp, relaxed_ranking_loss


def naive_list_wise(interesting, lse, valid):
    losses = []
    for scores, rest, real in zip(interesting.tolist(), lse.tolist(), valid.tolist(), strict=True):
        kept = [s for s, v in zip(scores, real, strict=True) if v]
        loss = 0.0
        for r, score in enumerate(kept):
            loss -= score - math.log(sum(math.exp(s) for s in kept[r:]) + math.exp(rest))
        losses.append(loss)
    return torch.tensor(losses, dtype=interesting.dtype)


def naive_relaxed(scores, interesting, uninteresting, score_max):
    """The same formula through autograd, row by row."""
    losses = []
    for row, items, rest in zip(scores, interesting, uninteresting, strict=True):
        clamped = row.clamp(max=score_max)
        listed = clamped[items[items > 0]]
        loss = row.sum() * 0.0
        for r in range(len(listed)):
            loss = loss - listed[r] + torch.logsumexp(torch.cat([listed[r:], clamped[rest]]), 0)
        losses.append(loss)
    return torch.stack(losses)


def random_case(n_rows, n, k, generator, dtype=torch.float32, density=0.6):
    scores = torch.randn(n_rows, n, generator=generator, dtype=dtype) * 3
    order = torch.stack([torch.randperm(n - 1, generator=generator) + 1 for _ in range(n_rows)])
    items = order[:, :k].clone()
    mask = torch.rand(n_rows, n, generator=generator) < density
    mask[:, 0] = False
    mask.scatter_(1, items, False)
    return scores, items, mask


def test_hand_arithmetic():
    # Scores log 3 and log 1, rest e^lse = 2. First place: 3 / (3 + 1 + 2) = 1/2, second: 1 / (1 + 2) = 1/3.
    # L = -log(1/2) - log(1/3) = log 6 = 1.791759.
    interesting = torch.tensor([[math.log(3.0), 0.0]])
    loss = list_wise_loss(interesting, torch.tensor([math.log(2.0)]))
    assert loss.item() == pytest.approx(1.791759, abs=1e-6)


def test_hand_arithmetic_of_full_rows():
    # Columns 1..4 score log 3, 0, log 2, 7; listed 1, 2; uninteresting 3 only: the case above again.
    scores = torch.tensor([[9.0, math.log(3.0), 0.0, math.log(2.0), 7.0]])
    mask = torch.tensor([[False, False, False, True, False]])
    loss = relaxed_ranking_loss(scores, torch.tensor([[1, 2]]), mask)
    assert loss.item() == pytest.approx(1.791759, abs=1e-6)


def test_clamp_by_hand():
    # Both scores clamp to 1: L = -log(e / (e + e)) = log 2, and neither has a gradient.
    scores = torch.tensor([[0.0, 5.0, 3.0]], requires_grad=True)
    loss = relaxed_ranking_loss(
        scores, torch.tensor([[1]]), torch.tensor([[False, False, True]]), score_max=1.0
    )
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    assert scores.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_list_wise_equals_naive():
    generator = torch.Generator().manual_seed(1)
    interesting = torch.randn(9, 6, generator=generator, dtype=torch.float64) * 4
    lse = torch.randn(9, generator=generator, dtype=torch.float64) * 4
    lse[2] = -torch.inf
    lengths = torch.tensor([6, 6, 6, 0, 1, 2, 3, 4, 5])
    valid = torch.arange(6) < lengths[:, None]
    expected = naive_list_wise(interesting, lse, valid)
    torch.testing.assert_close(list_wise_loss(interesting, lse, valid), expected)
    torch.testing.assert_close(list_wise_loss(interesting[:3], lse[:3]), expected[:3])


def test_list_wise_gradcheck():
    generator = torch.Generator().manual_seed(2)
    interesting = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    lse = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None]
    assert torch.autograd.gradcheck(lambda a, b: list_wise_loss(a, b, valid), (interesting, lse))


def test_list_wise_without_rest_and_without_list():
    # A single listed entity against nothing is certain: loss 0 and gradient 0.
    interesting = torch.tensor([[2.0, 7.0], [2.0, 7.0]], requires_grad=True)
    lse = torch.tensor([-torch.inf, -torch.inf], requires_grad=True)
    loss = list_wise_loss(interesting, lse, torch.tensor([[True, False], [False, False]]))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert interesting.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert lse.grad.tolist() == [0.0, 0.0]


def test_list_wise_is_stable_for_huge_scores():
    # exp(1000) overflows; the first wins by 2000 and costs nothing, the last loses to the rest by 1000.
    interesting = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = list_wise_loss(interesting, torch.tensor([0.0]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(1000.0)
    assert interesting.grad.tolist() == [[0.0, -1.0]]


def test_masked_log_sum_exp():
    # log(e^0 + e^log 3) = log 4 = 1.386294; the entry 99 is masked out.
    scores = torch.tensor([[0.0, 99.0, math.log(3.0)], [1.0, 2.0, 3.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    lse = masked_log_sum_exp(scores, mask)
    assert lse[0].item() == pytest.approx(1.386294, abs=1e-6)
    assert lse[1].item() == -math.inf
    lse.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[0.25, 0.0, 0.75], [0.0, 0.0, 0.0]]))


def test_masked_log_sum_exp_ignores_far_higher_masked_scores():
    scores = torch.tensor([[1e4, -500.0, -500.0]], requires_grad=True)
    lse = masked_log_sum_exp(scores, torch.tensor([[False, True, True]]))
    lse.sum().backward()
    assert lse.item() == pytest.approx(-500.0 + math.log(2.0))
    torch.testing.assert_close(scores.grad, torch.tensor([[0.0, 0.5, 0.5]]))


def test_masked_log_sum_exp_gradcheck():
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(5, 7, generator=generator) < 0.5
    mask[:, 0] = True
    assert torch.autograd.gradcheck(lambda s: masked_log_sum_exp(s, mask), (scores,))


def test_relaxed_equals_naive_with_gradients():
    generator = torch.Generator().manual_seed(4)
    scores, items, mask = random_case(12, 30, 5, generator, torch.float64)
    items[3, 2:] = 0
    items[4] = 0
    mask[5] = False
    weights = torch.randn(12, generator=generator, dtype=torch.float64)
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    loss = relaxed_ranking_loss(ours, items, mask, score_max=2.0)
    expected = naive_relaxed(theirs, items, mask, 2.0)
    torch.testing.assert_close(loss, expected)
    (loss * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert loss[4] == 0 and not ours.grad[4].any()


def test_relaxed_gradcheck():
    generator = torch.Generator().manual_seed(5)
    scores, items, mask = random_case(4, 12, 3, generator, torch.float64)
    items[1, 2] = 0
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: relaxed_ranking_loss(s, items, mask, 2.5), (scores,))


def test_relaxed_over_several_tiles(monkeypatch):
    generator = torch.Generator().manual_seed(6)
    scores, items, mask = random_case(23, 40, 6, generator)
    whole, tiled = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    relaxed_ranking_loss(whole, items, mask).sum().backward()
    monkeypatch.setattr("recbole_ccd.loss.listwise._TILE_ELEMENTS", 100)
    relaxed_ranking_loss(tiled, items, mask).sum().backward()
    torch.testing.assert_close(tiled.grad, whole.grad, rtol=0, atol=0)


def test_relaxed_takes_columns_of_a_wider_matrix():
    generator = torch.Generator().manual_seed(7)
    scores, items, mask = random_case(6, 20, 4, generator)
    wide = torch.cat([scores, scores], dim=1)[:, :20].requires_grad_()
    relaxed_ranking_loss(wide, items, mask).sum().backward()
    narrow = scores.clone().requires_grad_()
    relaxed_ranking_loss(narrow, items, mask).sum().backward()
    torch.testing.assert_close(wide.grad, narrow.grad, rtol=0, atol=0)


def test_empty_batch():
    scores = torch.zeros(0, 5, requires_grad=True)
    loss = relaxed_ranking_loss(
        scores, torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 5, dtype=torch.bool)
    )
    loss.sum().backward()
    assert loss.shape == (0,)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="log-sum-exps"):
        list_wise_loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="valid"):
        list_wise_loss(torch.zeros(2, 3), torch.zeros(2), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask"):
        masked_log_sum_exp(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="lists"):
        relaxed_ranking_loss(torch.zeros(2, 3), torch.ones(1, 1).long(), torch.ones(2, 3, dtype=torch.bool))
