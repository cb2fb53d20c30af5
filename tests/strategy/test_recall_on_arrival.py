"""R[k][k], the student as it is when block k has been learned, against a plain full sort."""

import numpy as np
import pytest
import torch

from recbole_ccd.model.scoring import factors
from tests.strategy.runs import Recorded, follow, teachers


class Scored(Recorded):
    """Keeps the student's scores of every block."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def train_block(self, block):
        super().train_block(block)
        with torch.no_grad():
            users, items = factors(self.student)
            self.seen.append((block, (users @ items.T).numpy()))


def pairs(part):
    return zip(part.inter_feat["user_id"].tolist(), part.inter_feat["item_id"].tolist(), strict=True)


@pytest.mark.parametrize("student", ["LightGCN", "ENMF"])
def test_the_diagonal_of_r_is_recall_among_known_items(make_config, tmp_path, monkeypatch, student):
    monkeypatch.chdir(tmp_path)
    strategy = follow(make_config(student, **teachers("BPR")), Scored)
    for (block, scores), row in zip(
        strategy.seen, strategy.result.summary("student", "recall@5")["R"], strict=True
    ):
        assert scores.shape == (block.n_users, block.n_items)
        scores[:, 0] = -np.inf
        for part in (block.train, block.valid):
            for user, item in pairs(part):
                scores[user, item] = -np.inf
        wanted = {}
        for user, item in pairs(block.test):
            wanted.setdefault(user, set()).add(item)
        top = {user: set(np.argsort(-scores[user], kind="stable")[:5].tolist()) for user in wanted}
        recall = np.mean([len(top[user] & items) / len(items) for user, items in wanted.items()])
        assert row[-1] == pytest.approx(recall, abs=1e-6)
