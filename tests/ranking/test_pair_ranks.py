"""Ranks of pairs among what their users have not seen: those of a loop, however many users at a time."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import recbole_ccd.ranking.pair_ranks as module
from recbole_ccd.ranking.pair_ranks import pair_ranks


@pytest.mark.parametrize("at_a_time", [1, 3, 100])
def test_it_equals_a_loop(monkeypatch, at_a_time):
    monkeypatch.setattr(module, "users_at_a_time", lambda n: at_a_time)
    generator = np.random.default_rng(0)
    held = generator.random((8, 20)) < 0.3
    held[[0, 3]], held[:, 0] = False, False
    pairs = csr_matrix(held, dtype=np.float32)
    # with equal scores, which do not count as higher
    scores = torch.from_numpy(generator.integers(0, 6, (8, 20)).astype(np.float32))
    found = pair_ranks(lambda users: scores[users].clone(), pairs, torch.device("cpu"))
    dense, expected = pairs.toarray(), []
    for user, item in zip(*pairs.nonzero(), strict=True):
        others = [j for j in range(1, 20) if not dense[user, j]]
        expected.append(1 + sum(int(scores[user, j] > scores[user, item]) for j in others))
    assert found.dtype == torch.int32 and found.tolist() == expected
    assert len(pair_ranks(lambda users: scores[users], csr_matrix((8, 20)), torch.device("cpu"))) == 0
