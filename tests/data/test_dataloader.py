"""The loaders of training rows and of replayed pairs, batch by batch."""

from collections import Counter

import numpy as np
import pytest
import torch

from recbole_ccd.data.dataloader import REPLAY_LABEL, BlockTrainDataLoader, ReplayDataLoader
from recbole_ccd.quick_start import create_stream
from tests.conftest import tiny_rows, write_inter

FIELDS = ("user_id", "item_id", "timestamp")
# pairwise and pointwise training
MODELS = ("BPR", "NeuMF")


def rows_of(batch, fields=FIELDS):
    return list(zip(*(batch[field].tolist() for field in fields), strict=True))


def positives(batch):
    """The rows of the data in a batch; its negatives are copies of them."""
    rows = rows_of(batch)
    if "label" not in batch:
        return rows
    return [row for row, label in zip(rows, batch["label"].tolist(), strict=True) if label == 1]


def contents(batch):
    return {field: values.tolist() for field, values in batch.interaction.items()}


def order_of(loader):
    return [row for batch in loader for row in positives(batch)]


@pytest.fixture
def make_loader(make_config, tiny_stream):
    """Makes the loader of block 0's train part."""

    def make(name="BPR", seed=1, exclude=None, **keys):
        config = make_config(name, **{"train_batch_size": 100, **keys})
        return tiny_stream[0].train_loader(config, seed, exclude)

    return make


@pytest.fixture
def rows(tiny_stream):
    """Block 0's train rows in order of arrival; all of them differ."""
    rows = rows_of(tiny_stream[0].train.inter_feat)
    assert len(set(rows)) == len(rows) > 300
    return rows


@pytest.mark.parametrize("name", MODELS)
def test_an_epoch_visits_every_row_once_in_an_order_of_its_own(make_loader, rows, name):
    loader = make_loader(name)
    first, second = order_of(loader), order_of(loader)
    assert isinstance(loader, BlockTrainDataLoader)
    assert Counter(first) == Counter(second) == Counter(rows)
    assert first != second and first != rows


@pytest.mark.parametrize("name", MODELS)
def test_equal_seeds_yield_equal_epochs(make_loader, name):
    one, same, other = (
        [
            {key: value.tolist() for key, value in batch.interaction.items()}
            for _ in range(2)
            for batch in loader
        ]
        for loader in (make_loader(name, seed=s) for s in (5, 5, 6))
    )
    assert one == same != other


def test_the_order_does_not_hang_on_the_global_generator(make_loader):
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        orders.append(order_of(make_loader(seed=3)))
    assert orders[0] == orders[1]


@pytest.mark.parametrize("name", MODELS)
def test_without_shuffling_rows_come_in_order_of_arrival(make_loader, rows, name):
    loader = make_loader(name, shuffle=False)
    assert order_of(loader) == rows == order_of(loader)


@pytest.mark.parametrize(("name", "per_batch"), [("BPR", 100), ("NeuMF", 50)])
def test_length_and_sizes_of_the_batches(make_loader, rows, name, per_batch):
    loader = make_loader(name)
    sizes = [len(positives(batch)) for batch in loader]
    rest = len(rows) % per_batch
    assert rest and sizes == [per_batch] * (len(rows) // per_batch) + [rest]
    assert len(loader) == len(sizes)


def test_a_batch_larger_than_the_block_holds_it_all(make_loader, rows):
    loader = make_loader(train_batch_size=10_000)
    (batch,) = loader
    assert len(batch) == len(rows) and len(loader) == 1


def test_rows_that_fill_the_batches_leave_none_behind(make_loader, rows):
    loader = make_loader(train_batch_size=len(rows))
    assert [len(batch) for batch in loader] == [len(rows)] and len(loader) == 1


@pytest.mark.parametrize("times", [1, 3])
def test_pairwise_negatives_are_of_the_rows_user(make_loader, rows, tiny_stream, times):
    block, known = tiny_stream[0], tiny_stream[0].train_matrix.toarray() > 0
    arguments = {"distribution": "uniform", "sample_num": times, "dynamic": False}
    seen = Counter()
    for batch in make_loader(train_neg_sample_args=arguments):
        users, negatives = batch["user_id"].numpy(), batch["neg_item_id"].numpy()
        assert not known[users, negatives].any()
        assert negatives.min() >= 1 and negatives.max() < block.n_items
        assert "label" not in batch
        seen.update(rows_of(batch))
    assert seen == Counter({row: times for row in rows})


@pytest.mark.parametrize("times", [1, 3])
def test_pointwise_negatives_are_of_the_rows_user(make_loader, rows, tiny_stream, times):
    block, known = tiny_stream[0], tiny_stream[0].train_matrix.toarray() > 0
    arguments = {"distribution": "uniform", "sample_num": times, "dynamic": False}
    seen, users_of_negatives = Counter(), Counter()
    for batch in make_loader("NeuMF", train_neg_sample_args=arguments):
        label, users, items = (batch[field].numpy() for field in ("label", "user_id", "item_id"))
        assert np.array_equal(known[users, items], label == 1) and (label == 0).sum() == times * label.sum()
        assert items.min() >= 1 and items.max() < block.n_items
        users_of_negatives.update(users[label == 0].tolist())
        seen.update(positives(batch))
    assert seen == Counter(rows)
    assert users_of_negatives == Counter([row[0] for row in rows for _ in range(times)])


class Favours(torch.nn.Module):
    """A model that likes every item better than the one before it."""

    device = torch.device("cpu")

    def predict(self, interaction):
        assert not torch.is_grad_enabled() and not self.training
        return interaction["item_id"].float()


@pytest.mark.parametrize("name", MODELS)
def test_a_dynamic_negative_is_the_candidate_that_the_model_ranks_highest(
    make_loader, rows, tiny_stream, name
):
    known, n_items = tiny_stream[0].train_matrix.toarray() > 0, tiny_stream[0].n_items
    # so many candidates that each user's highest item is among them
    arguments = {"dynamic": True, "candidate_num": 100 * n_items}
    loader, model = make_loader(name, train_neg_sample_args=arguments), Favours()
    loader.get_model(model)
    seen = Counter()
    for batch in loader:
        if name == "BPR":
            users, negatives = batch["user_id"], batch["neg_item_id"]
        else:
            users, negatives = (batch[field][batch["label"] == 0] for field in ("user_id", "item_id"))
        highest = [max(item for item in range(1, n_items) if not known[user, item]) for user in users]
        assert negatives.tolist() == highest
        assert model.training
        seen.update(positives(batch))
    assert seen == Counter(rows)


def test_negatives_differ_between_epochs(make_loader):
    loader = make_loader(shuffle=False)
    epochs = [torch.cat([batch["neg_item_id"] for batch in loader]) for _ in range(2)]
    assert not torch.equal(*epochs)


def test_a_loader_can_be_left_in_the_middle_of_an_epoch(make_loader, rows):
    loader = make_loader()
    next(iter(loader))
    assert Counter(order_of(loader)) == Counter(rows)


def test_two_iterations_at_once_do_not_disturb_one_another(make_loader, rows):
    loader = make_loader()
    pairs = list(zip(loader, loader, strict=True))
    for side in (0, 1):
        assert Counter(row for pair in pairs for row in positives(pair[side])) == Counter(rows)


@pytest.fixture
def make_replay(make_config, tiny_stream):
    """Makes a loader of ``n`` triples, each with a label of its own."""

    def make(n=257, seed=1):
        generator = torch.Generator().manual_seed(0)
        users, items = (torch.randint(1, 30, (n,), generator=generator) for _ in range(2))
        triples = (users, items, torch.arange(n) / 1000)
        config = make_config("BPR", train_batch_size=50)
        return ReplayDataLoader(config, tiny_stream[0].train, triples, seed), triples

    return make


REPLAY_FIELDS = ("user_id", "item_id", REPLAY_LABEL)


def test_replay_yields_every_triple_once_with_its_own_label(make_replay):
    loader, triples = make_replay()
    wanted = list(zip(*(part.tolist() for part in triples), strict=True))
    epochs = [[row for batch in loader for row in rows_of(batch, REPLAY_FIELDS)] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(wanted)
    assert epochs[0] != wanted and epochs[0] != epochs[1]


def test_replay_batches_have_the_configured_size(make_replay):
    loader, _ = make_replay()
    assert [len(batch) for batch in loader] == [50] * 5 + [7] and len(loader) == 6


def test_replay_order_is_of_the_seed(make_replay):
    one, same, other = (
        [value for batch in make_replay(seed=s)[0] for value in batch[REPLAY_LABEL].tolist()]
        for s in (1, 1, 2)
    )
    assert one == same != other


def test_replay_of_nothing_has_no_batches(make_replay):
    loader, _ = make_replay(0)
    assert len(loader) == 0 and list(loader) == []


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_rows_of_a_block_by_any_kind_of_index(tiny_stream, kind):
    data = tiny_stream[0].train
    picked = data[kind([5, 0, 5, 2])]
    rows = rows_of(data.inter_feat)
    assert rows_of(picked) == [rows[5], rows[0], rows[5], rows[2]]
    assert len(data[torch.zeros(0, dtype=torch.int64)]) == 0


def test_rows_of_a_block_are_copies(tiny_stream):
    data = tiny_stream[0].train
    before = data.inter_feat["item_id"].clone()
    data[torch.arange(10)]["item_id"].zero_()
    assert torch.equal(data.inter_feat["item_id"], before)


def test_rows_come_with_the_features_of_their_items(make_config, tmp_path):
    (tmp_path / "priced").mkdir()
    write_inter(tmp_path / "priced" / "priced.inter", tiny_rows())
    prices = [(f"i{number}", number / 4) for number in range(60)]
    write_inter(tmp_path / "priced" / "priced.item", prices, "item_id:token\tprice:float")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "price"]}
    config = make_config("BPR", "priced", tmp_path, load_col=columns)
    block = create_stream(config)[0]
    token = block.train.field2id_token["item_id"]
    (batch,) = block.train_loader(make_config("BPR", train_batch_size=10_000), seed=1)
    for prefix in ("", "neg_"):
        expected = [int(token[i][1:]) / 4 for i in batch[prefix + "item_id"].tolist()]
        assert batch[prefix + "price"].tolist() == expected
    assert "price" not in block.train.__getitem__([0], join=False)
