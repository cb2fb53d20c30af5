"""Lists within groups of items: by sorting."""

from functools import partial

import pytest
import torch
from scipy.sparse import random as random_matrix

from recbole_ccd.ranking.groups import grouped_lists


def look_up(table, users):
    return table[users].clone()


@pytest.mark.parametrize("seen_first", [False, True])
def test_lists_equal_sorting(seen_first):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(9, 14, generator=generator)
    groups = torch.randint(3, (14,), generator=generator)
    # nobody is of group 3
    groups[0] = -1
    seen = random_matrix(9, 14, 0.3, "csr", random_state=0)
    barred = seen.toarray() != 0
    found = grouped_lists(partial(look_up, table), torch.arange(9), groups, 4, 5, seen, 4, seen_first)
    assert found.shape == (9, 4, 5) and not found[0].any()
    for user in range(1, 9):
        for group in range(4):
            members = [item for item in range(1, 14) if groups[item] == group]
            first = [item for item in members if barred[user, item]]
            others = [item for item in members if not barred[user, item]]
            others.sort(key=lambda item: -table[user, item].item())
            listed = [item for item in found[user, group].tolist() if item]
            if seen_first:
                assert set(listed[: len(first)]) == set(first[:5])
                assert listed[len(first) :] == others[: max(5 - len(first), 0)]
            else:
                assert listed == others[:5]
