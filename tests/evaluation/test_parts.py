"""Evaluating many parts at once is evaluating each of them."""

import pickle

import pytest
import torch

from recbole_ccd.evaluation import FullSortEvaluator, full_sort
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.model.teacher import TeacherEnsemble, ordering_scorer
from recbole_ccd.ranking import tiles
from recbole_ccd.ranking.tiles import InnerProducts
from recbole_ccd.utils.errors import RunError, TrainingError
from tests.model.small_models import small_model
from tests.utils.parallel.elsewhere import Elsewhere


@pytest.fixture
def parts(tiny_stream, make_config):
    config, now = make_config(eval_batch_size=700), tiny_stream[2]
    loaders = {f"block {block.index}": block.measured_loader(config, known_at=now) for block in tiny_stream}
    loaders["new users"] = now.measured_loader(config, users_from=now.n_old_users)
    loaders["new items"] = now.measured_loader(config, items_from=now.n_old_items)
    return {name: loader for name, loader in loaders.items() if loader is not None}


def test_parts_measure_as_each_alone(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "LightGCN", tiny_stream[2])
    evaluator = FullSortEvaluator(make_config())
    together = evaluator.evaluate_parts(model, parts, "block 2 student")
    assert list(together) == list(parts) and len(parts) > 3
    for name, loader in parts.items():
        assert together[name] == pytest.approx(evaluator.evaluate(model, loader), abs=1e-6)
    assert len({measured["recall@5"] for measured in together.values()}) > 1


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_by_tiles_parts_measure_the_same(tiny_stream, make_config, parts, monkeypatch, name):
    _, model = small_model(make_config, name, tiny_stream[2])
    evaluator = FullSortEvaluator(make_config(topk=[3, 5], metrics=["Recall", "NDCG", "MRR"]))
    by_rows = evaluator.evaluate_parts(model, parts, "block 2 student")
    monkeypatch.setattr(tiles, "_WORTH", 10)
    monkeypatch.setattr(tiles, "_SHORT", 0.5)
    asked = []
    monkeypatch.setattr(InnerProducts, "__call__", lambda *_: asked.append("whole rows"))
    assert evaluator.evaluate_parts(model, parts, "block 2 student") == by_rows
    assert not asked and max(metrics["recall@5"] for metrics in by_rows.values()) > 0


def test_scores_that_are_not_numbers_are_told_of_large_catalogues_too(
    tiny_stream, make_config, parts, monkeypatch
):
    _, model = small_model(make_config, "BPR", tiny_stream[2])
    monkeypatch.setattr(tiles, "_WORTH", 10)
    monkeypatch.setattr(tiles, "_SHORT", 0.5)
    with torch.no_grad():
        model.item_embedding.weight[5] = torch.nan
    with pytest.raises(TrainingError, match="block 2: the model's scores contain NaN"):
        FullSortEvaluator(make_config()).evaluate_parts(model, parts, "block 2")


def test_metrics_of_whole_rankings_too(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "BPR", tiny_stream[2])
    keys = {"metrics": ["GAUC", "Recall", "MRR"], "topk": [5], "valid_metric": "Recall@5"}
    evaluator = FullSortEvaluator(make_config(**keys))
    together = evaluator.evaluate_parts(model, parts, "block 2")
    for name, loader in parts.items():
        assert together[name] == pytest.approx(evaluator.evaluate(model, loader), abs=1e-6)


def test_nobody_is_scored_twice(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "BPR", tiny_stream[2])
    scored = []

    def scorer(of):
        def score(users):
            scored.extend(users.tolist())
            return score_rows(of, users)

        return score

    FullSortEvaluator(make_config(), scorer).evaluate_parts(model, parts, "block 2")
    asked = [user for loader in parts.values() for user in loader.uid_list.tolist()]
    assert sorted(scored) == sorted(set(asked)) and len(asked) > len(scored)


def test_among_gives_what_iterating_gives(parts):
    loader = parts["block 1"]
    places, batch = loader.evaluated.among(torch.arange(1, 10_000))
    assert torch.equal(places + 1, loader.uid_list)
    whole = loader.collate_fn(list(range(len(loader.uid_list))))
    for ours, theirs in zip(batch[1:], whole[2:], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(batch[0]["user_id"], whole[0]["user_id"])
    nobody, _ = loader.evaluated.among(torch.tensor([0]))
    assert len(nobody) == 0


def test_nan_names_the_evaluation(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "BPR", tiny_stream[2])
    with torch.no_grad():
        model.item_embedding.weight[3] = float("nan")
    with pytest.raises(RunError, match="block 2 student: .*NaN"):
        FullSortEvaluator(make_config()).evaluate_parts(model, parts, "block 2 student")


def test_a_model_that_is_too_small_names_the_part(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "BPR", tiny_stream[0])
    loader = {"new items": parts["new items"]}
    with pytest.raises(RunError, match="block 2 on new items: item .* unknown"):
        evaluator = FullSortEvaluator(
            make_config(), lambda m: lambda users: torch.zeros(len(users), m.n_items)
        )
        evaluator.evaluate_parts(model, loader, "block 2")


@pytest.mark.parametrize("depth", [None, 12])
def test_an_ensemble_of_one_is_measured_as_its_ranks_are(tiny_stream, make_config, parts, depth):
    config, model = small_model(make_config, "BPR", tiny_stream[2])
    config = make_config(ensemble_rank_depth=depth, distill_top_k=9, exclusion_top_k=4)
    teacher = TeacherEnsemble(config, tiny_stream[2].train, [model])
    by_rank = FullSortEvaluator(config).evaluate_parts(teacher, parts, "block 2 teacher")
    assert (
        FullSortEvaluator(config, ordering_scorer).evaluate_parts(teacher, parts, "block 2 teacher")
        == by_rank
    )


def test_parts_that_mask_the_same_items_share_them(tiny_stream, make_config):
    config, now = make_config(), tiny_stream[2]
    whole = now.measured_loader(config)
    new = now.measured_loader(config, items_from=now.n_old_items, history=whole.history)
    found = now.measured_loader(config, items_from=now.n_old_items)
    assert new.history is whole.history and (new.history != found.history).nnz == 0
    _, model = small_model(make_config, "BPR", now)
    evaluator = FullSortEvaluator(config)
    shared = evaluator.evaluate_parts(model, {"whole": whole, "new": new}, "block 2")
    assert shared["new"] == evaluator.evaluate(model, found) and shared["whole"] == evaluator.evaluate(
        model, whole
    )


EXACT = {"topk": [3, 5], "metrics": ["Recall", "NDCG", "ShannonEntropy"], "metric_decimal_place": 15}
WHOLE = {"topk": [5], "metrics": ["GAUC", "Recall", "MRR"], "metric_decimal_place": 15}


def both(evaluator, model, parts, workers):
    """What one process measures, and what several do."""
    return [
        evaluator.evaluate_parts(model, parts, "block 2", workers=who, worth=1) for who in (None, workers)
    ]


@pytest.mark.parametrize("name", ["BPR", "LightGCN", "NeuMF", "MultiVAE"])
@pytest.mark.parametrize("keys", [EXACT, WHOLE])
@pytest.mark.parametrize("large", [False, True])
def test_shared_or_not_the_metrics_are_the_same(
    tiny_stream, make_config, parts, monkeypatch, name, keys, large
):
    if large:
        monkeypatch.setattr(tiles, "_WORTH", 10)
        monkeypatch.setattr(tiles, "_SHORT", 0.5)
        monkeypatch.setattr(full_sort, "ROWS", 11)
    model, workers = small_model(make_config, name, tiny_stream[2])[1], Elsewhere(3)
    evaluator = FullSortEvaluator(make_config(**keys), ordering_scorer)
    one, other = both(evaluator, model, parts, workers)
    assert one == other and list(one) == list(other) == list(parts)
    assert sorted(workers.done) == [0, 1, 2]


def test_so_are_those_of_a_teacher_on_a_sample(tiny_stream, make_config):
    keys = {"eval_users": 30, "eval_batch_size": 300, "metric_decimal_place": 15}
    config, now, workers = make_config(**keys), tiny_stream[2], Elsewhere()
    members = [small_model(make_config, name, now)[1] for name in ("LightGCN", "MultiVAE")]
    teacher = TeacherEnsemble(config, now.train, members)
    parts = {f"block {block.index}": block.measured_loader(config, known_at=now) for block in tiny_stream}
    one, other = both(FullSortEvaluator(config, ordering_scorer), teacher, parts, workers)
    assert one == other and workers.done == [1, 0]
    errors = [{name: measured.errors for name, measured in found.items()} for found in (one, other)]
    assert errors[0] == errors[1] and any(errors[0]["block 2"].values())


def test_what_is_wrong_with_a_share_is_told_as_ever(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "BPR", tiny_stream[2])
    with torch.no_grad():
        # of whom the last share is
        model.user_embedding.weight[60:] = torch.nan
    workers = Elsewhere()
    with pytest.raises(TrainingError, match="^block 2: the model's scores contain NaN; lower learning_rate$"):
        FullSortEvaluator(make_config()).evaluate_parts(model, parts, "block 2", workers=workers, worth=1)
    assert workers.done == [1]


def test_few_batches_are_not_shared(tiny_stream, make_config, parts):
    _, model = small_model(make_config, "BPR", tiny_stream[2])
    workers = Elsewhere()
    FullSortEvaluator(make_config()).evaluate_parts(model, parts, "block 2", workers=workers)
    assert workers.done == []


def test_users_are_sent_without_their_dataset(parts):
    loader = parts["block 0"]
    assert b"Dataset" not in pickle.dumps(loader.evaluated)
    sent = pickle.loads(pickle.dumps(loader.evaluated))
    assert sent.ids.equal(loader.uid_list) and (sent.history != loader.history).nnz == 0
