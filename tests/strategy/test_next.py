"""The next block before it is learned, by a naive loop over what runs have measured."""

import numpy as np
import pytest
import torch

from recbole_ccd.data.splitting import VALID
from recbole_ccd.model.scoring import clear_cache, score_rows
from recbole_ccd.quick_start import create_stream
from tests.conftest import few
from tests.strategy.runs import STRATEGIES, follow, teachers

CASES = {
    "ccd": {**teachers("LightGCN", "MultiVAE")},
    "ccd-generated": {**teachers("BPR"), "deployed_student": "generated", "graph": "block"},
    "distill_each_block": {**teachers("BPR"), "strategy": "distill_each_block"},
    "retrain_distill": {**teachers("BPR"), "strategy": "retrain_distill"},
    "full_batch": {"strategy": "full_batch", "base": "plain"},
    "full_batch-ease": {"strategy": "full_batch", "model": "EASE"},
    "static": {"strategy": "static", "base": "plain", "eval_part": "valid"},
    "fine_tune": {"strategy": "fine_tune", "base": "plain", "model": "BPR", "mask_history": "all"},
}


@torch.no_grad()
def scores_of(model, now):
    clear_cache(model)
    scores = score_rows(model, torch.arange(now.n_users)).double().numpy()
    clear_cache(model.eval())
    return scores


def asking(strategy):
    """The strategy, which records every user's scores of every item whenever a block arrives."""

    class Asking(strategy):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.asked = []

        def train_block(self, block):
            if block.index:
                models = {"student": self.student, "teacher": self.teacher}
                known = {role: model for role, model in models.items() if model is not None}
                self.asked.append({role: scores_of(model, block.before) for role, model in known.items()})
            super().train_block(block)

    return Asking


def naive(stream, k, scores, valid_only):
    """Recall@5 and NDCG@5 on block k + 1 of scores after block k, user by user."""
    data, before = stream.dataset, stream[k]
    users, items = (data.inter_feat[field].tolist() for field in ("user_id", "item_id"))
    had, new = {}, {}
    for user, item, block, part in zip(users, items, data.block_of_row, data.part_of_row, strict=True):
        if block <= k and (not valid_only or part <= VALID):
            had.setdefault(user, set()).add(item)
        known = user < before.n_users and item < before.n_items
        if block == k + 1 and known and (not valid_only or part == VALID):
            new.setdefault(user, set()).add(item)
    recalls, gains = [], []
    for user, found in new.items():
        seen = had.get(user, set())
        wanted = found - seen
        if not wanted:
            continue
        candidates = [item for item in range(1, before.n_items) if item not in seen]
        ranked = sorted(candidates, key=lambda item, user=user: -scores[user, item])[:5]
        hits = [item in wanted for item in ranked]
        recalls.append(sum(hits) / len(wanted))
        ideal = sum(1 / np.log2(place + 2) for place in range(min(5, len(wanted))))
        gains.append(sum(hit / np.log2(place + 2) for place, hit in enumerate(hits)) / ideal)
    return np.mean(recalls), np.mean(gains)


@pytest.mark.parametrize("case", few(list(CASES), "ccd", "full_batch-ease", "static"))
def test_next_is_that_of_a_naive_loop(make_config, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    keys = {"strategy": "ccd", "metric_decimal_place": 15, "model": "LightGCN", **CASES[case]}
    config = make_config(keys.pop("model"), **keys)
    stream = create_stream(config)
    strategy = follow(config, asking(STRATEGIES[keys["strategy"]]), stream)
    result = strategy.result
    assert set(strategy.asked[0]) == set(result.roles)
    for k, asked in enumerate(strategy.asked):
        for role, scores in asked.items():
            recall, gain = naive(stream, k, scores, config["eval_part"] == "valid")
            assert result.next_values(role, "recall@5")[k] == pytest.approx(recall)
            assert result.next_values(role, "ndcg@5")[k] == pytest.approx(gain)
            assert 0 < recall < 1
    for role in result.roles:
        found, random = (result.next_values(name, "recall@5") for name in (role, "random"))
        assert len(found) == len(random) == 2
        document = result.to_dict()["next"]["metrics"]["recall@5"][role]
        assert document["FWT"] == pytest.approx(np.mean(found) - np.mean(random))
        assert document["next_mean"] == pytest.approx(np.mean(found))
    assert [set(shares) for shares in result.unserved] == [{"users", "items", "interactions"}] * 2


def test_a_stream_of_one_block_has_no_next(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strategy = follow(make_config(strategy="static", base="plain", block_ratios=[1.0]), STRATEGIES["static"])
    document = strategy.result.to_dict()["next"]
    assert document == {"metrics": {"recall@5": {}, "ndcg@5": {}}, "unserved": []}
