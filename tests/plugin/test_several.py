"""Several plugins of a stage: their order is that of their terms and passes, and of nothing else."""

import pytest
import torch

from recbole_ccd.plugin.base import TrainerPlugin
from recbole_ccd.plugin.distillation import PreviousTeacherDistillation
from recbole_ccd.plugin.regularization import GraphSAILRegularizer, LWCKDRegularizer
from recbole_ccd.plugin.replay import ProxyGuidedReplay
from recbole_ccd.utils.seeding import torch_generator
from tests.model.small_models import scatter, small_model, state_of
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of
from tests.plugin.stages import past_and_present, stage_trainer, terms_of


class Drawing(TrainerPlugin):
    """Adds a random multiple of the length of a table's looked-up rows."""

    def __init__(self, table):
        self.name, self.table = f"drawing {table}", table

    def before_epoch(self, epoch):
        self.generator = torch_generator(self.seed, self.name, epoch)

    def batch_losses(self, interaction):
        rows = getattr(self.model, f"{self.table}_embedding")(interaction[f"{self.table}_id"])
        return (torch.rand((), generator=self.generator) * rows.square().sum(),)


@pytest.fixture
def update(make_config, tiny_stream):
    """Makes the trainer of an update on block 1 with some plugins."""

    def make(*plugins, name="BPR", **keys):
        config, old, live = past_and_present(make_config, tiny_stream, name, **keys)
        scatter(live, seed=1)
        return stage_trainer(config, live, tiny_stream[1], "student_update", *plugins, previous=old)

    return make


def test_terms_come_in_the_order_of_the_plugins_and_do_not_depend_on_it(update):
    keys = {"lwc_kd_anchors": 5, "piw": True, "graphsail_clusters": 3}
    kinds = {"lwc_kd": LWCKDRegularizer, "graphsail": GraphSAILRegularizer}
    found = {}
    for names in (("lwc_kd", "graphsail"), ("graphsail", "lwc_kd")):
        trainer = update(*(kinds[name]() for name in names), **keys)
        batches = list(trainer.block.train_loader(trainer.config, seed=1))[:3]
        found[names[0]] = [[term.item() for term in terms_of(trainer, batch)] for batch in batches]
    for one, other in zip(found["lwc_kd"], found["graphsail"], strict=True):
        contrast, graphsail = one[:2], one[2:]
        assert len(graphsail) == 3 and other == [*graphsail, *contrast]
    # anchors are drawn anew for each batch
    assert found["lwc_kd"][0] != found["lwc_kd"][1]


def test_plugins_that_draw_do_not_disturb_one_another(update):
    after = []
    for tables in (("user", "item"), ("item", "user")):
        trainer = update(*map(Drawing, tables), epochs=2, learner="sgd", learning_rate=0.01)
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        after.append(state_of(trainer.model))
    # each term reaches a table of its own, so that not even a sum of gradients has another order
    assert all(torch.equal(value, after[1][key]) for key, value in after[0].items())
    trainer = update(Drawing("user"), epochs=2, learner="sgd", learning_rate=0.01)
    torch.manual_seed(0)
    trainer.run(show_progress=False)
    assert not torch.equal(
        state_of(trainer.model)["item_embedding.weight"], after[0]["item_embedding.weight"]
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_passes_are_made_in_the_order_of_the_plugins(update, source_of, tiny_stream, monkeypatch, reverse):
    rankings = rankings_of(tiny_stream[0], fixed_teacher(tiny_stream[0]))
    replay = ProxyGuidedReplay("student", [source_of()])
    plugins = [replay, PreviousTeacherDistillation("student", rankings)]
    trainer, steps = update(*plugins[:: -1 if reverse else 1], update_distill_users="all"), []
    names = [["replay"], ["users", "items"]][:: -1 if reverse else 1]
    for plugin in plugins:

        def noted(epoch, passes=plugin.after_epoch):
            for entry in passes(epoch):
                steps.append(entry.name)
                yield entry

        plugin.after_epoch = noted
    trainer.run(show_progress=False)
    assert steps == sum(names, [])


def test_a_plugin_adds_nothing_unless_it_says_so(make_config, tiny_stream):
    class Silent(TrainerPlugin):
        name = "silent"

    after, histories = [], []
    for plugins in ([], [Silent()]):
        config, model = small_model(make_config, "BPR", tiny_stream[0], epochs=2)
        trainer = stage_trainer(config, model, tiny_stream[0], "base", *plugins)
        torch.manual_seed(0)
        trainer.run(show_progress=False)
        after.append(state_of(model))
        histories.append(trainer.history())
    assert all(torch.equal(value, after[1][key]) for key, value in after[0].items())
    assert histories[0] == histories[1]
