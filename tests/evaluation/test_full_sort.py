"""FullSortEvaluator against a naive computation, and what it refuses."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_ccd.compat import NumpyLeftAlone
from recbole_ccd.evaluation import FullSortEvaluator
from recbole_ccd.ranking import ScoreFn
from recbole_ccd.utils.errors import RunError

USERS, ITEMS, TOPK = 9, 30, [3, 10]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole's Config reads the command line, which is pytest's here."""
    monkeypatch.setattr(sys, "argv", ["pytest"])


def make_config(**changes: Any) -> NumpyLeftAlone:
    keys = {"metrics": ["Recall", "NDCG"], "topk": TOPK, "metric_decimal_place": 10, "gpu_id": "", **changes}
    keys["valid_metric"] = f"{keys['metrics'][0]}@{keys['topk'][0]}"
    return NumpyLeftAlone(model="BPR", dataset="ml-100k", config_dict=keys)


class TableModel(nn.Module):
    """Scores are a table of users x items."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)


def look_up(model: nn.Module) -> ScoreFn:
    def score(users: Tensor) -> Tensor:
        assert not torch.is_grad_enabled() and not model.training
        return model.table[users]

    return score


class Loader:
    """Batches of ``step`` users as RecBole's FullSortEvalDataLoader gives them."""

    def __init__(
        self, positives: dict[int, list[int]], history: dict[int, list[int]] | None, step: int = 2
    ) -> None:
        self.positives, self.history, self.step = positives, history, step

    def __len__(self) -> int:
        return -(-len(self.positives) // self.step)

    def __iter__(self) -> Iterator[Any]:
        users = list(self.positives)
        for start in range(0, len(users), self.step):
            part = users[start : start + self.step]
            history = None if self.history is None else self._pairs(part, self.history)
            yield Interaction({"user_id": torch.tensor(part)}), history, *self._pairs(part, self.positives)

    @staticmethod
    def _pairs(users: list[int], items: dict[int, list[int]]) -> tuple[Tensor, Tensor]:
        pairs = [(row, item) for row, user in enumerate(users) for item in items.get(user, [])]
        rows, ids = zip(*pairs, strict=True) if pairs else ((), ())
        return torch.tensor(rows, dtype=torch.long), torch.tensor(ids, dtype=torch.long)


def naive(table: np.ndarray, loader: Loader) -> dict[str, float]:
    """Recall@k = hits / |positives|; NDCG@k = sum 1/log2(1+rank) of hits / the best possible sum."""
    values: dict[str, list[float]] = {f"{m}@{k}": [] for k in TOPK for m in ("recall", "ndcg")}
    for user, wanted in loader.positives.items():
        seen = {0, *(loader.history or {}).get(user, [])}
        ranked = [i for i in np.argsort(-table[user]).tolist() if i not in seen]
        for k in TOPK:
            gains = [1 / np.log2(rank + 1) for rank, item in enumerate(ranked[:k], 1) if item in wanted]
            ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
            values[f"recall@{k}"].append(len(gains) / len(wanted))
            values[f"ndcg@{k}"].append(sum(gains) / ideal)
    return {name: float(np.mean(of_users)) for name, of_users in values.items()}


def random_case(seed: int) -> tuple[Tensor, Loader]:
    rng = np.random.default_rng(seed)
    table = torch.tensor(rng.normal(size=(USERS, ITEMS)), dtype=torch.float32)
    draws = {u: rng.permutation(np.arange(1, ITEMS)).tolist() for u in range(1, USERS)}
    positives = {u: draw[: 1 + u % 4] for u, draw in draws.items()}
    return table, Loader(positives, {u: draw[5:12] for u, draw in draws.items()})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_history", [True, False])
def test_equals_the_naive_computation(seed: int, with_history: bool) -> None:
    table, loader = random_case(seed)
    if not with_history:
        loader.history = None
    result = FullSortEvaluator(make_config(), look_up).evaluate(TableModel(table), loader)
    assert result == pytest.approx(naive(table.numpy(), loader), abs=1e-6)
    assert all(type(value) is float for value in result.values())


def test_a_masked_test_item_is_never_hit_but_counts_as_wanted() -> None:
    # user 1 wants 1 and 2 and has 1 in the history: 2 and 3 are left, so a top 3 must reach into the masked
    table = torch.tensor([[0.0] * 4, [9.0, 8.0, 5.0, 4.0]])
    loader = Loader({1: [1, 2]}, {1: [1]})
    result = FullSortEvaluator(make_config(topk=[3]), look_up).evaluate(TableModel(table), loader)
    # one hit of two, at rank 1: DCG 1 of 1 + 1/log2(3)
    assert result["recall@3"] == 0.5
    assert result["ndcg@3"] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_lists_may_be_longer_than_the_catalogue() -> None:
    table = torch.tensor([[0.0] * 4, [0.0, 1.0, 2.0, 3.0]])
    result = FullSortEvaluator(make_config(topk=[100]), look_up).evaluate(
        TableModel(table), Loader({1: [1]}, {1: []})
    )
    assert result["recall@100"] == 1.0
    # third of three: 1/log2(4)
    assert result["ndcg@100"] == 0.5


def test_other_ranking_metrics_of_recbole_work() -> None:
    table = torch.tensor([[0.0] * 5, [0.0, 4.0, 3.0, 2.0, 1.0], [0.0, 4.0, 3.0, 1.0, 2.0]])
    loader = Loader({1: [1], 2: [3]}, None, step=1)
    names = ["Hit", "MRR", "Precision", "MAP", "GAUC", "ItemCoverage", "AveragePopularity"]
    config = make_config(metrics=names, topk=[2])
    counter = SimpleNamespace(item_counter={1: 6, 2: 2, 3: 1})
    result = FullSortEvaluator(config, look_up).evaluate(TableModel(table), loader, train_data=counter)
    # both lists are [1, 2]: user 1 is hit at rank 1, user 2 not; 2 of 5 items shown; popularity (6 + 2) / 2;
    # the wanted item beats three of three others for user 1 and none for user 2
    assert result == pytest.approx(
        {
            "hit@2": 0.5,
            "mrr@2": 0.5,
            "precision@2": 0.25,
            "map@2": 0.5,
            "gauc": 0.5,
            "itemcoverage@2": 0.4,
            "averagepopularity@2": 4.0,
        }
    )


def test_popularity_metrics_ask_for_the_training_data() -> None:
    config = make_config(metrics=["AveragePopularity"])
    table, loader = random_case(0)
    with pytest.raises(RunError, match="train_data"):
        FullSortEvaluator(config, look_up).evaluate(TableModel(table), loader)


def test_the_models_tensors_stay_as_they_are() -> None:
    table, loader = random_case(0)

    class KeepsItsScores(TableModel):
        USER_ID, n_items = "user_id", ITEMS

        def full_sort_predict(self, interaction: Interaction) -> Tensor:
            return self.table.detach()[: len(interaction["user_id"])]

    model = KeepsItsScores(table.clone())
    FullSortEvaluator(make_config()).evaluate(model, loader)
    assert torch.equal(model.table, table)


def test_nan_names_the_block() -> None:
    table, loader = random_case(0)
    table[3, 4] = torch.nan
    with pytest.raises(RunError, match="block 3.*NaN"):
        FullSortEvaluator(make_config(), look_up).evaluate(TableModel(table), loader, label="block 3")


def test_unknown_items_and_empty_loaders_are_refused() -> None:
    table, _ = random_case(0)
    evaluator = FullSortEvaluator(make_config(), look_up)
    with pytest.raises(RunError, match="item 30 is unknown"):
        evaluator.evaluate(TableModel(table), Loader({1: [30]}, None))
    with pytest.raises(RunError, match="nothing to evaluate"):
        evaluator.evaluate(TableModel(table), Loader({}, None))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_sees_a_bar_with_the_label(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    table, loader = random_case(0)
    FullSortEvaluator(make_config(), look_up).evaluate(TableModel(table), loader, progress="Evaluate B3")
    assert ("Evaluate B3" in capsys.readouterr().err) is terminal
    FullSortEvaluator(make_config(), look_up).evaluate(TableModel(table), loader)
    assert capsys.readouterr().err == ""
