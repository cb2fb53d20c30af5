import numpy as np
import pytest
import torch

from recbole_ccd.data.stream import BlockStream
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import DataError
from tests.conftest import tiny_rows, write_inter


def pairs(dataset):
    return list(
        zip(dataset.inter_feat["user_id"].tolist(), dataset.inter_feat["item_id"].tolist(), strict=True)
    )


def tokens(stream, dataset):
    to_user, to_item = (stream.dataset.field2id_token[field] for field in ("user_id", "item_id"))
    return [(to_user[u], to_item[i]) for u, i in pairs(dataset)]


def masked_and_wanted(loader):
    """The pairs that an evaluation loader masks, and those to be found, after a check of its batches."""
    masked, positive, users = set(), set(), []
    for batch, (rows, items), positive_rows, positive_items in loader:
        batch_users = batch["user_id"].numpy()
        masked |= set(zip(batch_users[rows].tolist(), items.tolist(), strict=True))
        positive |= set(zip(batch_users[positive_rows].tolist(), positive_items.tolist(), strict=True))
        users += batch_users.tolist()
    assert users == loader.uid_list.tolist()
    return masked, positive


def of_users(datasets, loader):
    """The pairs of some data sets that are of a loader's users."""
    users = set(loader.uid_list.tolist())
    return {(u, i) for dataset in datasets for u, i in pairs(dataset) if u in users}


def write_blocks(folder, name, blocks):
    (folder / name).mkdir()
    for suffix, rows in blocks.items():
        write_inter(folder / name / f"{name}.{suffix}.inter", rows, "user_id:token\titem_id:token")


def test_ids_are_given_in_order_of_arrival(tiny_stream):
    users = tiny_stream.dataset.inter_feat["user_id"].numpy()
    first = [np.flatnonzero(users == u)[0] for u in range(1, users.max() + 1)]
    assert first == sorted(first)


def test_known_ids_are_a_growing_prefix(tiny_stream):
    for block in tiny_stream:
        for part in (block.train, block.valid, block.test):
            assert part.inter_feat["user_id"].max() < block.n_users == part.user_num
            assert part.inter_feat["item_id"].max() < block.n_items == part.item_num
    sizes = [(b.n_old_users, b.n_users) for b in tiny_stream]
    assert sizes[0][0] == 1 and [b for _, b in sizes[:-1]] == [a for a, _ in sizes[1:]]
    assert sizes[0][1] < sizes[-1][1]
    assert tiny_stream[1].new_users.tolist() == list(
        range(tiny_stream[1].n_old_users, tiny_stream[1].n_users)
    )


def test_parts_partition_the_block_and_keep_its_rows(tiny_stream):
    rows = set()
    for block in tiny_stream:
        for part in (block.train, block.valid, block.test):
            assert part.inter_feat["timestamp"].min() >= 0
            rows |= {(block.index, *pair) for pair in tokens(tiny_stream, part)}
    file = {(u, i) for u, i, _ in tiny_rows()}
    assert {(u, i) for _, u, i in rows} <= file


def test_blocks_follow_one_another_in_time(tiny_stream):
    ends = [
        (float(b.train.inter_feat["timestamp"].min()), float(b.train.inter_feat["timestamp"].max()))
        for b in tiny_stream
    ]
    assert all(before[1] <= after[0] for before, after in zip(ends[:-1], ends[1:], strict=True))


def test_recboles_filtering_comes_before_the_cut(make_config):
    stream = create_stream(make_config(item_inter_num_interval="[40,inf)"))
    counts = np.unique([i for _, i, _ in tiny_rows()], return_counts=True)
    kept = set(counts[0][counts[1] >= 40])
    assert set(stream.dataset.field2id_token["item_id"][1:]) <= kept
    assert len(kept) < 60


def test_blocks_by_dates(make_config, tmp_path):
    (tmp_path / "dated").mkdir()
    day = 86400
    rows = [(f"u{n % 5}", f"i{n % 7}", day * (n // 70)) for n in range(210)]
    write_inter(tmp_path / "dated" / "dated.inter", rows)
    config = make_config(
        dataset="dated",
        data_path=tmp_path,
        block_boundaries=["1970-01-02", "1970-01-03"],
        topk=[3],
        valid_metric="Recall@3",
    )
    stream = create_stream(config)
    assert len(stream) == 3
    assert {float(t) for t in stream[1].train.inter_feat["timestamp"]} == {float(day)}


def test_triples_of_files_are_taken_as_they_are(make_config, tmp_path):
    blocks = {
        "b0.train": [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")],
        "b0.valid": [("a", "z")],
        "b0.test": [("b", "y")],
        "b1.train": [("c", "x"), ("a", "w")],
        "b1.valid": [],
        "b1.test": [("c", "w")],
    }
    write_blocks(tmp_path, "files", blocks)
    config = make_config(
        dataset="files",
        data_path=tmp_path,
        benchmark_filename=list(blocks),
        topk=[2],
        valid_metric="Recall@2",
    )
    stream = create_stream(config)
    parts = {f"b{b.index}.{name}": getattr(b, name) for b in stream for name in ("train", "valid", "test")}
    assert {name: tokens(stream, part) for name, part in parts.items()} == blocks
    assert stream.vocabulary(stream[0]) == {"users": ["[PAD]", "a", "b"], "items": ["[PAD]", "x", "y", "z"]}
    # block 0 has rows to validate on, block 1 has none
    assert [len(block.valid_loaders(config)) for block in stream] == [1, 1]
    config["valid_blocks"] = "current"
    assert [len(block.valid_loaders(config)) for block in stream] == [1, 0]
    # "a" was known, "c" and "w" are new
    assert stream[1].new_users.tolist() == [3] and stream[1].new_items.tolist() == [4]


def test_one_file_per_block_is_split(make_config, tmp_path):
    rows = [row[:2] for row in tiny_rows()]
    write_blocks(tmp_path, "files", {"jan": rows[:1300], "feb": rows[1300:]})
    stream = create_stream(
        make_config(dataset="files", data_path=tmp_path, benchmark_filename=["jan", "feb"])
    )
    assert len(stream) == 2 and all(len(b.valid) and len(b.test) for b in stream)
    assert set(tokens(stream, stream[0].train)) <= set(rows[:1300])


def test_a_shorter_stream_is_the_beginning_of_the_longer_one(make_config, tmp_path):
    rows = [row[:2] for row in tiny_rows()]
    write_blocks(tmp_path, "files", {"b0": rows[:900], "b1": rows[900:1700], "b2": rows[1700:]})
    long, short = (
        create_stream(make_config(dataset="files", data_path=tmp_path, benchmark_filename=names))
        for names in (["b0", "b1", "b2"], ["b0", "b1"])
    )
    for one, other in zip(long, short, strict=False):
        assert pairs(one.train) == pairs(other.train) and pairs(one.test) == pairs(other.test)
        assert (one.n_users, one.n_items) == (other.n_users, other.n_items)


def test_negatives_are_known_and_not_positive(tiny_stream, make_config):
    config = make_config()
    block = tiny_stream[0]
    positive = set(pairs(block.train))
    for batch in block.train_loader(config, seed=1):
        negatives = list(zip(batch["user_id"].tolist(), batch["neg_item_id"].tolist(), strict=True))
        assert not positive & set(negatives)
        assert 0 < batch["neg_item_id"].min() and batch["neg_item_id"].max() < block.n_items


def test_the_graph_is_of_the_block_or_of_all_blocks_so_far(tiny_stream, make_config):
    block = tiny_stream[2]
    now = block.model_data(make_config(graph="block")).inter_matrix(form="csr")
    so_far = block.model_data(make_config(graph="cumulative")).inter_matrix(form="csr")
    assert now.sum() == len(block.train)
    assert so_far.sum() == sum(len(b.train) for b in tiny_stream)
    assert now.shape == so_far.shape == (block.n_users, block.n_items)
    # a model that trains on rows gets this block's alone, whatever the graph
    rows = block.model_data(make_config("ENMF", graph="cumulative", dropout_prob=0.1))
    assert len(rows) == len(block.train)


@pytest.mark.parametrize(("mask", "blocks"), [("block", [1]), ("all", [0, 1, 2])])
def test_masked_history_of_an_earlier_block(tiny_stream, make_config, mask, blocks):
    loader = tiny_stream[1].measured_loader(make_config(mask_history=mask), known_at=tiny_stream[2])
    expected = [part for k in blocks for part in (tiny_stream[k].train, tiny_stream[k].valid)]
    masked, positive = masked_and_wanted(loader)
    assert masked == of_users(expected, loader)
    assert positive == set(pairs(tiny_stream[1].test))
    assert loader.dataset.item_num == tiny_stream[2].n_items


@pytest.mark.parametrize(("mask", "blocks"), [("block", [1]), ("all", [0, 1, 2])])
def test_the_validation_part_can_be_measured_instead(tiny_stream, make_config, mask, blocks):
    config = make_config(eval_part="valid", mask_history=mask)
    loader = tiny_stream[1].measured_loader(config, known_at=tiny_stream[2])
    masked, positive = masked_and_wanted(loader)
    assert masked == of_users([tiny_stream[k].train for k in blocks], loader)
    assert positive == set(pairs(tiny_stream[1].valid))
    assert loader.dataset.item_num == tiny_stream[2].n_items


def test_validation_sees_the_block_or_every_block_so_far(tiny_stream, make_config):
    now = tiny_stream[2]
    (current,) = now.valid_loaders(make_config(valid_blocks="current"))
    seen = now.valid_loaders(make_config(valid_blocks="seen"))
    assert masked_and_wanted(current) == masked_and_wanted(seen[0])
    for block, loader in zip([now, tiny_stream[1], tiny_stream[0]], seen, strict=True):
        masked, positive = masked_and_wanted(loader)
        # items that came after the block are ranked too; its own train part alone is masked
        assert loader.dataset.item_num == now.n_items
        assert masked == of_users([block.train], loader) and positive == set(pairs(block.valid))
    assert len(tiny_stream[0].valid_loaders(make_config(valid_blocks="seen"))) == 1


def test_validation_can_leave_the_test_items_out(tiny_stream, make_config):
    now = tiny_stream[2]
    loaders = now.valid_loaders(make_config(valid_blocks="seen", valid_mask_test=True))
    for block, loader in zip([now, tiny_stream[1], tiny_stream[0]], loaders, strict=True):
        masked, positive = masked_and_wanted(loader)
        assert masked == of_users([block.train, block.test], loader) and positive == set(pairs(block.valid))
        assert masked > of_users([block.train], loader)


def test_validation_of_pieces_leaves_out_the_test_items_that_have_arrived(tiny_stream, make_config):
    block = tiny_stream[1]
    config = make_config(valid_mask_test=True, valid_blocks="current")
    (whole,), last = block.valid_loaders(config), block.parts(3)[-1]
    (loader,) = last.valid_loaders(config)
    masked = masked_and_wanted(loader)[0]
    assert masked == masked_and_wanted(whole)[0] > of_users([block.train], loader)
    first = block.parts(3)[0]
    (loader,) = first.valid_loaders(config)
    assert masked_and_wanted(loader)[0] <= of_users([block.train, block.test], loader)


def test_measured_rows_of_new_entities_alone(tiny_stream, make_config):
    block = tiny_stream[1]
    loader = block.measured_loader(make_config(), users_from=block.n_old_users)
    assert set(loader.uid_list.tolist()) == {u for u, _ in pairs(block.test) if u >= block.n_old_users}
    assert block.measured_loader(make_config(), users_from=block.n_users) is None


def test_pieces_of_a_block_make_the_block(tiny_stream):
    block = tiny_stream[1]
    pieces = block.parts(3)
    assert [p for piece in pieces for p in pairs(piece.train)] == pairs(block.train)
    assert [piece.n_old_users for piece in pieces] == [block.n_old_users, *(p.n_users for p in pieces[:-1])]
    assert (pieces[-1].n_users, pieces[-1].n_items) == (block.n_users, block.n_items)
    assert pieces[0].n_users < block.n_users
    for piece in pieces:
        for part in (piece.train, piece.valid):
            assert all(u < piece.n_users and i < piece.n_items for u, i in pairs(part))
    assert pieces[1].train_matrix.nnz >= pieces[0].train_matrix.nnz
    assert block.parts(1) == [block]


def test_history_matrix_equals_a_loop(tiny_stream):
    data = tiny_stream[1].train
    ids, values, length = data.history_item_matrix()
    rows = [[i for u, i in pairs(data) if u == user] for user in range(data.user_num)]
    assert length.tolist() == [len(row) for row in rows]
    assert ids.tolist() == [row + [0] * (ids.shape[1] - len(row)) for row in rows]
    assert torch.equal(values, (ids > 0).float())
    users, _, _ = data.history_user_matrix(max_history_len=2)
    assert users.shape == (data.item_num, 2)


def test_a_stream_is_not_built_twice_by_mistake(tiny_stream):
    with pytest.raises(DataError, match="create_stream"):
        tiny_stream.dataset.build()
    assert isinstance(tiny_stream, BlockStream) and len(list(tiny_stream)) == 3


def test_a_piece_validates_with_all_that_was_trained_in_the_block_masked(tiny_stream, make_config):
    block = tiny_stream[1]
    loader, *of_earlier_blocks = block.parts(3)[-1].valid_loaders(make_config())
    assert masked_and_wanted(loader)[0] == of_users([block.train], loader)
    assert len(of_earlier_blocks) == 1


def test_released_rows_come_back_the_same(tiny_stream):
    block = tiny_stream[1]
    rows, matrix = block.train.inter_feat, block.train_matrix
    block.release_rows()
    assert block.train_matrix is matrix and block.train.inter_feat is not rows
    for field, values in rows.interaction.items():
        assert torch.equal(block.train.inter_feat[field], values)


def test_released_matrices_come_back_the_same(tiny_stream):
    block = tiny_stream[1]
    names = ("train_matrix", "train_so_far", "recent_train_matrix")
    before = {name: getattr(block, name) for name in names}
    block.release()
    block.release()
    for name in names:
        again = getattr(block, name)
        assert again is not before[name] and (again != before[name]).nnz == 0
