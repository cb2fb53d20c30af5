"""A run whose passes over all users are shared among workers is the run of one process."""

from functools import partial, partialmethod

import pytest

from recbole_ccd.evaluation import FullSortEvaluator
from recbole_ccd.plugin.replay import proxy_guided
from recbole_ccd.ranking import top_k, top_lists
from recbole_ccd.strategy import teacher_lists
from recbole_ccd.utils.parallel import shares
from recbole_ccd.utils.parallel.ray_workers import RayWorkers
from tests.checkpoint.cases import assert_same_run
from tests.strategy.runs import teachers
from tests.utils.parallel.elsewhere import Elsewhere
from tests.utils.parallel.test_members import run_of

KEYS = {**teachers("LightGCN"), "block_ratios": [0.6, 0.4], "eval_batch_size": 500}


class Noting(Elsewhere):
    """Notes what others have done."""

    def __init__(self):
        super().__init__(2)
        self.asked = set()

    def each(self, do, shared, tasks, *notices, **more):
        self.asked.add((shared[0] if do is shares.take_share else do).__name__)
        yield from super().each(do, shared, tasks, *notices, **more)


@pytest.fixture
def eager(monkeypatch):
    """Batches of few users, which are shared however few there are."""
    for module, name, find in (
        (proxy_guided, "top_k", top_k),
        (teacher_lists, "top_lists", top_lists),
    ):
        monkeypatch.setattr(module, name, partial(find, worth=1))
        monkeypatch.setattr(module, "users_at_a_time", lambda *_: 9)
    evaluate = partialmethod(FullSortEvaluator.evaluate_parts, worth=1)
    monkeypatch.setattr(FullSortEvaluator, "evaluate_parts", evaluate)


def test_candidates_lists_and_evaluations_of_a_run(eager, make_config, tmp_path):
    run_of(make_config(**KEYS), tmp_path / "one")
    workers = Noting()
    run_of(make_config(**KEYS), tmp_path / "other", workers)
    assert {"_ids_of", "_collected_of"} <= workers.asked and len(workers.done) > 10
    assert_same_run(tmp_path / "one", tmp_path / "other")


@pytest.mark.slow
def test_by_ray_too(eager, make_config, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run_of(make_config(**KEYS), tmp_path / "one")
    with RayWorkers(2) as workers:
        run_of(make_config(**KEYS), tmp_path / "other", workers)
    assert_same_run(tmp_path / "one", tmp_path / "other")
