"""Windows, random cases and a naive dense autograd reference for the relaxed ranking loss from vectors."""

import torch

from recbole_ccd.loss import Windows, windowed_ranking_loss


def make_windows(circle, groups, starts, lengths, barred=()):
    """Windows by the batch's own rows: their groups and lengths, and barred (row, place) pairs."""
    groups = torch.tensor(groups)
    order = groups.argsort(stable=True)
    slot = order.argsort()
    barred = sorted((int(slot[row]), place) for row, place in barred if place < lengths[row])
    rows, places = (
        torch.tensor(part, dtype=torch.int64) for part in ([b[k] for b in barred] for k in (0, 1))
    )
    sizes = torch.bincount(groups, minlength=len(starts)).tolist()
    return Windows(
        columns=torch.cat([circle, circle]),
        order=order,
        tiles=[(size, start) for size, start in zip(sizes, starts, strict=True) if size],
        ends=torch.tensor(lengths, dtype=torch.int64)[order],
        barred_rows=rows,
        barred_places=places,
    )


def dense_loss(rows, columns, interesting, mask, score_max, row_weights=1.0):
    """The formula as it is written, on the whole matrix of scores."""
    scores = (rows @ columns.T).clamp(max=score_max)
    valid = interesting > 0
    powers = scores.exp()
    listed, rest = powers.gather(1, interesting) * valid, (powers * mask).sum(1)
    total = scores.sum() * 0.0
    for r in range(interesting.shape[1]):
        # 1 is added where nothing is listed, for the logarithm of 0 has no gradient
        denominator = listed[:, r:].sum(1) + rest + ~valid[:, r]
        place = torch.log(denominator) - scores.gather(1, interesting[:, r : r + 1]).squeeze(1)
        total = total + (place * valid[:, r] * row_weights).sum()
    return total


def random_case(seed, n_rows, n_columns, n_groups, k=4, dim=5, dtype=torch.float64, n_barred=40):
    """Vectors, lists and windows of all lengths, some rows without a window, a list, or with a short list."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*bounds, size):
        return torch.randint(*bounds, size, generator=generator).tolist()

    rows = torch.randn(n_rows, dim, generator=generator, dtype=dtype)
    columns = torch.randn(n_columns, dim, generator=generator, dtype=dtype)
    interesting = torch.stack(
        [torch.randperm(n_columns - 1, generator=generator)[:k] + 1 for _ in range(n_rows)]
    )
    kept = torch.randint(k + 1, (n_rows, 1), generator=generator)
    kept[0], kept[1] = 0, k
    interesting[torch.arange(k) >= kept] = 0
    lengths = draw(0, n_columns, size=(n_rows,))
    lengths[1], lengths[2], lengths[-1] = 0, n_columns - 1, 0
    circle = torch.randperm(n_columns - 1, generator=generator) + 1
    barred = set(zip(draw(n_rows, size=(n_barred,)), draw(n_columns - 1, size=(n_barred,)), strict=True))
    windows = make_windows(
        circle,
        draw(n_groups, size=(n_rows,)),
        draw(n_columns - 1, size=(n_groups,)),
        lengths,
        barred,
    )
    return rows, columns, interesting, windows


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


def assert_equals_dense(rows, columns, interesting, windows, score_max=10.0, row_weights=None, **tolerance):
    ours = [x.clone().requires_grad_() for x in (rows, columns)]
    theirs = [x.double().requires_grad_() for x in (rows, columns)]
    loss = windowed_ranking_loss(*ours, interesting, windows, score_max, row_weights)
    mask = windows.mask(len(columns))
    expected = dense_loss(*theirs, interesting, mask, score_max, 1.0 if row_weights is None else row_weights)
    assert loss.dim() == 0 and torch.isfinite(loss)
    torch.testing.assert_close(loss, expected.to(loss), **tolerance)
    for got, wanted in zip(gradients(loss, *ours), gradients(expected, *theirs), strict=True):
        torch.testing.assert_close(got, wanted.to(got), **tolerance)
