import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer

from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.model.teacher import TeacherEnsemble, ordering_scorer
from tests.model.small_models import all_scores, scatter, small_model

MEMBERS = ["LightGCN", "MultiVAE", "NeuMF", "BPR"]


@pytest.fixture
def teacher(tiny_stream, make_config):
    block = tiny_stream[0]
    members = [small_model(make_config, name, block, seed=m)[1] for m, name in enumerate(MEMBERS)]
    return TeacherEnsemble(make_config(ensemble_exponent=0.05), block.train, members).eval()


def naive_scores(members, exponent):
    """Mean of rank^-exponent by counting, item by item."""
    total = 0
    for member in members:
        scores = all_scores(member)[:, 1:].double()
        rank = (scores[:, None, :] > scores[:, :, None]).sum(dim=2) + 1
        total = total + rank.double() ** -exponent
    return total / len(members)


def test_scores_are_the_mean_of_powers_of_the_ranks(teacher):
    scores = all_scores(teacher)
    expected = naive_scores(teacher.members, 0.05)
    assert (scores[:, 0] == -torch.inf).all()
    torch.testing.assert_close(scores[1:, 1:], expected[1:].float(), atol=1e-6, rtol=0)


def test_the_exponent_is_a_setting(tiny_stream, make_config):
    block = tiny_stream[0]
    member = small_model(make_config, "BPR", block)[1]
    teacher = TeacherEnsemble(make_config(ensemble_exponent=1.0), block.train, [member])
    best = all_scores(teacher)[1:].sort(dim=1, descending=True).values
    torch.testing.assert_close(best[:, :3], torch.tensor([1.0, 1 / 2, 1 / 3]).expand(len(best), 3))


def test_predict_gathers_from_full_sort_predict(teacher):
    users, items = torch.tensor([3, 1, 3, 9]), torch.tensor([5, 0, 38, 5])
    rows = all_scores(teacher)
    assert torch.equal(teacher.predict(Interaction({"user_id": users, "item_id": items})), rows[users, items])


def test_full_sort_predict_is_flat_as_recbole_wants_it(teacher):
    scores = teacher.full_sort_predict(Interaction({"user_id": torch.tensor([2, 4])}))
    assert torch.equal(scores, all_scores(teacher)[[2, 4]].flatten())


def test_a_change_of_mode_drops_what_members_cached(teacher):
    old = all_scores(teacher)
    for member in teacher.members:
        scatter(member, seed=11)
    assert teacher.train() is teacher and all(member.training for member in teacher.members)
    assert not torch.allclose(all_scores(teacher)[:, 1:], old[:, 1:])
    torch.testing.assert_close(
        all_scores(teacher)[1:, 1:], naive_scores(teacher.members, 0.05)[1:].float(), atol=1e-6, rtol=0
    )


def test_recboles_trainer_and_our_evaluator_measure_the_same(
    teacher, tiny_stream, make_config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    # which RecBole's own metrics read
    monkeypatch.setattr(np, "float", np.float64, raising=False)
    config = make_config(checkpoint_dir=str(tmp_path / "checkpoints"))
    loader = tiny_stream[0].measured_loader(config)
    ours = FullSortEvaluator(config).evaluate(teacher, loader)
    trainer = Trainer(config, teacher)
    trainer.tot_item_num = tiny_stream[0].n_items
    theirs = trainer.evaluate(loader, load_best_model=False)
    assert ours == {name: float(value) for name, value in theirs.items()}
    assert 0 < ours["recall@5"] < 1


def test_an_ensemble_knows_the_weights_of_all_members(teacher):
    keys = [key for key in teacher.state_dict() if key.startswith("members.3.")]
    assert keys == ["members.3.user_embedding.weight", "members.3.item_embedding.weight"]
    assert (teacher.n_users, teacher.n_items) == (teacher.members[0].n_users, teacher.members[0].n_items)


def test_the_depth_is_a_setting(tiny_stream, make_config):
    block = tiny_stream[0]
    member = small_model(make_config, "BPR", block)[1]
    config = make_config(
        ensemble_rank_depth=12, topk=[5], valid_metric="Recall@5", distill_top_k=9, exclusion_top_k=4
    )
    scores = all_scores(TeacherEnsemble(config, block.train, [member]))
    assert ((scores > -torch.inf).sum(dim=1) == 12).all()
    whole = all_scores(TeacherEnsemble(make_config(), block.train, [member]))
    assert torch.equal(scores.topk(12).indices, whole.topk(12).indices)
    # it is measured by these, of whatever number of members
    for members in ([member], [member, member]):
        teacher = TeacherEnsemble(config, block.train, members).eval()
        rows = ordering_scorer(teacher)(torch.arange(1, 9))
        assert ((rows > -torch.inf).sum(dim=1) == 12).all()
