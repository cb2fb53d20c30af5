"""Pruned copies of models, and a teacher that is in part one."""

import pytest
import torch

from recbole_ccd.model.pruning import pruned
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.model.teacher import TeacherEnsemble, mixed_rows
from tests.model.small_models import all_scores, small_model, state_of


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "MultiVAE", "NeuMF"])
def test_the_smallest_entries_are_gone_and_nothing_else(make_config, tiny_stream, name):
    _, model = small_model(make_config, name, tiny_stream[0])
    before = state_of(model)
    copy = pruned(model, 0.25)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    parameters = dict(copy.named_parameters())
    assert not any(value.requires_grad for value in parameters.values())
    for key, value in parameters.items():
        old, gone = before[key], value == 0
        if value.dim() < 2:
            assert torch.equal(value, old)
            continue
        assert gone.sum() == int(0.25 * value.numel())
        assert torch.equal(value[~gone], old[~gone])
        assert not gone.any() or old[gone].abs().max() <= old[~gone].abs().min()
    assert not torch.equal(all_scores(copy), all_scores(model))
    assert torch.equal(all_scores(pruned(model, 0.0)), all_scores(model))


@pytest.mark.parametrize("depth", [None, 9])
def test_scores_are_those_of_both(make_config, tiny_stream, depth):
    block, users = tiny_stream[0], torch.arange(1, 8)
    config, model = small_model(make_config, "BPR", block, ensemble_rank_depth=depth)
    ensembles = [
        TeacherEnsemble(config, block.train, [member]).eval() for member in (model, pruned(model, 0.3))
    ]
    whole, other = (score_rows(ensemble, users) for ensemble in ensembles)
    mixed = mixed_rows(*ensembles, 0.3, users)
    last = block.n_items**-0.05
    ranked = [part > -torch.inf for part in (whole, other)]
    neither = ~(ranked[0] | ranked[1])
    assert torch.equal(mixed == -torch.inf, neither) and neither[:, 0].all()
    # what one of the two does not rank is the last of it
    parts = [part.masked_fill(~known, last) for part, known in zip((whole, other), ranked, strict=True)]
    expected = (0.7 * parts[0] + 0.3 * parts[1]).masked_fill(neither, -torch.inf)
    torch.testing.assert_close(mixed, expected)
    assert (depth is None) == torch.equal(*ranked) and not torch.equal(whole, other)
    assert torch.equal(mixed_rows(*ensembles, 0.0, users) > -torch.inf, ~neither)
