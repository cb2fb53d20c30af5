"""A fresh model at every block, on everything so far: trained by steps, counted, or solved."""

import json
import warnings

import numpy as np
import pytest
import torch
import yaml
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import BPR, EASE, ItemKNN

from recbole_ccd.cli import main
from recbole_ccd.data.dataloader import BlockTrainDataLoader
from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.data.splitting import TRAIN, VALID
from recbole_ccd.model.scoring import score_rows
from recbole_ccd.quick_start import create_stream, run_ccd
from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.strategy.full_batch import FullBatch
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ModelError
from recbole_ccd.utils.seeding import derive_seed, seed_stage
from tests.conftest import SMALL, SMALL_CCD, few
from tests.strategy.runs import block_rows, follow, matrices, teachers, write_files

WITHOUT_STEPS = ["ADMMSLIM", "AsymKNN", "EASE", "ItemKNN", "NCEPLRec", "Pop", "Random", "SLIMElastic"]
# none of these could be grown from block to block, or be taught on the base block
PLAIN_ONLY = ["DMF", "MultiVAE", "DiffRec", "LINE", "SpectralCF"]


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    """Follows the tiny stream, or the first of its blocks given as files, once for the same settings."""
    folder, finished = tmp_path_factory.mktemp("full_batch"), {}
    names = write_files(folder, "files", {f"b{k}": rows for k, rows in enumerate(block_rows())})

    def run(model, n_blocks=None, strategy=FullBatch, again=False, **keys):
        if n_blocks:
            keys |= {"dataset": "files", "data_path": folder, "benchmark_filename": names[:n_blocks]}
        settings = {"strategy": strategy.name, "metric_decimal_place": 15, **teachers("BPR"), **keys}
        if again or repr((model, settings)) not in finished:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                done = follow(make_config(model, **settings), strategy)
            if again:
                return done
            finished[repr((model, settings))] = done
        return finished[repr((model, settings))]

    return run


def train_rows(stream, last):
    """Row numbers of the train parts up to a block, by the data set alone."""
    data = stream.dataset
    return np.flatnonzero((data.part_of_row == TRAIN) & (data.block_of_row <= last))


def counts(stream, last):
    """Users × items of the train parts up to a block, dense, known ids only."""
    block, feat = stream[last], stream.dataset.inter_feat
    matrix = np.zeros((block.n_users, block.n_items))
    rows = train_rows(stream, last)
    np.add.at(matrix, (feat["user_id"].numpy()[rows], feat["item_id"].numpy()[rows]), 1)
    return matrix


def all_scores(model):
    with torch.no_grad():
        return score_rows(model, torch.arange(model.n_users)).double().numpy()


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_pop_counts_every_interaction_once(run, graph):
    strategy = run("Pop", graph=graph, train_batch_size=256, eval_step=1)
    counted = counts(create_stream(strategy.config), 2).sum(axis=0)
    assert strategy.student.item_cnt[:, 0].tolist() == counted.tolist()
    # as RecBole counts, no item would have more than there are batches
    assert counted.max() > 2 * counted.sum() / 256
    scores = all_scores(strategy.student)
    np.testing.assert_allclose(scores, np.tile(counted / counted.max(), (len(scores), 1)))


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_ease_is_its_closed_form(run, graph):
    strategy = run("EASE", graph=graph, reg_weight=20.0)
    X = counts(create_stream(strategy.config), 2)
    P = np.linalg.inv(X.T @ X + 20.0 * np.eye(X.shape[1]))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    np.testing.assert_allclose(all_scores(strategy.student), X @ B, atol=1e-5)


def test_itemknn_is_recboles(run):
    strategy = run("ItemKNN", k=10)
    stream = create_stream(strategy.config)
    now = stream[2]
    union = stream.dataset.view(train_rows(stream, 2), now.n_users, now.n_items)
    theirs = ItemKNN(strategy.config, union)
    users = torch.arange(1, now.n_users)
    expected = theirs.full_sort_predict(Interaction({"user_id": users})).view(len(users), now.n_items)
    scores = score_rows(strategy.student, users)
    assert scores.equal(expected) and scores.argsort(dim=1).equal(expected.argsort(dim=1))


@pytest.mark.parametrize("model", ["EASE", "ItemKNN"])
def test_recall_is_that_of_a_naive_ranking_of_known_items(run, model):
    strategy = run(model)
    stream, scores = create_stream(strategy.config), all_scores(strategy.student)
    now, feat = stream[2], stream.dataset.inter_feat
    assert scores.shape == (now.n_users, now.n_items)
    for j, block in enumerate(stream):
        recalls = []
        own = np.isin(stream.dataset.part_of_row, (TRAIN, VALID)) & (stream.dataset.block_of_row == j)
        for user in np.unique(block.test.inter_feat["user_id"]):
            wanted = set(block.test.inter_feat["item_id"][block.test.inter_feat["user_id"] == user].tolist())
            ranked = scores[user].copy()
            ranked[feat["item_id"].numpy()[own & (feat["user_id"].numpy() == user)]] = -np.inf
            ranked[0] = -np.inf
            recalls.append(len(wanted & set(np.argsort(-ranked)[:5].tolist())) / len(wanted))
        assert strategy.result.summary("student", "recall@5")["R"][2][j] == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("model", few(WITHOUT_STEPS, "ADMMSLIM", "EASE", "ItemKNN", "Pop", "Random"))
def test_models_without_steps_are_fitted_on_every_block_and_know_no_future(run, model):
    long, short = run(model, 3), run(model, 2)
    assert len(matrices(short)) == 2
    for what, R in matrices(long).items():
        assert R[:2] == matrices(short)[what]
        assert [len(row) for row in R] == [1, 2, 3] and all(0 <= x <= 1 for row in R for x in row)
    stages = [(stage["block"], stage["stage"], stage["epochs"]) for stage in long.result.stages]
    assert stages == [(k, "base", 1) for k in range(3)]
    assert long.models() == {} and long.teacher is None


@pytest.mark.parametrize(
    ("model", "graph"),
    [
        *[("LightGCN", "block"), ("LightGCN", "cumulative")],
        pytest.param("BPR", "block", marks=pytest.mark.slow),
    ],
)
def test_a_shorter_stream_gives_the_first_rows(run, model, graph):
    long, short = (run(model, n, base="plain", graph=graph) for n in (3, 2))
    assert {what: R[:2] for what, R in matrices(long).items()} == matrices(short)
    stages = [(stage["block"], stage["stage"], stage["member"]) for stage in long.result.stages]
    assert stages == [(k, "base", None) for k in range(3)]


def test_a_block_is_training_by_hand_on_the_union(run):
    strategy = run("BPR", base="plain")
    stream, config = create_stream(strategy.config), strategy.config.for_stage("base")
    now, seed = stream[2], derive_seed(config["seed"], "base", 2, "-", 0)
    union = stream.dataset.view(train_rows(stream, 2), now.n_users, now.n_items)
    positives = union.inter_matrix(form="csr").astype(np.float32)
    positives.data[:] = 1
    positives.sort_indices()
    loader_seed = derive_seed(seed, "loader")
    sampler = NegativeSampler(positives, seed=loader_seed)
    loader = BlockTrainDataLoader(config, union, sampler, shuffle=True)
    loader.generator.manual_seed(loader_seed)
    seed_stage(config["seed"], True, "base", 2, "-", 0)
    model = BPR(config, union)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["base_learning_rate"])
    for batch in loader:
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
    assert len(union) > sum(len(block.train) for block in list(stream)[:2])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(strategy.student.state_dict()[name], value)


@pytest.mark.parametrize("base", ["distilled", "plain"])
def test_the_base_student_is_that_of_the_other_strategies(run, base):
    full, tuned = (run("BPR", 2, strategy, base=base) for strategy in (FullBatch, FineTune))
    for what, R in matrices(full).items():
        assert R[0] == matrices(tuned)[what][0] and R[1] != matrices(tuned)[what][1]
    assert full.teacher is None and set(full.models()) == {"student"}


@pytest.mark.parametrize("model", few(PLAIN_ONLY, "DMF", "MultiVAE"))
def test_models_that_are_never_grown_need_a_plain_base(run, monkeypatch, model):
    one, same = (run(model, 2, again=again, base="plain") for again in (False, True))
    assert matrices(one) == matrices(same) and len(matrices(one)) == 2
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    with pytest.raises(ModelError, match=f"model: {model} .* by itself from the start with --base=plain"):
        run(model, 2)


@pytest.mark.parametrize("model", ["NCL", "RaCT"])
@pytest.mark.parametrize("base", ["distilled", "plain"])
def test_models_trained_in_phases_are_refused(make_config, model, base):
    config = make_config(model, strategy="full_batch", base=base)
    with pytest.raises(ModelError, match=f"model: {model} is trained in several phases"):
        FullBatch(config).check(create_stream(config))


@pytest.mark.parametrize("model", ["Pop", "EASE", "NCEPLRec"])
def test_other_strategies_name_this_one_to_a_model_without_steps(tiny_folder, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    keys = {**SMALL, **SMALL_CCD, "data_path": str(tiny_folder), "strategy": "fine_tune", "base": "plain"}
    with pytest.raises(ModelError, match=f"^model: {model} .* with --strategy=full_batch$"):
        run_ccd(model, "tiny", config_dict=keys)
    assert not list(tmp_path.iterdir())


def test_pop_from_the_command_line(tiny_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    where = ["--config_files=small.yaml", f"--data_path={tiny_folder}", "--dataset=tiny", "--run_dir=run"]
    with warnings.catch_warnings():
        # of what Python shows by default nothing must be left to show
        warnings.simplefilter("error")
        for hidden in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", hidden)
        assert main(["--model=Pop", "--strategy=full_batch", *where]) == 0
    shown = capsys.readouterr()
    assert "full_batch with Pop on tiny" in shown.out + shown.err
    assert "Traceback" not in shown.err and "Warning" not in shown.err
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert (result["model"], result["strategy"], result["n_blocks"]) == ("Pop", "full_batch", 3)
    R = result["metrics"]["recall@5"]["student"]["R"]
    assert [len(row) for row in R] == [1, 2, 3] and all(0 < x < 1 for row in R for x in row)
    # what is counted is counted again
    assert not list((tmp_path / "run" / "checkpoints").rglob("student*.pt"))


def test_a_model_that_cannot_be_fitted_is_told_of_in_one_line(run):
    with pytest.raises(
        ModelError, match=r"^model: NCEPLRec cannot be built .* \(ValueError: .*; correct them$"
    ):
        run("NCEPLRec", rank=2**62)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (np.linalg.LinAlgError("Singular matrix"), r"\(LinAlgError: Singular matrix\); correct them$"),
        (AssertionError(), r"\(AssertionError:\); correct them$"),
        (MemoryError("no room"), "^no room$"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "^DefaultCPUAllocator"),
    ],
)
def test_what_goes_wrong_in_fitting_is_the_settings_or_the_machine(make_config, monkeypatch, error, told):
    def fail(*_):
        raise error

    monkeypatch.setattr(EASE, "__init__", fail)
    machine = isinstance(error, MemoryError | RuntimeError)
    with pytest.raises(type(error) if machine else ModelError, match=told):
        follow(make_config("EASE", strategy="full_batch"), FullBatch)
