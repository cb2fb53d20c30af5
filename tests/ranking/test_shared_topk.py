"""Each user's top items where several workers share the users: those of one process."""

from functools import partial

import pytest
import torch
from scipy.sparse import random as random_matrix

from recbole_ccd.model.scoring import clear_cache, row_scorer
from recbole_ccd.plugin.replay import proxy_guided
from recbole_ccd.ranking import tiles, top_k, top_lists
from tests.model.small_models import small_model
from tests.ranking.test_lists import N_ITEMS, N_USERS, look_up, table_of
from tests.utils.parallel.elsewhere import Elsewhere

SEEN = random_matrix(N_USERS, N_ITEMS, 0.1, "csr", random_state=1)


def look_up_all_but(missing, table, users):
    if bool((users == missing).any()):
        raise ValueError(f"user {missing} is missing")
    return table[users].clone()


@pytest.mark.parametrize("levels", [0, 2, 7])
@pytest.mark.parametrize(("at_once", "batch_size", "k"), [(2, 50, 5), (5, 17, 60), (3, 64, 1)])
def test_shared_or_not_the_lists_are_the_same(levels, at_once, batch_size, k):
    workers, users = Elsewhere(at_once), torch.arange(N_USERS).flip(0)
    arguments = (partial(look_up, table_of(levels)), users, k, SEEN, batch_size)
    assert torch.equal(top_k(*arguments), top_k(*arguments, workers, worth=1))
    assert sorted(workers.done) == list(range(at_once))


def test_a_short_pass_is_not_shared():
    workers = Elsewhere(2)
    top_k(partial(look_up, table_of(0)), torch.arange(N_USERS), 5, None, 50, workers)
    assert workers.done == []


def test_a_share_that_fails_tells_so():
    score = partial(look_up_all_but, 880, table_of(0))
    with pytest.raises(ValueError, match="user 880 is missing"):
        top_k(score, torch.arange(N_USERS), 5, None, 50, Elsewhere(2), worth=1)


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NGCF", "MultiVAE", "NeuMF"])
@pytest.mark.parametrize("large", [False, True])
def test_so_are_those_of_models(tiny_stream, make_config, monkeypatch, name, large):
    if large:
        monkeypatch.setattr(tiles, "_WORTH", 10)
        monkeypatch.setattr(tiles, "_SHORT", 0.5)
    block, workers, found = tiny_stream[2], Elsewhere(3), []
    model = small_model(make_config, name, block)[1]
    for who in (None, workers):
        torch.manual_seed(1)
        clear_cache(model)
        users = torch.arange(model.n_users)
        found.append(top_k(row_scorer(model), users, 8, block.train_matrix, 9, who, worth=1))
    assert torch.equal(*found) and sorted(workers.done) == [0, 1, 2]


class Noisy:
    """Scores as a model that draws, once for all users, when it first scores, and keeps what it has drawn."""

    def __init__(self, table):
        self._table, self._noise = table, None

    def __call__(self, users):
        if self._noise is None:
            self._noise = torch.randn(self._table.shape)
        return self._table[users] + self._noise[users]


@pytest.mark.parametrize("find", [top_k, lambda *arguments, **keys: top_lists(*arguments, **keys)[0]])
def test_what_a_model_draws_once_is_sent_with_it(find):
    workers, found = Elsewhere(3), []
    sizes = (5,) if find is top_k else (N_ITEMS, 5, 0)
    for who in (None, workers):
        torch.manual_seed(1)
        arguments = (Noisy(table_of(0)), torch.arange(N_USERS), *sizes, SEEN, 50)
        found.append(find(*arguments, workers=who, worth=1))
    assert torch.equal(*found) and sorted(workers.done) == [0, 1, 2]


def test_candidates_of_replay_are_shared(tiny_stream, make_config, monkeypatch):
    """The model is left as one process leaves it: with what it has propagated."""
    monkeypatch.setattr(proxy_guided, "top_k", partial(top_k, worth=1))
    monkeypatch.setattr(proxy_guided, "users_at_a_time", lambda *_: 9)
    block, workers = tiny_stream[1], Elsewhere(2)
    one, other = (small_model(make_config, "LightGCN", block)[1] for _ in range(2))
    alone = proxy_guided.top_candidates(one, block.recent_train_matrix, 10)
    assert torch.equal(alone, proxy_guided.top_candidates(other, block.recent_train_matrix, 10, workers))
    assert workers.done == [1, 0] and torch.equal(one.restore_user_e, other.restore_user_e)
