"""Stages under regularizers, of the student and of the teacher's members."""

import pytest
import torch

from recbole_ccd.model.growth import grow
from recbole_ccd.plugin.regularization import (
    GraphSAILRegularizer,
    LWCKDRegularizer,
    OutputKLRegularizer,
    PairKLRegularizer,
    chosen_regularizers,
)
from recbole_ccd.plugin.regularization.base import cluster_centers
from tests.model.small_models import small_model, state_of
from tests.plugin.regularization.batches import batch_of
from tests.plugin.stages import bound, stage_trainer, terms_of

ALL = ["lwc_kd", "output_kl", "pair_kl"]
NOTHING = {"lwc_kd_weight": 0.0, "piw": False, "output_kl_weight": 0.0, "pair_kl_weight": 0.0}
NO_GRAPHSAIL = {f"graphsail_{name}_weight": 0.0 for name in ("local", "global", "self")}


@pytest.fixture
def make_update(make_config, tiny_stream):
    """Makes a trainer on block 1 under the configured regularizers, and the frozen model of block 0."""

    def make(name="BPR", role="student", regularizer=None, **keys):
        settings = {"regularizer": regularizer, "graphsail_clusters": 4, **keys}
        config, old = small_model(make_config, name, tiny_stream[0], **settings)
        torch.manual_seed(5)
        model = grow(old, config, tiny_stream[1])
        trainer = stage_trainer(config, model, tiny_stream[1], f"{role}_update", previous=old)
        return trainer.add(*chosen_regularizers(trainer.config, model)), old

    return make


def trained(trainer):
    """The weights after a run, whatever was drawn from the global generators before."""
    torch.manual_seed(0)
    trainer.run(show_progress=False)
    return state_of(trainer.model)


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("LightGCN", LWCKDRegularizer), ("NeuMF", PairKLRegularizer), ("MultiVAE", OutputKLRegularizer)],
)
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_those_that_fit_the_model_are_found_and_learned_with(make_update, name, kind, role):
    keys = {"lwc_kd_weight": 5.0, "output_kl_weight": 5.0, "pair_kl_weight": 5.0}
    trainer, old = make_update(name, role, ALL, **keys)
    assert [type(plugin) for plugin in trainer.plugins] == [kind]
    before, frozen = state_of(trainer.model), state_of(old)
    held = trained(trainer)
    free = trained(make_update(name, role, None, **keys)[0])
    assert not same(before, held) and not same(free, held)
    assert same(frozen, old.state_dict())


def test_several_that_fit_are_added_in_their_order(make_update):
    kinds = {"lwc_kd": LWCKDRegularizer, "graphsail": GraphSAILRegularizer}
    for names in (["lwc_kd", "graphsail"], ["graphsail", "lwc_kd"]):
        trainer, _ = make_update(regularizer=names, piw=False)
        assert [type(plugin) for plugin in trainer.plugins] == [kinds[name] for name in names]
        assert len(terms_of(trainer, batch_of(trainer.block))) == 4


def test_the_terms_own_parameters_are_learned_too(make_update):
    keys = {"piw": True, "learning_rate": 0.01}
    assert len(make_update("LightGCN", "teacher", **keys)[0].optimizer.param_groups) == 1
    trainer, _ = make_update("LightGCN", "teacher", "lwc_kd", **keys)
    assert len(trainer.optimizer.param_groups) == 2
    (plugin,) = trainer.plugins
    centers = plugin.parameters()[0].detach().clone()
    trained(trainer)
    assert not torch.equal(plugin.parameters()[0], centers)


@pytest.mark.parametrize(
    ("name", "regularizer", "keys"),
    [
        ("BPR", "lwc_kd", NOTHING),
        ("LightGCN", "lwc_kd", NOTHING),
        ("NeuMF", "pair_kl", NOTHING),
        ("MultiVAE", "output_kl", NOTHING),
        ("BPR", "graphsail", NO_GRAPHSAIL),
        ("LightGCN", "graphsail", NO_GRAPHSAIL),
    ],
)
def test_without_weights_a_stage_is_plain_training(make_update, name, regularizer, keys):
    trainer, _ = make_update(name, regularizer=regularizer, **keys, epochs=2)
    assert trainer.plugins == [] and len(trainer.optimizer.param_groups) == 1
    plain, _ = make_update(name, **keys, epochs=2)
    assert same(trained(plain), trained(trainer))


def test_weights_of_other_terms_do_not_matter(make_config, tiny_stream):
    def chosen(name, **keys):
        settings = {**NOTHING, **NO_GRAPHSAIL, "regularizer": [*ALL, "graphsail"], **keys}
        config, frozen = small_model(make_config, name, tiny_stream[0], **settings)
        live = grow(frozen, config, tiny_stream[1])
        plugins = chosen_regularizers(config, live)
        return [bound(plugin, config, tiny_stream[1], frozen, live) for plugin in plugins]

    assert chosen("BPR", output_kl_weight=1.0, pair_kl_weight=1.0, piw_weight=1.0) == []
    # PIW's clusters alone would change nothing of the model
    assert chosen("BPR", piw=True, piw_weight=1.0) == []
    assert chosen("NeuMF", lwc_kd_weight=1.0, piw=True, graphsail_self_weight=1.0) == []
    assert chosen("BPR", piw=True, piw_weight=0.0) == []
    assert [plugin.name for plugin in chosen("BPR", lwc_kd_weight=1.0)] == ["lwc_kd"]
    assert [plugin.name for plugin in chosen("BPR", graphsail_self_weight=1.0)] == ["graphsail"]
    assert [plugin.name for plugin in chosen("NeuMF", pair_kl_weight=1.0)] == ["pair_kl"]
    assert chosen("NeuMF", output_kl_weight=1.0) == chosen("MultiVAE", pair_kl_weight=1.0) == []
    assert [plugin.name for plugin in chosen("MultiVAE", output_kl_weight=1.0)] == ["output_kl"]


def test_there_are_never_more_clusters_than_vectors():
    vectors = torch.tensor([[0.0, 1.0], [4.0, 4.0], [9.0, 0.0]])
    assert sorted(cluster_centers(vectors, 10, seed=0).tolist()) == sorted(vectors.tolist())
    assert cluster_centers(vectors, 1, seed=0).tolist() == [pytest.approx([13 / 3, 5 / 3])]
