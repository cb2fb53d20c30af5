"""Who gets what: known, unknown and folded-in users, and what is left out."""

import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from recbole_ccd import load_student
from recbole_ccd.data.splitting import TEST, TRAIN, VALID
from recbole_ccd.utils.errors import ConfigError, ModelError
from tests.conftest import tiny_rows
from tests.serving.reference import restored


@pytest.fixture(scope="module")
def stream(run_dir):
    return restored(run_dir)[1]


@pytest.fixture(scope="module")
def rows(stream):
    """User token, item token, block and part of every interaction, from the data."""
    dataset = stream.dataset
    ids = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    fields = (dataset.uid_field, dataset.iid_field)
    tokens = [dataset.field2id_token[f][part] for f, part in zip(fields, ids, strict=True)]
    return list(zip(*tokens, dataset.block_of_row, dataset.part_of_row, strict=True))


def items_of(table, user):
    return table.loc[table["user"] == user, "item"].tolist()


def test_a_run_directory_is_enough(run_dir, tmp_path, monkeypatch, rows):
    (tmp_path / "moved").mkdir()
    for name in ("manifest.json", "vocabulary.json"):
        shutil.copy(run_dir / name, tmp_path / "moved")
    for name in ("block-2", "interactions"):
        shutil.copytree(run_dir / "checkpoints" / name, tmp_path / "moved" / "checkpoints" / name)
    monkeypatch.chdir(tmp_path)
    for role in ("student", "teacher"):
        there, here = load_student("moved", role), load_student(run_dir, role)
        users = sorted({user for user, *_ in rows})
        assert there.recommend(users).equals(here.recommend(users))
        assert there.block == 2 and role in repr(there)


def test_what_a_user_did_is_left_out(served, rows):
    users = served.user_tokens[1:].tolist()
    table = served.recommend(users, k=1000)
    everything = set(served.item_tokens[1:])
    assert len(everything) < 1000
    for user in users:
        done = {item for who, item, *_ in rows if who == user}
        assert sorted(items_of(table, user)) == sorted(everything - done)
    assert served.recommend(users, 1000, "all").equals(table)


def test_what_the_evaluation_masks_is_left_out(served, rows):
    for block in (0, 2):
        users = served.user_tokens[1:].tolist()
        table = served.recommend(users, 1000, "evaluation", block=block)
        for user in users[::7]:
            masked = {
                item for who, item, k, part in rows if (who, k) == (user, block) and part in (TRAIN, VALID)
            }
            assert set(items_of(table, user)) == set(served.item_tokens[1:]) - masked
    last = served.recommend(users, 1000, "evaluation")
    assert last.equals(table)


def test_nothing_is_left_out(served):
    for exclude_seen in (False, "none"):
        table = served.recommend(served.user_tokens[1:4].tolist(), 1000, exclude_seen)
        assert Counter(table["user"]) == dict.fromkeys(served.user_tokens[1:4], len(served.item_tokens) - 1)
    assert (
        table["score"].is_monotonic_decreasing or (table.groupby("user")["score"].diff().dropna() <= 0).all()
    )


def test_scores_are_inner_products(served):
    table = served.recommend(["u3"], 7)
    users, items = served.vectors
    index = {token: i for i, token in enumerate(served.item_tokens)}
    by_hand = [float(users[list(served.user_tokens).index("u3")] @ items[index[t]]) for t in table["item"]]
    np.testing.assert_allclose(table["score"], by_hand, rtol=1e-5)


def test_unknown_users_get_what_is_popular_in_the_last_block(served, rows):
    last, total = Counter(i for _, i, k, _ in rows if k == 2), Counter(i for _, i, *_ in rows)
    order = sorted(served.item_tokens[1:], key=lambda item: (-last[item], -total[item]))
    table = served.recommend(["nobody", "u1", "[PAD]"], 12)
    for user in ("nobody", "[PAD]"):
        assert items_of(table, user) == order[:12]
        part = table[table["user"] == user]
        assert set(part["source"]) == {"popular"} and part["rank"].tolist() == list(range(1, 13))
        assert part["score"].tolist() == [last[item] for item in order[:12]]
    assert set(table.loc[table["user"] == "u1", "source"]) == {"student"}
    # in the order in which they were asked for
    assert table["user"].drop_duplicates().tolist() == ["nobody", "u1", "[PAD]"]


def test_a_token_may_be_asked_for_again_and_need_be_no_text(served):
    table = served.recommend(["u1", "u2", "u1"], 3)
    assert table["user"].tolist() == ["u1"] * 3 + ["u2"] * 3 + ["u1"] * 3
    assert served.recommend(np.array(["u1"]), 3).equals(table[:3])
    assert len(served.recommend([], 3)) == 0
    assert set(served.recommend([17], 3)["source"]) == {"popular"}


def test_a_folded_in_user_by_hand(served, rows):
    users, items = (part.numpy() for part in served.vectors)
    ids = {t: i for i, t in enumerate(served.user_tokens)}, {t: i for i, t in enumerate(served.item_tokens)}
    mine = ["i3", "i4"]
    block = {(u, i) for u, i, k, part in rows if k == 2 and part == TRAIN}
    active = Counter(u for u, _ in block)
    by_activity = sorted(served.user_tokens[1:], key=lambda u: (-active[u], ids[0][u]))
    sharers = [u for u in by_activity if any((u, i) in block for i in mine)]
    chosen = (sharers + [u for u in by_activity if u not in sharers])[:20]
    first = np.mean([items[ids[1][i]] for i in mine], axis=0)
    second = np.mean([users[ids[0][u]] for u in chosen], axis=0)
    scores = items @ (0.5 * first + 0.5 * second)
    served.fold_in({"somebody": [*mine, "no such item"], "else": ["i5"]})
    table = served.recommend(["somebody"], 10)
    assert set(table["source"]) == {"folded in"} and not set(mine) & set(table["item"])
    np.testing.assert_allclose(table["score"], [scores[ids[1][i]] for i in table["item"]], rtol=1e-4)
    left = np.delete(scores, [0, *(ids[1][i] for i in mine)])
    np.testing.assert_allclose(table["score"], np.sort(left)[::-1][:10], rtol=1e-4)
    assert served.recommend(["somebody"], 1000, "none")["item"].isin(mine).sum() == 2


def test_folding_in_changes_nobody_else(served):
    users = served.user_tokens[1:].tolist()
    before = served.recommend(users, 10)
    served.fold_in({"somebody": ["i3"]})
    assert served.recommend(users, 10).equals(before)
    mixed = served.recommend(["u1", "somebody", "nobody", "u2"], 4)
    assert mixed["source"].tolist()[::4] == ["student", "folded in", "popular", "student"]
    # what is told adds up
    served.fold_in({"other": ["i8"], "somebody": ["i7"]})
    at_once = load_student_again(served)
    at_once.fold_in({"somebody": ["i3", "i7"], "other": ["i8"]})
    both = ["somebody", "other"]
    assert served.recommend(both, 9).equals(at_once.recommend(both, 9))


def load_student_again(served):
    return type(served)(
        served.about, served._record, {"users": list(served.user_tokens), "items": list(served.item_tokens)}
    )


def test_known_users_keep_their_embedding_and_lose_the_items(served):
    before = served.recommend(["u1"], 10)
    told = before["item"].tolist()[:4]
    served.fold_in({"u1": told})
    after = served.recommend(["u1"], 6)
    assert after["item"].tolist() == before["item"].tolist()[4:]
    assert set(after["source"]) == {"student"}
    assert served.recommend(["u1"], 10, "none")["item"].isin(told).sum() == 4


def test_users_of_unknown_items_remain_unknown(served):
    served.fold_in({"somebody": ["no such item"], "else": []})
    assert set(served.recommend(["somebody", "else"], 3)["source"]) == {"popular"}


def test_one_hop_initialisation_is_the_mean_of_the_items(run_of):
    keys = {"new_entity_initialization": "one_hop", "strategy": "fine_tune", "base": "plain"}
    served = load_student(run_of(model="BPR", **keys))
    served.fold_in({"somebody": ["i3", "i4"]})
    items = {t: served.vectors[1][i] for i, t in enumerate(served.item_tokens)}
    mean = torch.stack([items["i3"], items["i4"]]).mean(dim=0)
    table = served.recommend(["somebody"], 5)
    expected = [float(mean @ items[t]) for t in table["item"]]
    np.testing.assert_allclose(table["score"], expected, rtol=1e-5)


def test_models_without_embeddings_fold_nobody_in(run_dir):
    teacher = load_student(run_dir, "teacher")
    with pytest.raises(ModelError, match="does not score by an inner product"):
        teacher.fold_in({"somebody": ["i3"]})
    assert set(teacher.recommend(["somebody"], 3)["source"]) == {"popular"}
    before = teacher.recommend(["u1"], 3)
    teacher.fold_in({"u1": before["item"].tolist()[:1]})
    assert teacher.recommend(["u1"], 2)["item"].tolist() == before["item"].tolist()[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_tokens": "u1"}, "user_tokens is the text 'u1'; give a list"),
        ({"user_tokens": ["u1"], "k": 0}, "k is 0; give an integer >= 1"),
        ({"user_tokens": ["u1"], "exclude_seen": "some"}, "exclude_seen is 'some'; give True, False or"),
        ({"user_tokens": ["u1"], "block": 3}, "block is 3; give one of those learned, from 0 to 2"),
    ],
)
def test_impossible_arguments(served, arguments, message):
    with pytest.raises(ConfigError, match=message):
        served.recommend(**arguments)


def test_items_as_one_text_are_refused(served):
    with pytest.raises(ConfigError, match="the items of 'u1' are the text 'i1'"):
        served.fold_in({"u1": "i1"})


def test_the_record_holds_every_interaction_once(served, rows):
    record = served._record
    assert len(record.rows) == len(rows) == len(record.rows.blocks_of_rows()) <= len(tiny_rows())
    assert [k for *_, k, _ in rows] == record.rows.blocks_of_rows().tolist()
    assert record.matrix((TEST,), 1).nnz == len({(u, i) for u, i, k, part in rows if (k, part) == (1, TEST)})
