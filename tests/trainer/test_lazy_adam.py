"""Each row has an Adam of its own, which steps with the batches that it is in."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from recbole_ccd import run_ccd
from recbole_ccd.config import STAGES
from recbole_ccd.model.growth import build
from recbole_ccd.trainer import lazy_adam as lazy_adam_module
from recbole_ccd.trainer.lazy_adam import LazyAdam, check_lazy
from recbole_ccd.trainer.stage_trainer import make_trainer
from recbole_ccd.utils.errors import ModelError
from tests.conftest import SMALL, SMALL_CCD


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rows_are_those_of_adams_of_their_own(sparse, decay):
    torch.manual_seed(2)
    table, layer = nn.Embedding(5, 3, sparse=sparse), nn.Linear(3, 1)
    rows = [nn.Parameter(row.clone()) for row in table.weight.detach()]
    bias, weight = (nn.Parameter(one.detach().clone()) for one in (layer.bias, layer.weight))
    naive = [Adam([row], lr=0.05, weight_decay=decay) for row in [*rows, bias, weight]]
    groups = [{"params": table.parameters(), "lazy": True}, {"params": layer.parameters()}]
    optimizer = LazyAdam(groups, 0.05, decay)
    for ids in ([0, 1, 1], [1, 3], [0, 1], [3, 3], [4]):
        optimizer.zero_grad()
        layer(table(torch.tensor(ids))).square().sum().backward()
        optimizer.step()
        for one in naive:
            one.zero_grad()
        sum((weight @ rows[n] + bias).square().sum() for n in ids).backward()
        for one in naive:
            # without a gradient it takes no step
            one.step()
    assert torch.allclose(table.weight, torch.stack([row.detach() for row in rows]), atol=1e-6)
    assert torch.allclose(layer.weight, weight, atol=1e-6) and torch.allclose(layer.bias, bias, atol=1e-6)
    assert 2 not in optimizer.state[table.weight]["steps"].nonzero()[:, 0]


@pytest.mark.parametrize("name", ["BPR", "NeuMF"])
def test_a_stage_learns_by_it(make_config, tiny_stream, name):
    config = make_config(name, learner="lazy_adam").for_stage("base")
    model = build(config, tiny_stream[0])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = make_trainer(config, model).bind(tiny_stream[0], "base", 1)
    assert isinstance(trainer.optimizer, LazyAdam)
    trainer.run(False)
    after = model.state_dict()
    for key, value in before.items():
        if "embedding" in key:
            # nobody reads [PAD]
            assert torch.equal(value[0], after[key][0]) and not torch.equal(value[1:], after[key][1:])
    assert not any(module.sparse for module in model.modules() if isinstance(module, nn.Embedding))
    state = trainer.optimizer.state_dict()
    again = make_trainer(config, build(config, tiny_stream[0])).optimizer
    again.load_state_dict(state)
    assert torch.equal(again.state_dict()["state"][0]["steps"], state["state"][0]["steps"])


def test_by_turns_it_is_the_same(make_config, tiny_stream, monkeypatch):
    seen, touched, weights = [], lazy_adam_module._touched, []

    def note(grad):
        seen.append(grad.is_sparse)
        return touched(grad)

    monkeypatch.setattr(lazy_adam_module, "_touched", note)
    config = make_config("BPR", learner="lazy_adam", epochs=2).for_stage("base")
    for by_turns in (False, True):
        torch.manual_seed(1)
        model = build(config, tiny_stream[0])
        trainer = make_trainer(config, model).bind(tiny_stream[0], "base", 1)
        if by_turns:
            for _ in trainer.turns(False):
                assert not any(part.sparse for part in model.modules() if isinstance(part, nn.Embedding))
        else:
            trainer.run(False)
        weights.append(model.state_dict())
    assert seen and all(seen)
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.parametrize("name", ["lwc_kd", "graphsail", "pisa", "ewc"])
def test_beside_regularizers(tiny_folder, tmp_path, name):
    keys = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {"embedding_size": 8}}
    keys |= {"data_path": str(tiny_folder), "block_ratios": [0.6, 0.4], "run_dir": str(tmp_path / "run")}
    keys |= {"learner": "lazy_adam", "regularizer": name}
    result = run_ccd("BPR", "tiny", config_dict=keys)
    assert all(np.isfinite(stage["loss"]).all() for stage in result.stages)


def test_beside_mutual_learning(tiny_folder, tmp_path):
    keys = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {"embedding_size": 8}}
    keys |= {"data_path": str(tiny_folder), "block_ratios": [0.6, 0.4], "run_dir": str(tmp_path / "run")}
    result = run_ccd("BPR", "tiny", config_dict={**keys, "learner": "lazy_adam", "mutual_learning": True})
    assert result.n_rows("student") == 2


def test_a_whole_run(tiny_folder, tmp_path):
    keys = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {"embedding_size": 8}}
    keys |= {"data_path": str(tiny_folder), "block_ratios": [0.6, 0.4], "run_dir": str(tmp_path / "run")}
    result = run_ccd("BPR", "tiny", config_dict={**keys, "learner": "lazy_adam"})
    assert result.n_rows("student") == result.n_rows("teacher") == 2
    with pytest.raises(ModelError, match="^learner is 'lazy_adam' for the student"):
        run_ccd("LightGCN", "tiny", config_dict={**keys, "learner": "lazy_adam", "run_dir": f"{tmp_path}/2"})


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        ("LightGCN", {"student_update_learner": "lazy_adam"}, "student_update_learner is .*LightGCN"),
        ("MultiVAE", {"learner": "Lazy_Adam"}, "^learner is .*MultiVAE"),
        ("BPR", {"learner": "lazy_adam", "clip_grad_norm": {"max_norm": 1}}, "clip_grad_norm"),
    ],
)
def test_refused(make_config, model, keys, words):
    with pytest.raises(ModelError, match=words):
        check_lazy(make_config(model, **keys), "student", STAGES)
    check_lazy(make_config("LightGCN"), "student", STAGES)


@pytest.mark.parametrize("base", ["distilled", "plain"])
def test_refused_where_all_blocks_are_learned_plainly(tiny_folder, base):
    keys = {**SMALL, "data_path": str(tiny_folder), "teacher_models": ["BPR"], "base": base}
    keys |= {"block_ratios": [0.6, 0.4], "strategy": "full_batch", "base_learner": "lazy_adam"}
    with pytest.raises(ModelError, match="^base_learner is 'lazy_adam' for the student"):
        run_ccd("LightGCN", "tiny", config_dict=keys)
