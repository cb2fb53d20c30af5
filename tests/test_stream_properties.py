"""What holds for every stream: random blocks, ids and sizes."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_ccd.data.sparse import contains
from recbole_ccd.model.growth import build, grow
from recbole_ccd.quick_start import create_strategy, create_stream
from recbole_ccd.utils.errors import DataError
from tests.conftest import write_inter

PATIENT = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def streams(draw):
    """Interactions with times, and the shares of the blocks."""
    seed, n = draw(st.integers(0, 2**16)), draw(st.integers(40, 300))
    n_users, n_items = draw(st.integers(2, 30)), draw(st.integers(6, 40))
    growing, tied = draw(st.booleans()), draw(st.booleans())
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 20, n) if tied else rng.uniform(-5, 1e9, n)
    share = np.argsort(np.argsort(times, kind="stable")) / n * 0.7 + 0.3 if growing else np.ones(n)
    users, items = (np.floor(rng.random(n) * share * size).astype(int) for size in (n_users, n_items))
    rows = [(f"u{u}", f"i{i}", t) for u, i, t in zip(users, items, times.tolist(), strict=True)]
    weights = np.array(draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)), dtype=float)
    ratios = (weights / weights.sum()).tolist()
    ratios[-1] += 1 - sum(ratios)
    return rows, ratios


@pytest.fixture
def stream_of(make_config, tmp_path, monkeypatch):
    """Makes the stream of random rows; None where it is refused, as streams may be."""
    monkeypatch.chdir(tmp_path)
    counter = iter(range(10**6))

    def make(rows, ratios, **keys):
        folder = tmp_path / str(next(counter))
        (folder / "own").mkdir(parents=True)
        write_inter(folder / "own" / "own.inter", rows)
        keys = {"block_ratios": ratios, "topk": [2], "valid_metric": "Recall@2", **keys}
        try:
            return create_stream(make_config("BPR", dataset="own", data_path=folder, **keys))
        except DataError:
            return None

    return make


def ids(dataset):
    return tuple(dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))


@PATIENT
@given(streams())
def test_known_ids_are_a_prefix_and_no_later_one_occurs(stream_of, given_stream):
    stream = stream_of(*given_stream)
    if stream is None:
        return
    known = [1, 1]
    for block in stream:
        assert [block.n_old_users, block.n_old_items] == known
        parts = [ids(part) for part in (block.train, block.valid, block.test)]
        for side, n in enumerate((block.n_users, block.n_items)):
            arrived = np.concatenate([part[side] for part in parts])
            assert arrived.min() >= 1 and arrived.max() < n
            # whoever is new occurs in the block, so that known ids have no gap
            assert set(range(known[side], n)) <= set(arrived.tolist())
            known[side] = n
        for matrix in (block.train_matrix, block.train_so_far, block.recent_train_matrix):
            assert matrix.shape == (block.n_users, block.n_items)
    assert known == [stream.dataset.user_num, stream.dataset.item_num]


@PATIENT
@given(streams())
def test_the_parts_of_the_blocks_are_a_partition_in_order_of_time(stream_of, given_stream):
    stream = stream_of(*given_stream)
    if stream is None:
        return
    rows = [stream._rows.parts[k][part] for k in range(len(stream)) for part in stream._rows.parts[k]]
    together = np.concatenate(rows)
    assert sorted(together.tolist()) == list(range(len(stream.dataset.inter_feat)))
    times = stream.dataset.inter_feat["timestamp"].numpy()
    by_block = [times[np.concatenate(list(parts.values()))] for parts in stream._rows.parts]
    assert all(one.max() <= other.min() for one, other in zip(by_block, by_block[1:], strict=False))


@PATIENT
@given(streams(), st.integers(0, 2**16))
def test_negatives_and_loaders_know_no_later_id(stream_of, given_stream, seed):
    stream = stream_of(*given_stream)
    if stream is None:
        return
    for block in stream:
        try:
            loader = block.train_loader(stream.config, seed)
        except DataError:
            continue
        for batch in loader:
            bounds = {"user_id": block.n_users, "item_id": block.n_items, "neg_item_id": block.n_items}
            for field, n in bounds.items():
                assert 1 <= int(batch[field].min()) and int(batch[field].max()) < n
            users, negatives = batch["user_id"].numpy(), batch["neg_item_id"].numpy()
            assert not contains(block.train_matrix, users, negatives).any()


@PATIENT
@given(streams())
def test_growth_keeps_old_rows(stream_of, given_stream):
    stream = stream_of(*given_stream)
    if stream is None:
        return
    torch.manual_seed(0)
    model = build(stream.config, stream[0])
    for block in list(stream)[1:]:
        grown = grow(model, stream.config, block)
        assert (grown.n_users, grown.n_items) == (block.n_users, block.n_items)
        for name, old in model.state_dict().items():
            new = grown.state_dict()[name]
            assert torch.equal(new[: len(old)], old) and torch.isfinite(new).all()
        model = grown


@settings(PATIENT, max_examples=5)
@given(streams())
def test_r_is_lower_triangular(stream_of, given_stream):
    stream = stream_of(*given_stream, strategy="fine_tune", base="plain")
    if stream is None:
        return
    try:
        result = create_strategy(stream.config).run(stream).to_dict()
    except DataError:
        return
    for metric in result["metrics"].values():
        R = metric["student"]["R"]
        assert [len(row) for row in R] == list(range(1, len(stream) + 1))
        assert all(0 <= value <= 1 for row in R for value in row)
