"""Sequential meta-learning: when its transfer is learned, on what, and what it makes."""

import itertools

import pytest
import torch
from recbole.data.interaction import Interaction

import recbole_ccd.strategy.sml as sml_module
from recbole_ccd.quick_start import create_stream
from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.strategy.sml import SML
from tests.conftest import few
from tests.strategy.runs import follow, recorded, same_weights

KEYS = {"base": "plain", "sml_learning_rate": 0.01, "sml_filters": [3, 2], "sml_hidden": 8}


class Noting(SML):
    """Notes what the transfer is learned from."""

    def prepare(self):
        super().prepare()
        self.noted = []

    def _fit(self, model, loader, config, before):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.noted.append((before.index, weights, list(loader)))
        super()._fit(model, loader, config, before)


@pytest.fixture(scope="module")
def make(make_config, tmp_path_factory):
    """Runs a strategy on the tiny stream, once for the same settings."""
    finished = {}

    def make(strategy, model, **keys):
        key = (strategy, model, str(keys))
        if key not in finished:
            config = make_config(model, strategy=strategy.name, **{**KEYS, **keys})
            kind = recorded(Noting if strategy is SML else strategy)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("run"))
                finished[key] = follow(config, kind, create_stream(config))
        return finished[key]

    return make


@pytest.mark.parametrize("model", few(["BPR", "LightGCN", "NeuMF"], "BPR"))
def test_block_1_is_fine_tuning_and_block_2_is_transferred(make, model):
    keys = {"mf_embedding_size": 8, "mlp_embedding_size": 8, "mlp_hidden_size": [8]}
    keys = keys if model == "NeuMF" else {}
    sml, fine_tune = make(SML, model, **keys), make(FineTune, model, **keys)
    for block in (0, 1):
        one, other = (strategy.states[block]["student"] for strategy in (sml, fine_tune))
        assert same_weights({"student": one}, {"student": other})
    last, served = sml.states[2], sml.states[2]["student"]
    tuned, start = last["fine-tuned"], last["transfer-start"]
    # fine-tuning begins with what has been served, and the last block's is that of any strategy
    assert same_weights({"": tuned}, {"": fine_tune.states[2]["student"]})
    made = sml._transfer(start, {name: tuned[name] for name in start}, _known(start, sml))
    for name, value in served.items():
        assert torch.equal(value, made[name] if name in made else tuned[name])
    old = _known(start, sml)
    for name, table in made.items():
        changed = (table != tuned[name]).any(dim=1)
        assert changed[1 : old[name]].all() and not changed[old[name] :].any() and not changed[0]
    assert len(made) == (4 if model == "NeuMF" else 2)


def _known(tables, strategy):
    first = strategy.states[1]["student"]
    return {name: len(first[name]) for name in tables}


@pytest.mark.parametrize("model", few(["BPR", "ENMF"], "BPR"))
def test_the_transfer_is_learned_on_what_has_happened_since(make, tiny_stream, model):
    sml = make(SML, model)
    ((index, weights, batches),) = sml.noted
    before, block = tiny_stream[1], tiny_stream[2]
    assert index == 1 and same_weights({"": weights}, {"": sml.states[1]["fine-tuned"]})
    users = torch.cat([batch["user_id"] for batch in batches])
    matrix = block.train_matrix.toarray()[: before.n_users, : before.n_items] > 0
    if model == "ENMF":
        assert sorted(users.tolist()) == matrix.any(axis=1).nonzero()[0].tolist()
        return
    items, negatives = (torch.cat([batch[name] for batch in batches]) for name in ("item_id", "neg_item_id"))
    assert matrix[users, items].all() and not matrix[users, negatives].any()
    inside = (block.train.inter_feat["user_id"] < before.n_users) & (
        block.train.inter_feat["item_id"] < before.n_items
    )
    assert len(users) == inside.sum() and negatives.max() < before.n_items


def test_what_it_makes_has_a_lower_loss_and_its_time_counts(make_config, tiny_stream, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a hundred seconds pass whenever somebody looks
    monkeypatch.setattr(sml_module, "perf_counter", itertools.count(0, 100).__next__)
    losses = []

    class Measured(SML):
        def _fit(self, model, loader, config, before):
            for _ in range(2):
                tables = self._made(self._tables(model, before), before)
                with torch.no_grad():
                    for name, value in model.named_parameters():
                        kept = value.clone()
                        value.copy_(tables[name])
                        tables[name] = kept
                    losses.append(sum(model.calculate_loss(batch).item() for batch in loader))
                    for name, value in model.named_parameters():
                        value.copy_(tables[name])
                if len(losses) < 2:
                    super()._fit(model, loader, config, before)

    config = make_config("BPR", strategy="sml", **{**KEYS, "sml_epochs": 30})
    stages = follow(config, Measured, tiny_stream).result.stages
    assert [stage["seconds"] > 100 for stage in stages] == [False, True, True]
    assert losses[1] < 0.98 * losses[0]


def test_what_a_block_says_about_those_who_were_known(tiny_stream):
    before, block = tiny_stream[1], tiny_stream[2]
    known = block.among_known()
    assert (known.n_users, known.n_items) == (before.n_users, before.n_items)
    assert (known.index, known.previous) == (2, before) and not len(known.valid) and not len(known.test)
    wanted = block.train_matrix[: before.n_users, : before.n_items]
    assert (known.train_matrix != wanted).nnz == 0 < known.train_matrix.nnz < block.train_matrix.nnz


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_candidates_of_dynamic_negatives_are_ranked_by_what_the_transfer_makes(
    make_config, tiny_stream, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    seen = []

    class Watched(SML):
        def _fit(self, model, loader, config, before):
            super()._fit(model, loader, config, before)
            users, items = torch.arange(1, before.n_users), torch.ones(before.n_users - 1, dtype=torch.int64)
            pairs = Interaction({"user_id": users, "item_id": items})
            unmoved = model.predict(pairs).detach()
            found = loader.model.predict(pairs)
            made = self._made(self._tables(model, before), before)
            with torch.no_grad():
                for table, value in model.named_parameters():
                    value.copy_(made.get(table, value))
            assert torch.equal(found, model.predict(pairs)) and not torch.allclose(found, unmoved)
            seen.append(before.index)

    dynamic = {"dynamic": True, "candidate_num": 3}
    config = make_config(name, strategy="sml", **{**KEYS, "sml_epochs": 3, "train_neg_sample_args": dynamic})
    follow(config, Watched, tiny_stream)
    assert seen == [1]
