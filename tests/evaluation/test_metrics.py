"""Every metric that can be asked for is what its definition says, at the borders too."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import BPR
from scipy.sparse import lil_matrix
from torch import nn

from recbole_ccd.config.values import metric_names, supported_metrics
from recbole_ccd.data.dataloader import EvaluatedUsers
from recbole_ccd.evaluation import FullSortEvaluator
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import RunError
from tests.evaluation.test_full_sort import Loader, TableModel, look_up, make_config, no_arguments

ITEMS, TOPK = 12, [1, 3, 5]
ALL = ["Hit", "MRR", "MAP", "Recall", "NDCG", "Precision", "GAUC", "ShannonEntropy"]
__all__ = ["no_arguments"]


def case(name):
    """Scores of users x items without ties, and a loader."""
    rng = np.random.default_rng(7)
    table = rng.permuted(np.tile(np.arange(ITEMS, dtype=float), (8, 1)), axis=1)
    wanted = {u: rng.choice(np.arange(1, ITEMS), 1 + u % 4, replace=False).tolist() for u in range(1, 8)}
    history = {u: [i for i in range(1, ITEMS) if i not in wanted[u]][:3] for u in wanted}
    if name == "users without hits":
        for user in (2, 5):
            table[user, wanted[user]] -= 100
    elif name == "nobody has a hit":
        for user, items in wanted.items():
            table[user, items] -= 100
    elif name == "items never recommended":
        table[:, 6:] -= 100
    elif name == "few candidates":
        history = {u: [i for i in range(1, ITEMS) if i not in wanted[u]][: 9 - u % 3] for u in wanted}
    elif name == "wanted items are masked":
        history = {u: [*range(3, ITEMS)] for u in wanted}
        wanted = {u: [*items, 1] if 1 not in items else items for u, items in wanted.items()}
    return torch.tensor(table, dtype=torch.float32), Loader(wanted, history, step=3)


CASES = [
    "as usual",
    "users without hits",
    "nobody has a hit",
    "items never recommended",
    "few candidates",
    "wanted items are masked",
]


def by_hand(table, loader):
    """All metrics by their definitions; a list ends where the candidates do."""
    of_users, shown, auc = {}, {k: [] for k in TOPK}, []
    for user, wanted in loader.positives.items():
        open_to = [i for i in range(1, ITEMS) if i not in loader.history[user]]
        ranked = sorted(open_to, key=lambda item: -table[user, item])
        good = [i for i in wanted if i in open_to]
        bad = [i for i in open_to if i not in wanted]
        if good and bad:
            above = [float(np.sign(table[user, g] - table[user, b])) / 2 + 0.5 for g in good for b in bad]
            auc.append((len(good), np.mean(above)))
        for k in TOPK:
            top = ranked[:k]
            shown[k] += top
            places = [place for place, item in enumerate(top, 1) if item in wanted]
            precision_at = [(n + 1) / place for n, place in enumerate(places)]
            ideal = sum(1 / np.log2(place + 1) for place in range(1, min(k, len(wanted)) + 1))
            for name, value in {
                "hit": float(bool(places)),
                "mrr": 1 / places[0] if places else 0.0,
                "map": sum(precision_at) / min(k, len(wanted)),
                "recall": len(places) / len(wanted),
                "precision": len(places) / k,
                "ndcg": sum(1 / np.log2(place + 1) for place in places) / ideal,
            }.items():
                of_users.setdefault(f"{name}@{k}", []).append(value)
    values = {name: float(np.mean(found)) for name, found in of_users.items()}
    values["gauc"] = sum(n * value for n, value in auc) / sum(n for n, _ in auc)
    for k, items in shown.items():
        shares = [count / len(items) for count in Counter(items).values()]
        values[f"shannonentropy@{k}"] = -sum(share * np.log(share) for share in shares)
    return values


def asked(names):
    return metric_names(names, TOPK)


def measured(names, table, loader, **keys):
    config = make_config(metrics=names, topk=TOPK, metric_decimal_place=12, **keys)
    return FullSortEvaluator(config, look_up).evaluate(TableModel(table), loader)


def test_these_are_all():
    assert sorted(supported_metrics()) == sorted(name.lower() for name in ALL)


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_what_they_are_defined_as(name):
    table, loader = case(name)
    expected = by_hand(table.numpy(), loader)
    found = measured(ALL, table, loader)
    assert found == pytest.approx({key: expected[key] for key in asked(ALL)}, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_metrics_of_lists_need_no_whole_rankings(name):
    table, loader = case(name)
    names = [metric for metric in ALL if metric != "GAUC"]
    expected = by_hand(table.numpy(), loader)
    assert measured(names, table, loader) == pytest.approx(
        {key: expected[key] for key in asked(names)}, abs=1e-6
    )


@pytest.mark.parametrize("name", CASES)
def test_early_stopping_measures_the_same(name, make_config, tiny_stream):
    table, loader = case(name)
    config = make_config("BPR", metrics=ALL, topk=TOPK, valid_metric="GAUC", metric_decimal_place=12)
    model = BPR(config, tiny_stream[0].train)
    # the products of these vectors are the table
    model.user_embedding, model.item_embedding = map(nn.Embedding.from_pretrained, (table, torch.eye(ITEMS)))
    model.n_items = ITEMS
    evaluated = StageTrainer(config, model).evaluate([part_of(loader)])
    expected = by_hand(table.numpy(), loader)
    assert evaluated == pytest.approx({key: expected[key] for key in asked(ALL)}, abs=1e-6)


def part_of(loader):
    """The same users as a loader of a block has them."""
    ids, n_users = torch.tensor(list(loader.positives)), max(loader.positives) + 1
    positives, history = (lil_matrix((n_users, ITEMS)) for _ in range(2))
    for matrix, items in ((positives, loader.positives), (history, loader.history)):
        for user, listed in items.items():
            matrix[user, listed] = 1
    rows = Interaction({"user_id": ids})
    users = EvaluatedUsers(ids, rows, "user_id", positives.tocsr(), history.tocsr())
    return SimpleNamespace(
        uid_list=ids, step=loader.step, population=None, history=users.history, evaluated=users
    )


def test_of_equal_scores_half_are_above():
    # item 1 is wanted: one above, two as good, one below; then a user who cannot tell anything apart
    table = torch.tensor([[0.0] * 6, [0, 5, 9, 5, 5, 1], [0, 3, 3, 3, 3, 3]])
    loader = Loader({1: [1], 2: [2, 4]}, {1: [], 2: []})
    first = (0 + 0.5 + 0.5 + 1) / 4
    assert measured(["GAUC"], table, loader)["gauc"] == pytest.approx((first + 2 * 0.5) / 3)


@pytest.mark.parametrize("place", [1, 2, 4])
def test_all_metrics_are_rounded(place):
    table, loader = case("as usual")
    config = make_config(metrics=ALL, topk=TOPK, metric_decimal_place=place)
    for name, value in FullSortEvaluator(config, look_up).evaluate(TableModel(table), loader).items():
        assert value == round(value, place), name


def test_entropy_is_that_of_the_shares():
    # 40 users and as many items, each recommended once: the logarithm of 40
    table = torch.zeros(41, 41)
    table[torch.arange(1, 41), torch.arange(1, 41)] = 1.0
    loader = Loader({user: [user % 40 + 1] for user in range(1, 41)}, None)
    config = make_config(metrics=["ShannonEntropy"], topk=[1])
    found = FullSortEvaluator(config, look_up).evaluate(TableModel(table), loader)
    assert found["shannonentropy@1"] == pytest.approx(np.log(40))


def test_gauc_of_nobody_is_refused():
    table, _ = case("as usual")
    everything = list(range(1, ITEMS))
    with pytest.raises(RunError, match="GAUC is of users with candidates both wanted and not"):
        measured(["GAUC"], table, Loader({1: [3], 2: [5]}, {1: everything, 2: everything}))
