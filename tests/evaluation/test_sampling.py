"""A sample of users: who is drawn, and the standard error of what is measured on them."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from recbole_ccd import CCDConfig, Comparison, StreamResult, run_ccd, tune
from recbole_ccd.evaluation import FullSortEvaluator
from recbole_ccd.evaluation.sampling import next_errors, summary_errors
from recbole_ccd.evaluation.stored import StoredComparison
from recbole_ccd.experiment.search.tables import search_markdown, search_table
from recbole_ccd.report import block_table, comparison_table, final_table
from recbole_ccd.report.html import comparison_report, run_report
from recbole_ccd.utils.errors import ConfigError
from tests.conftest import SMALL
from tests.model.small_models import small_model


def test_errors_are_those_of_a_sample_without_replacement(tiny_stream, make_config):
    config, block = make_config(eval_users=12, metrics=["Recall", "NDCG", "Hit"]), tiny_stream[1]
    _, model = small_model(make_config, "BPR", block)
    loader, evaluator = block.measured_loader(config), FullSortEvaluator(config)
    population = len(block.measured_loader(make_config()).uid_list)
    found = evaluator.evaluate(model, loader)
    alone = [evaluator.evaluate(model, [loader.collate_fn([n])]) for n in range(12)]
    assert len(loader.uid_list) == 12 < population == loader.population
    for name, error in found.errors.items():
        values = [one[name] for one in alone]
        assert found[name] == pytest.approx(np.mean(values), abs=1e-5)
        variance = np.var(values, ddof=1) / 12 * (population - 12) / population
        assert error == pytest.approx(math.sqrt(variance), abs=1e-5)
    assert found.errors.keys() == found.keys() and not alone[0].errors


def test_users_are_drawn_once_for_a_block(tiny_stream, make_config):
    config, block = make_config(eval_users=9), tiny_stream[1]
    now = block.measured_loader(config)
    later = block.measured_loader(config, known_at=tiny_stream[2])
    assert torch.equal(now.uid_list, later.uid_list)
    more = block.measured_loader(make_config(eval_users=15))
    assert set(now.uid_list.tolist()) < set(more.uid_list.tolist())
    other = block.measured_loader(make_config(eval_users=9, seed=3))
    assert not torch.equal(now.uid_list, other.uid_list)
    # new users have a sample of their own, with the drawn ones first
    drawn = set(now.uid_list[now.uid_list >= block.n_old_users].tolist())
    new = block.measured_loader(config, users_from=block.n_old_users)
    assert drawn <= set(new.uid_list.tolist()) and len(new.uid_list) <= 9
    tomorrow = block.next_loader(config)
    assert len(tomorrow.uid_list) == 9 < tomorrow.population
    # whoever learns and stops early sees all
    assert [one.population for one in block.valid_loaders(config)] == [None, None]


@pytest.mark.parametrize("error", [None, 0.0, 0.1])
def test_a_harmonic_mean_of_zeros_has_an_error_where_these_have_one(error):
    found = summary_errors([[0.0], [0.0, 0.0]], [[error], [error, error]])
    assert found["LA"][1] == (None if error is None else pytest.approx(error / 2**0.5))
    assert found["H"][1] == (None if error is None else 0.0)


def test_errors_of_averages_by_hand():
    R, e = [[0.4], [0.2, 0.6], [0.3, 0.5, 0.8]], [[0.01], [0.02, 0.03], [0.04, 0.05, 0.06]]
    found = summary_errors(R, e)
    assert found["R"] == e
    assert found["LA"] == pytest.approx([0.01, math.hypot(0.01, 0.03) / 2, math.hypot(0.01, 0.03, 0.06) / 3])
    assert found["RA"][0] is None and found["RA"][1:] == pytest.approx([0.02, math.hypot(0.04, 0.05) / 2])
    assert found["BWT"] == pytest.approx(math.hypot(0.05, 0.08) / 2)
    assert found["forgetting"] == pytest.approx(math.hypot(0.05, 0.08) / 2)
    # H_1: LA = 0.5 of (0, 0) and (1, 1), RA = 0.2 of (1, 0)
    by_la, by_ra = 2 * 0.2**2 / 0.7**2, 2 * 0.5**2 / 0.7**2
    assert found["H"][1] == pytest.approx(math.hypot(by_la / 2 * 0.01 + by_ra * 0.02, by_la / 2 * 0.03))
    assert summary_errors(R[:1], e[:1])["BWT"] is None
    ahead = next_errors([0.03, None, 0.04], [0.01, None, 0.01], [True, False, True])
    assert ahead["next_mean"] == pytest.approx(0.025)
    assert ahead["FWT"] == pytest.approx(math.hypot(0.04, 0.05) / 2)


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    """Runs a quick strategy."""

    def run(**keys):
        settings = {**SMALL, "data_path": str(tiny_folder), "strategy": "fine_tune", "base": "plain", **keys}
        return run_ccd(
            "BPR", "tiny", config_dict={**settings, "run_dir": str(tmp_path_factory.mktemp("run") / "r")}
        )

    return run


def test_a_run_on_a_sample(run):
    whole, everybody, some = run(), run(eval_users=10**6), run(eval_users=20)
    document = everybody.to_dict()
    errors = document.pop("standard_error")
    assert {v for row in errors["metrics"]["recall@5"]["student"]["R"] for v in row} == {0.0}
    for key in ("metrics", "new_users", "new_items", "next"):
        assert document[key] == whole.to_dict()[key]
    # no model knows of it
    assert [s["loss"] for s in some.stages] == [s["loss"] for s in whole.stages]
    document = json.loads(json.dumps(some.to_dict(), sort_keys=True))
    errors = document["standard_error"]["metrics"]["recall@5"]["student"]["R"]
    assert any(value > 0 for row in errors for value in row)
    assert StreamResult.from_dict(document).to_dict() == document
    for text in (block_table(some, 2), final_table(some), run_report(document)):
        words = " ".join(text.split())
        assert "sample: 20 users drawn of each block" in words and " ± " in words
    assert "sample" not in final_table(whole) and "±" not in final_table(whole)


def test_a_comparison_of_samples(run):
    runs = [run(eval_users=20, seed=1), run(eval_users=20, seed=2)]
    comparison = Comparison({"fine_tune": runs})
    first, second = (run.summary_error("student", "recall@5")["H"][-1] for run in runs)
    error = comparison.spreads("student", "recall@5", "fine_tune", "H")[-1].error
    assert error == pytest.approx(math.hypot(first, second) / 2)
    document = json.loads(json.dumps(comparison.to_dict()))
    assert StoredComparison(document).spreads("student", "recall@5", "fine_tune", "H")[-1].error == error
    for text in (comparison_table(comparison), comparison_report(document)):
        assert "sample: 20 users drawn" in " ".join(text.split()) and f"± {error:.4f}" in text


def test_a_search_on_a_sample(tiny_folder, tmp_path):
    # what is searched cannot be set
    keys = {key: value for key, value in SMALL.items() if not key.endswith("learning_rate")}
    keys |= {"model": "BPR", "dataset": "tiny", "strategy": "fine_tune", "base": "plain"}
    keys |= {"block_ratios": [0.6, 0.4], "data_path": str(tiny_folder)}
    (tmp_path / "my.hyper").write_text("learning_rate choice [0.001, 0.05]\n")
    space, folder = str(tmp_path / "my.hyper"), tmp_path / "searched"
    found = tune(space, config_dict={**keys, "seed": [1, 2], "eval_users": 20, "run_dir": str(folder)})
    document = json.loads((folder / "trials.json").read_text())
    assert document["eval_users"] == 20
    for number, trial in enumerate(document["trials"]):
        own = json.loads((folder / f"trial-00{number}" / "comparison.json").read_text())
        (label,) = own["metrics"]["recall@5"]["student"]["labels"].values()
        assert trial["H"]["error"] == label["H"]["error"][-1] > 0
    best = found.best.spread("H")
    shown = f"{best.mean:.4f} ± {best.error:.4f}"
    for text in (search_table(found), search_markdown(found)):
        assert shown in text and "sample: 20 users drawn" in " ".join(text.split())
    assert f"± {best.error:.4f}" in (folder / "best.yaml").read_text()
    header, *rows = csv.reader((folder / "trials.csv").read_text().splitlines())
    assert header[-3:] == [f"{name} standard error" for name in ("H", "LA", "RA")]
    assert float(rows[0][-3]) == document["trials"][0]["H"]["error"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"eval_users": 0}, "eval_users is 0 .*give an integer >= 1"),
        ({"eval_users": 5, "metrics": ["Recall", "GAUC"]}, "metrics has 'GAUC' .*no mean over users"),
    ],
)
def test_refused(keys, words):
    with pytest.raises(ConfigError, match=words):
        CCDConfig("BPR", "ml-100k", config_dict=keys)
