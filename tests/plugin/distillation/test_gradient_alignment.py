"""Gradient alignment in a stage: the term by loops, what is drawn when, and how it goes on."""

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_ccd.model.graph_part import drawn_pairs, graph_of, without, without_pairs
from recbole_ccd.model.history import use_history
from recbole_ccd.plugin.distillation import GradientAlignment
from recbole_ccd.utils.seeding import torch_generator
from tests.model.small_models import all_scores, small_model
from tests.plugin.distillation.rankings import fixed_teacher, rankings_of
from tests.plugin.stages import stage_trainer, terms_of

BATCH = Interaction({"user_id": torch.tensor([4, 9, 4, 30, 9])})
KEYS = {"distill_layer": "final", "distill_gradient_alignment": 100.0, "alignment_drop": 0.3}


@pytest.fixture
def make_stage(make_config, tiny_stream):
    """Makes a stage 1 of a LightGCN with members."""

    def make(*names, **keys):
        block = tiny_stream[0]
        members = [
            small_model(make_config, name, block, seed=5)[1]
            for name in names or ("LightGCN", "MultiVAE", "BPR")
        ]
        config, model = small_model(make_config, "LightGCN", block, **{**KEYS, **keys})
        lists = rankings_of(block, fixed_teacher(block), short=(4,)).top_items
        plugin = GradientAlignment(lists, members)
        return stage_trainer(config, model, block, "student_generation", plugin), members, lists

    return make


def deviation(scores, lists):
    listed = scores.gather(1, lists)[lists > 0]
    return (listed - listed.mean()).square().mean().sqrt()


def test_the_term_equals_loops(make_stage):
    trainer, (graph_member, row_member, _), lists = make_stage()
    trainer.plugins[0].before_epoch(0)
    dropped = drawn_pairs(graph_of(trainer.model), 0.3, torch_generator(3, "left out", 0))
    whole = [all_scores(model) for model in (trainer.model, graph_member, row_member)]
    use_history(row_member, without_pairs(trainer.block.train_so_far, dropped))
    parts = [without(trainer.model, dropped), without(graph_member, dropped), row_member]
    changes = [one - all_scores(other) for one, other in zip(whole, parts, strict=True)]
    scales = [deviation(scores, lists) for scores in whole]
    expected = 0.0
    for user in (4, 9, 30):
        items = [item for item in lists[user].tolist() if item]
        assert len(items) == (2 if user == 4 else 6)
        for item in items:
            of_teacher = sum(changes[m][user, item] / scales[m] for m in (1, 2)) / 2 * scales[0]
            expected += 100 * (changes[0][user, item] - of_teacher) ** 2 / len(items)
    (term,) = terms_of(trainer, BATCH)
    assert expected > 1e-3
    torch.testing.assert_close(term, expected / 5)
    term.backward()
    assert trainer.model.user_embedding.weight.grad.abs().sum() > 0
    assert all(value.grad is None for value in graph_member.parameters())


def test_with_nothing_left_out_it_is_nothing(make_stage):
    trainer, _, _ = make_stage(alignment_drop=0.0)
    trainer.plugins[0].before_epoch(0)
    (term,) = terms_of(trainer, BATCH)
    term.backward()
    assert term.item() == 0 and not trainer.model.user_embedding.weight.grad.any()


def test_it_is_drawn_anew_now_and_then_and_goes_on_after_a_break(make_stage):
    trainer, _, _ = make_stage(uninteresting_redraw=2)
    (plugin,), found = trainer.plugins, []
    for epoch in range(4):
        plugin.before_epoch(epoch)
        found.append(terms_of(trainer, BATCH)[0].item())
        if epoch == 2:
            with torch.no_grad():
                trainer.model.user_embedding.weight.mul_(1.5)
            found[-1] = terms_of(trainer, BATCH)[0].item()
    assert found[0] == found[1] != found[2] == found[3]
    again, _, _ = make_stage(uninteresting_redraw=2)
    again.model.load_state_dict(trainer.model.state_dict())
    again.plugins[0].load_state_dict(plugin.state_dict())
    again.plugins[0].before_epoch(3)
    assert terms_of(again, BATCH)[0].item() == found[3]


def test_members_are_left_as_they_are(make_stage):
    trainer, members, _ = make_stage()
    before = [all_scores(member) for member in members]
    trainer.plugins[0].before_epoch(0)
    assert all(torch.equal(*pair) for pair in zip(before, map(all_scores, members), strict=True))
