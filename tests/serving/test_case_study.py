"""RecBole's functions of case studies on a run directory: same arguments, same shapes, the run's numbers."""

import json
import shutil

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import case_study as recboles

from recbole_ccd import full_sort_scores, full_sort_topk, load_data_and_model, load_student
from recbole_ccd.utils.errors import CCDError, ConfigError, RunError


@pytest.fixture(scope="module")
def loaded(run_dir):
    return load_data_and_model(run_dir)


def recall(test_data, lists):
    """Recall of lists of items for the users of a loader, by hand."""
    found = {}
    for user, item in zip(
        *(test_data.dataset.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True
    ):
        found.setdefault(user, set()).add(item)
    users = test_data.uid_list.tolist()
    masked = {user: set(test_data.history[user].indices.tolist()) for user in users}
    hits = [
        len((found[user] - masked[user]) & set(best)) / len(found[user])
        for user, best in zip(users, lists.tolist(), strict=True)
    ]
    return float(np.mean(hits))


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_lists_have_the_recall_that_the_run_measured(run_dir, role):
    _, model, _, _, _, test_data = load_data_and_model(run_dir, role)
    _, items = full_sort_topk(test_data.uid_list, model, test_data, 5)
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    assert recall(test_data, items) == pytest.approx(
        result["metrics"]["recall@5"][role]["R"][-1][-1], abs=1e-9
    )


def test_what_is_loaded_is_of_recboles_shape(loaded):
    config, model, dataset, train_data, valid_data, test_data = loaded
    assert (config["model"], config["dataset"], type(model).__name__) == ("LightGCN", "tiny", "LightGCN")
    assert not model.training and model.device.type == "cpu"
    batch = next(iter(train_data))
    assert isinstance(batch, Interaction) and {"user_id", "item_id", "neg_item_id"} <= set(batch.columns)
    for data in (valid_data, test_data):
        users, _, rows, items = next(iter(data))
        assert len(rows) == len(items) and len(users) == len(data.uid_list)
    assert len(dataset) > len(train_data.dataset) + len(valid_data.dataset) + len(test_data.dataset)
    assert dataset.user_num == model.n_users and dataset.item_num == model.n_items


def test_recboles_recipe_from_tokens_to_tokens(loaded, run_dir):
    _, model, dataset, _, _, test_data = loaded
    tokens = dataset.id2token(dataset.uid_field, test_data.uid_list[:7].numpy()).tolist()
    uid_series = dataset.token2id(dataset.uid_field, tokens)
    scores, ids = full_sort_topk(uid_series, model, test_data, k=5, device=torch.device("cpu"))
    assert scores.shape == ids.shape == (7, 5) and bool((scores[:, 1:] <= scores[:, :-1]).all())
    items = dataset.id2token(dataset.iid_field, ids.numpy())
    table = load_student(run_dir).recommend(tokens, k=5, exclude_seen="evaluation")
    assert items.ravel().tolist() == table["item"].tolist()
    assert torch.allclose(scores.flatten(), torch.tensor(table["score"].to_numpy(), dtype=scores.dtype))
    whole = full_sort_scores(uid_series, model, test_data)
    assert whole.shape == (7, dataset.item_num) and bool((whole[:, 0] == -torch.inf).all())
    rows, masked = test_data.history_of(torch.tensor(uid_series))
    assert len(rows) and bool((whole[rows, masked] == -torch.inf).all())
    assert int(torch.isinf(whole).sum()) == len(rows) + 7


def test_recboles_own_functions_take_what_was_loaded(loaded):
    _, model, _, _, _, test_data = loaded
    users = test_data.uid_list[:9].tolist()
    expected = recboles.full_sort_scores(users, model, test_data)
    assert torch.equal(torch.isinf(expected), torch.isinf(full_sort_scores(users, model, test_data)))
    assert torch.allclose(
        expected.nan_to_num(neginf=-9.0), full_sort_scores(users, model, test_data).nan_to_num(neginf=-9.0)
    )
    ours, theirs = (f(users, model, test_data, 5)[1] for f in (full_sort_topk, recboles.full_sort_topk))
    assert torch.equal(ours, theirs)


def test_users_without_a_test_row_can_be_asked_about(loaded):
    _, model, dataset, _, _, test_data = loaded
    others = sorted(set(range(1, dataset.user_num)) - set(test_data.uid_list.tolist()))
    assert others
    for give in (list, np.array, torch.tensor):
        assert full_sort_topk(give(others), model, test_data, 3)[1].shape == (len(others), 3)


def test_models_that_score_otherwise(run_of):
    folder = run_of(model="NeuMF", strategy="fine_tune", base="plain")
    _, model, _, _, _, test_data = load_data_and_model(folder)
    users = test_data.uid_list[:4]
    scores = full_sort_scores(users, model, test_data)
    table = load_student(folder).recommend(
        test_data.dataset.id2token("user_id", users.numpy()).tolist(), k=5, exclude_seen="evaluation"
    )
    _, items = torch.topk(scores, 5)
    assert test_data.dataset.id2token("item_id", items.numpy()).ravel().tolist() == table["item"].tolist()


def test_wrong_arguments_end_in_a_sentence(loaded, run_dir, tmp_path):
    _, model, dataset, train_data, _, test_data = loaded
    for users in ([0], [dataset.user_num], ["u1"], "u1", [1.5], 3):
        with pytest.raises(ConfigError, match="uid_series"):
            full_sort_topk(users, model, test_data, 3)
    for k in (0, dataset.item_num + 1, "3"):
        with pytest.raises(ConfigError, match="k is .*give an integer from 1 to"):
            full_sort_topk([1], model, test_data, k)
    with pytest.raises(ConfigError, match="model is a Recommender; give the model of load_data_and_model"):
        full_sort_scores([1], load_student(run_dir), test_data)
    with pytest.raises(ConfigError, match="test_data is a .*; give the test_data of load_data_and_model"):
        full_sort_scores([1], model, train_data)
    with pytest.raises(ConfigError, match="role is 'both'; give one of: student, teacher"):
        load_data_and_model(run_dir, "both")
    with pytest.raises(RunError, match="is not a run directory"):
        load_data_and_model(tmp_path)
    with pytest.raises(ConfigError, match="run_dir is 3; give the path"):
        load_data_and_model(3)


def test_the_run_directory_is_all_that_is_needed(run_dir, tmp_path):
    moved = shutil.copytree(run_dir, tmp_path / "moved")
    before = sorted(path.relative_to(moved) for path in moved.rglob("*"))
    config, *_ = load_data_and_model(moved)
    assert sorted(path.relative_to(moved) for path in moved.rglob("*")) == before
    assert config["use_gpu"] is False


def test_what_recboles_own_loader_says_of_ours(run_dir):
    """A file of ours is tensors alone, and RecBole's asks for a pickled Config; see docs/from_recbole.md."""
    file = next((run_dir / "checkpoints").rglob("*student*"))
    checkpoint = torch.load(file)
    assert all(isinstance(value, torch.Tensor) for value in checkpoint.values())
    with pytest.raises(KeyError, match="config"):
        checkpoint["config"]
    with pytest.raises(IsADirectoryError):
        torch.load(run_dir)
    with pytest.raises(CCDError, match="give the one of a run"):
        load_data_and_model(file)
