"""Where each member of a teacher ranks what is listed: by counting."""

from functools import partial

import torch
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix

from recbole_ccd.ranking.members import ranks_by_member


def look_up(table, users):
    return table[users].clone()


def test_ranks_equal_loops():
    generator = torch.Generator().manual_seed(0)
    tables = torch.randint(9, (3, 12, 20), generator=generator).float()
    lists = torch.stack([torch.randperm(19, generator=generator)[:5] + 1 for _ in range(12)])
    seen = random_matrix(12, 20, 0.2, "csr", random_state=0)
    barred = seen.toarray() != 0
    lists[torch.from_numpy(barred).gather(1, lists)] = 0
    lists[0] = 0
    members = [partial(look_up, table) for table in tables]
    ranks = ranks_by_member(members, torch.arange(12), lists, seen, batch_size=5)
    assert ranks.shape == (12, 5, 3) and ranks.dtype == torch.int32
    for user in range(12):
        candidates = [item for item in range(1, 20) if not barred[user, item]]
        for place, item in enumerate(lists[user].tolist()):
            for m, table in enumerate(tables[:, user]):
                higher = sum((table[other] > table[item]).item() for other in candidates)
                assert ranks[user, place, m] == (1 + higher if item else 0)


def test_what_is_no_candidate_has_no_rank_to_take():
    table = torch.tensor([[0.0, 0, 0, 0], [9.0, 3, 2, 1]])
    seen = csr_matrix(([1.0], ([1], [1])), shape=(2, 4))
    lists = torch.tensor([[0, 0], [2, 3]])
    ask = partial(ranks_by_member, [partial(look_up, table)], torch.arange(2), lists)
    assert ask(seen)[1].tolist() == [[1], [2]] and ask()[1].tolist() == [[2], [3]]
