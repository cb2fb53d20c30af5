import pytest
import torch

from recbole_ccd.model.duplicate import duplicate
from recbole_ccd.model.growth import grow
from recbole_ccd.model.proxy import update_proxy
from tests.model.small_models import SMALL_MODELS, all_scores, small_model, state_of


def fill(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def test_moving_average_by_hand(tiny_stream, make_config):
    config, small = small_model(make_config, "BPR", tiny_stream[0])
    student = fill(grow(small, config, tiny_stream[1]), 2.0)
    moved = update_proxy(fill(small, 12.0), student, keep=0.9)
    users, n_old = moved.user_embedding.weight, small.n_users
    # 0.9 * 12 + 0.1 * 2 on the shared prefix, the student's beyond
    torch.testing.assert_close(users[:n_old], torch.full((n_old, 8), 11.0))
    assert (users[n_old:] == 2.0).all() and len(users) == student.n_users
    again = update_proxy(moved, fill(student, 1.0), keep=0.5).user_embedding.weight
    torch.testing.assert_close(again[0, 0].item(), 6.0)
    torch.testing.assert_close(again[-1, 0].item(), 1.5)


@pytest.mark.parametrize(("keep", "expected"), [(1.0, 12.0), (0.0, 2.0)])
def test_keeping_all_or_nothing(tiny_stream, make_config, keep, expected):
    _, student = small_model(make_config, "LightGCN", tiny_stream[0])
    proxy = duplicate(fill(student, 12.0))
    moved = update_proxy(proxy, fill(student, 2.0), keep)
    assert (moved.user_embedding.weight == expected).all()


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_a_proxy_is_frozen_and_shares_no_weight_with_the_student(tiny_stream, make_config, name):
    _, student = small_model(make_config, name, tiny_stream[0])
    student.train()
    before, scores = state_of(student), all_scores(student.eval())
    student.train()
    proxy = update_proxy(student, student, keep=1.0)
    assert not proxy.training and student.training
    assert not any(p.requires_grad for p in proxy.parameters())
    trainable = {n for n, p in student.named_parameters() if p.requires_grad}
    assert trainable
    torch.testing.assert_close(all_scores(proxy), scores)
    fill(student, 0.5)
    assert all(torch.equal(value, before[key]) for key, value in proxy.state_dict().items())
    torch.testing.assert_close(all_scores(proxy), scores)


def test_the_student_and_the_old_proxy_stay_as_they_are(tiny_stream, make_config):
    config, student = small_model(make_config, "BPR", tiny_stream[0])
    proxy = update_proxy(student, student, keep=0.9)
    bigger = grow(student, config, tiny_stream[1])
    fill(bigger, 3.0)
    old_proxy = state_of(proxy)
    update_proxy(proxy, bigger, keep=0.4)
    assert all((p == 3.0).all() and p.requires_grad for p in bigger.parameters())
    assert all(torch.equal(value, old_proxy[key]) for key, value in proxy.state_dict().items())


def test_the_graph_is_the_students_own(tiny_stream, make_config):
    config, small = small_model(make_config, "LightGCN", tiny_stream[0])
    student = grow(small, config, tiny_stream[1])
    moved = update_proxy(small, student, 0.9)
    assert moved.norm_adj_matrix is student.norm_adj_matrix
    assert all_scores(moved).shape == (tiny_stream[1].n_users, tiny_stream[1].n_items)


def test_cached_predictions_of_the_student_are_not_taken_over(tiny_stream, make_config):
    _, student = small_model(make_config, "LightGCN", tiny_stream[0])
    old = duplicate(student)
    fill(student, 0.1)
    all_scores(student)
    assert student.restore_user_e is not None
    moved = update_proxy(old, student, keep=0.5)
    users, items = moved()
    torch.testing.assert_close(all_scores(moved), users @ items.T)


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_a_proxy_that_keeps_everything_keeps_its_predictions_when_the_graph_changes(
    tiny_stream, make_config, graph
):
    keys = {"graph": graph, "growth": "predictions", "n_layers": 2}
    _, proxy = small_model(make_config, "LightGCN", tiny_stream[0], **keys)
    _, student = small_model(make_config, "LightGCN", tiny_stream[1], seed=1, **keys)
    before, of_student = all_scores(proxy), all_scores(student)
    kept = all_scores(update_proxy(proxy, student, 1.0, of_predictions=True))
    n_users, n_items = before.shape
    torch.testing.assert_close(kept[:n_users, :n_items], before, rtol=1e-4, atol=1e-5)
    # new rows are the student's
    torch.testing.assert_close(kept[n_users:, n_items:], of_student[n_users:, n_items:], rtol=1e-4, atol=1e-5)
