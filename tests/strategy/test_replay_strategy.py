"""Experience replay: which past interactions are kept, and what they serve."""

import numpy as np
import pytest

from recbole_ccd.plugin.replay import ReservoirReplay
from recbole_ccd.quick_start import create_stream
from recbole_ccd.strategy import continual
from recbole_ccd.strategy.ccd import CCD
from recbole_ccd.strategy.distill_each_block import DistillEachBlock
from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.strategy.replay import ExperienceReplay
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import ConfigError, DataError
from tests.strategy.runs import block_rows, follow, matrices, teachers, triples, write_files


@pytest.fixture(scope="module")
def stream(make_config):
    """The tiny stream in five blocks."""
    return create_stream(make_config(block_ratios=[0.3, 0.2, 0.2, 0.2, 0.1]))


@pytest.fixture
def make(make_config):
    """Makes the strategy, plain student and all, with keys of its own."""

    def make(model="BPR", **keys):
        return ExperienceReplay(make_config(model, strategy="replay", base="plain", **keys))

    return make


def reservoir(strategy, block):
    return ReservoirReplay.rows(block, strategy.config)


def past(block):
    return np.concatenate(block.earlier_train_rows)


@pytest.mark.parametrize("size", [0, 1, 150, 10**6])
def test_the_reservoir_is_of_the_past_and_of_its_size(stream, make, size):
    strategy = make(reservoir_size=size)
    for block in list(stream)[1:]:
        kept = reservoir(strategy, block)
        assert len(set(kept.tolist())) == len(kept) == min(size, len(past(block)))
        assert set(kept.tolist()) <= set(past(block).tolist()) and kept.tolist() == sorted(kept.tolist())


def test_what_has_been_dropped_never_comes_back(stream, make):
    strategy = make(reservoir_size=150)
    blocks = list(stream)
    for before, block in zip(blocks[1:-1], blocks[2:], strict=True):
        was, now = set(reservoir(strategy, before).tolist()), set(reservoir(strategy, block).tolist())
        assert now & set(past(before).tolist()) <= was
        assert now - was and was - now, "new rows come in, and old ones make room"


def test_a_larger_reservoir_holds_the_smaller_one(stream, make):
    small, large = (set(reservoir(make(reservoir_size=size), stream[4]).tolist()) for size in (50, 300))
    assert small < large


def test_the_reservoir_is_a_uniform_sample_of_all_blocks_before(stream, make):
    strategy, rows, n, runs = make(reservoir_size=200), past(stream[4]), 200, 400
    drawn = np.zeros(len(stream.dataset.block_of_row))
    for seed in range(runs):
        strategy.config["seed"] = seed
        drawn[reservoir(strategy, stream[4])] += 1
    assert drawn.sum() == n * runs
    share = n / len(rows)
    chi2 = ((drawn[rows] - runs * share) ** 2).sum() / (runs * share * (1 - share))
    free = len(rows) - 1
    assert abs(chi2 - free) < 4 * np.sqrt(2 * free)
    # no block is preferred: shares within four standard deviations of n draws per run
    sizes = np.array([len(part) for part in stream[4].earlier_train_rows])
    counts = np.array([drawn[part].sum() for part in stream[4].earlier_train_rows])
    p = sizes / sizes.sum()
    assert (abs(counts / (n * runs) - p) < 4 * np.sqrt(p * (1 - p) / (n * runs))).all()


def test_the_reservoir_hangs_on_the_seed_alone(stream, make):
    one, same, other = (reservoir(make(seed=s, reservoir_size=100), stream[3]).tolist() for s in (1, 1, 2))
    assert one == same != other


@pytest.fixture
def trained(monkeypatch):
    """What each update was grown on, and what it was trained on."""
    grown, trained, grow, fit = [], [], continual.grow, StageTrainer.run

    def spy_grow(model, config, block):
        grown.append(block)
        return grow(model, config, block)

    def spy_fit(self, show_progress):
        if self.block.index:
            trained.append(self.block)
        return fit(self, show_progress)

    monkeypatch.setattr(continual, "grow", spy_grow)
    monkeypatch.setattr(StageTrainer, "run", spy_fit)
    return grown, trained


@pytest.mark.parametrize(("model", "rows_are_read"), [("LightGCN", False), ("ENMF", True)])
def test_an_update_learns_block_and_reservoir_and_keeps_the_graph(
    make_config, tmp_path, monkeypatch, trained, model, rows_are_read
):
    monkeypatch.chdir(tmp_path)
    config = make_config(model, strategy="replay", base="plain", graph="block", reservoir_size=200)
    follow(config, ExperienceReplay)
    (_, *later), (grown, learned) = create_stream(config), trained
    assert len(grown) == len(learned) == len(later) == 2
    for block, built_on, learned_from in zip(later, grown, learned, strict=True):
        kept = ReservoirReplay.rows(block, config)
        assert len(learned_from.train) == len(block.train) + 200 == len(block.train) + len(kept)
        assert len(built_on.model_data(config)) == len(block.train) + (200 if rows_are_read else 0)


def test_negatives_are_neither_of_the_block_nor_of_the_reservoir(stream, make):
    strategy = make(reservoir_size=400)
    block = stream[3]
    mixed, _ = strategy.extended(block, strategy.config)
    feat, kept = stream.dataset.inter_feat, reservoir(strategy, block)
    barred = block.train_matrix.toarray() > 0
    assert not barred[feat["user_id"][kept], feat["item_id"][kept]].all()
    barred[feat["user_id"][kept], feat["item_id"][kept]] = True
    for batch in mixed.train_loader(strategy.config, seed=1):
        assert not barred[batch["user_id"].numpy(), batch["neg_item_id"].numpy()].any()
        assert batch["neg_item_id"].max() < block.n_items


@pytest.fixture
def rows_of(make_config, tmp_path, monkeypatch):
    """R, unrounded, of a strategy on files."""
    monkeypatch.chdir(tmp_path)
    names = write_files(tmp_path, "files", {f"b{k}": rows for k, rows in enumerate(block_rows())})

    def rows_of(strategy, n_blocks=3, **keys):
        data = {"dataset": "files", "data_path": tmp_path, "benchmark_filename": names[:n_blocks]}
        settings = {"strategy": strategy.name, "base": "plain", "metric_decimal_place": 15, **data, **keys}
        return matrices(follow(make_config(**settings), strategy))

    return rows_of


@pytest.mark.parametrize("graph", ["block", "cumulative"])
def test_a_shorter_stream_gives_the_first_rows(rows_of, graph):
    long, short = (rows_of(ExperienceReplay, n, graph=graph, reservoir_size=300) for n in (3, 2))
    assert {name: R[:2] for name, R in long.items()} == short


def test_an_empty_reservoir_is_fine_tuning(rows_of):
    fine_tuned, without, with_it = (
        rows_of(strategy, **keys)
        for strategy, keys in (
            (FineTune, {}),
            (ExperienceReplay, {"reservoir_size": 0}),
            (ExperienceReplay, {"reservoir_size": 300}),
        )
    )
    assert fine_tuned == without != with_it
    assert all(with_it[name][0] == fine_tuned[name][0] for name in with_it)


def test_a_user_whose_reservoir_completes_the_catalogue_is_refused(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    items = [f"i{i}" for i in range(8)]
    rows = [(f"u{u}", items[(u + n) % 8]) for n in range(5) for u in range(30)]
    files = triples([rows, rows])
    files["b0.train"] = [row for row in files["b0.train"] if row[0] != "u0"] + [
        ("u0", item) for item in items[:4]
    ]
    files["b1.train"] = [row for row in files["b1.train"] if row[0] != "u0"] + [
        ("u0", item) for item in items[4:]
    ]
    data = {"data_path": tmp_path, "benchmark_filename": write_files(tmp_path, "files", files)}
    keys = {"strategy": "replay", "base": "plain", "dataset": "files", **data}
    with pytest.raises(DataError, match="user 'u0' has interacted with all 8 items known in block 1"):
        follow(make_config("BPR", **keys), ExperienceReplay)
    config = make_config("BPR", **keys, reservoir_size=0)
    ExperienceReplay(config).check(create_stream(config))


@pytest.mark.parametrize("size", [-1, 2.5, None, True])
def test_a_size_that_is_no_count_is_refused(make_config, size):
    with pytest.raises(ConfigError, match="reservoir_size is .* give an integer >= 0"):
        make_config("BPR", strategy="replay", reservoir_size=size)


@pytest.mark.parametrize("strategy", [ExperienceReplay, DistillEachBlock, CCD])
def test_a_user_with_all_items_of_block_and_reservoir_is_refused_before_anything_is_trained(
    make_config, tmp_path, strategy
):
    # the first half of the items in one block, the second in the next
    half = [[f"i{n}" for n in range(start, start + 15)] for start in (0, 15)]
    parts = {}
    for k, items in enumerate(half):
        others = [(f"u{u}", f"i{(7 * u + n) % 30}") for u in range(1, 40) for n in range(6)]
        parts[f"b{k}.train"] = [*(("u0", item) for item in items), *others]
        parts[f"b{k}.valid"] = parts[f"b{k}.test"] = [(f"u{u}", f"i{(7 * u + 6) % 30}") for u in range(1, 40)]
    keys = {
        "dataset": "files",
        "data_path": tmp_path,
        "benchmark_filename": write_files(tmp_path, "files", parts),
    }
    keys |= {"strategy": strategy.name, "replay": "reservoir", **teachers("BPR")}
    config = make_config("BPR", **keys)
    stream = create_stream(config)
    with pytest.raises(DataError, match="user 'u0' has interacted with all 30 items known in block 1"):
        strategy(config).check(stream)
    strategy(make_config("BPR", **keys, reservoir_size=0)).check(stream)
