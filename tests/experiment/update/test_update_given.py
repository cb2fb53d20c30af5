"""What a run has been given is not given to it again, and what it has learned is not lost."""

import shutil

import numpy as np
import pytest
import torch

from recbole_ccd import resume, run_ccd, update
from recbole_ccd.checkpoint.manifest import Manifest
from recbole_ccd.data.given_pairs import Given, pair_codes, repeated
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import DataError, RunError
from tests.checkpoint.cases import Killed, killed_after
from tests.conftest import tiny_rows, write_inter
from tests.experiment.update.conftest import KEYS, block_rows
from tests.experiment.update.test_update_same_bits import assert_same, assert_same_documents
from tests.strategy.runs import HEADER

PLAIN = {**KEYS, "strategy": "fine_tune", "base": "plain"}
TIMED = {**PLAIN, "load_col": None}


def sparse_rows(seed, n=400):
    """Interactions of which many are dropped by the split, as their items are rare."""
    rng = np.random.default_rng(seed)
    return [(f"u{u}", f"i{i}") for u, i in zip(rng.integers(0, 60, n), rng.integers(0, 2000, n), strict=True)]


def run_on_files(folder, blocks, run="run", header=HEADER, **keys):
    """A run on some blocks, a file each."""
    names = [f"b{k}" for k in range(len(blocks))]
    (folder / "own").mkdir(exist_ok=True)
    for name, rows in zip(names, blocks, strict=True):
        write_inter(folder / "own" / f"own.{name}.inter", rows, header)
    data = {"dataset": "own", "data_path": str(folder), "run_dir": str(folder / run)}
    run_ccd(config_dict={**PLAIN, **keys, **data, "benchmark_filename": names, "block_ratios": None})
    return folder / run


def common():
    """Rows that everything can be measured on, beside sparse ones."""
    return [row[:2] for row in tiny_rows(n=600)]


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """A run on two blocks of sparse items."""
    folder = tmp_path_factory.mktemp("sparse")
    return run_on_files(folder, [[*common(), *sparse_rows(1)], sparse_rows(2, 900)])


def test_a_block_given_to_the_run_is_not_given_again(sparse):
    kept = torch.load(sparse / "checkpoints" / "interactions" / "block-1.pt", weights_only=True)
    # what is kept would not tell
    assert len(kept["users"]) < 0.9 * 900
    before = {path: path.read_bytes() for path in sparse.rglob("*") if path.is_file()}
    with pytest.raises(
        DataError, match=r"b1.inter: (\d+) of its \1 pairs of user and item have been given be"
    ):
        update(sparse, sparse.parent / "own" / "own.b1.inter")
    assert {path: path.read_bytes() for path in sparse.rglob("*") if path.is_file()} == before


def test_most_of_a_block_is_as_good_as_all(sparse, tmp_path):
    new, old = [(f"n{n}", f"i{n % 9}") for n in range(200)], list(dict.fromkeys(sparse_rows(2, 900)))
    write_inter(tmp_path / "most.inter", [*new, *old[:201]], HEADER)
    with pytest.raises(DataError, match="201 of its 401 pairs of user and item have been given before; give"):
        update(sparse, tmp_path / "most.inter")


def test_rows_that_an_update_has_dropped_count_too(copy_of, tmp_path):
    folder, rows = copy_of(2, strategy="fine_tune", base="plain"), sparse_rows(3)
    write_inter(tmp_path / "new.inter", [*rows, *block_rows()[3]], HEADER)
    update(folder, tmp_path / "new.inter", allow_repeated=True)
    write_inter(tmp_path / "again.inter", rows, HEADER)
    with pytest.raises(DataError, match="have been given before; give what has happened since"):
        update(folder, tmp_path / "again.inter")
    # the same in another order is another file
    write_inter(tmp_path / "again.inter", rows[::-1], HEADER)
    with pytest.raises(DataError, match="have been given before; give what has happened since"):
        update(folder, tmp_path / "again.inter")


def test_it_may_be_said_that_they_have_met_again(copy_of, run_on, new_block, tmp_path):
    folder = copy_of(2, strategy="fine_tune", base="plain")
    assert update(folder, new_block(1)[0], allow_repeated=True).n_blocks == 3


def timed_run(folder, rows, **keys):
    """A run on two blocks of one file, cut at 300, and on what comes before 600."""
    (folder / "tiny").mkdir(parents=True)
    write_inter(folder / "tiny" / "tiny.inter", rows)
    data = {"dataset": "tiny", "data_path": str(folder), "run_dir": str(folder / "run")}
    run_ccd(config_dict={**TIMED, **data, "block_ratios": None, "block_boundaries": [300], **keys})
    return folder / "run"


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A run on the rows before 600."""
    return timed_run(tmp_path_factory.mktemp("early"), [row for row in tiny_rows() if row[2] < 600])


def test_the_tail_of_a_file_that_was_cut_by_time(early, tmp_path):
    write_inter(tmp_path / "tail.inter", [row for row in tiny_rows() if 450 < row[2] < 600])
    with pytest.raises(DataError, match="pairs of user and item have been given before"):
        update(early, tmp_path / "tail.inter")


def test_rows_that_filters_dropped_have_been_given(tmp_path):
    rows = [row for row in tiny_rows() if row[2] < 600]
    rare = [(f"r{n}", f"i{n % 7}", 500 + n / 10) for n in range(300)]
    run = timed_run(tmp_path / "data", [*rows, *rare], user_inter_num_interval="[5,inf)")
    write_inter(tmp_path / "rare.inter", [(user, item, 700 + n) for n, (user, item, _) in enumerate(rare)])
    with pytest.raises(DataError, match="300 of its 300 pairs of user and item have been given before"):
        update(run, tmp_path / "rare.inter")


@pytest.fixture
def early_copy(early, tmp_path):
    return shutil.copytree(early, tmp_path / "run")


def rows_of_new_users(start, n=60):
    return [(f"n{k % 6}", f"i{k % 10}", start + k) for k in range(n)]


def test_rows_older_than_the_run_are_told_of(early_copy, tmp_path, caplog):
    write_inter(tmp_path / "new.inter", rows_of_new_users(570))
    update(early_copy, tmp_path / "new.inter")
    told = "30 of its 60 interactions are older than the last interaction so far (600)"
    assert told in caplog.text and told in (early_copy / "run.log").read_text()


def test_nothing_is_said_of_later_ones(early_copy, tmp_path, caplog):
    write_inter(tmp_path / "new.inter", rows_of_new_users(600))
    update(early_copy, tmp_path / "new.inter")
    assert "older than" not in caplog.text


def test_rows_that_are_all_older_are_refused(early_copy, tmp_path):
    write_inter(tmp_path / "new.inter", rows_of_new_users(400))
    with pytest.raises(
        DataError, match=r"new.inter: all its interactions are older than .* \(600\); give later"
    ):
        update(early_copy, tmp_path / "new.inter")
    write_inter(tmp_path / "untimed.inter", [row[:2] for row in rows_of_new_users(400)], HEADER)
    assert update(early_copy, tmp_path / "untimed.inter").n_blocks == 3


def test_files_of_an_open_block_may_come_in_any_order(tmp_path, caplog):
    rows = [row for row in tiny_rows() if row[2] < 600]
    run = timed_run(tmp_path / "data", rows, strategy="ccd", base="distilled", prepare_update=False)
    for start in (700, 610):
        write_inter(tmp_path / "new.inter", [(f"{u}-{start}", i, t) for u, i, t in rows_of_new_users(start)])
        update(run, tmp_path / "new.inter", cycle="student")
    assert "older than" not in caplog.text


def test_what_was_given_together():
    first, second = Given.of(np.array([3, 1, 3]), np.array([5.0, 9.0, 1.0])), Given.of(np.array([2, 1]))
    assert first.pairs.tolist() == [1, 3] and first.newest.tolist() == [9.0]
    both = Given.joined([first, second])
    assert both.pairs.tolist() == [1, 2, 3] and both.newest.tolist() == [9.0]
    assert Given.joined([second]).newest.tolist() == []
    assert Given.from_tensors(both.tensors).pairs.equal(both.pairs)


def test_codes_are_of_tokens_alone():
    users, items = (np.array(column, dtype=object) for column in (["a", "b", "a", "ab"], ["x", "a", "x", ""]))
    codes = pair_codes(users, items)
    assert codes[0] == codes[2] and len(set(codes.tolist())) == 3
    assert pair_codes(users[::-1], items[::-1]).tolist() == codes[::-1].tolist()
    # they are compared with those that other versions have kept
    assert codes[:2].tolist() == [-3581716604275311478, 1287047052646305044]


def test_first_and_last():
    codes, blocks = np.array([1, 2, 1, 1, 2]), np.array([0, 0, 0, 1, 1])
    assert repeated(codes, "first", blocks).tolist() == [False, False, True, True, True]
    assert repeated(codes, "last", blocks).tolist() == [True, False, False, False, False]
    assert repeated(codes, "last").tolist() == [True, True, True, False, False]


def test_a_run_that_kept_no_record(copy_of, new_block):
    folder = copy_of(2, strategy="fine_tune", base="plain")
    manifest, _ = Manifest.read(folder)
    for entry in manifest.rows:
        entry.given = None
    manifest.write(folder)
    with pytest.raises(
        RunError, match="is of an earlier version, which kept no record of what the run was gi"
    ):
        update(folder, new_block(2)[0])


def killed(*_):
    raise Killed


@pytest.mark.parametrize("n_first", [2, 3], ids=["arrived", "from the beginning"])
def test_a_block_that_was_learned_is_not_let_go(n_first, copy_of, run_on, new_block, tmp_path, monkeypatch):
    keys = {"strategy": "fine_tune", "base": "plain"}
    folder = copy_of(n_first, **keys)
    if n_first == 2:
        update(folder, new_block(2)[0])
    write_inter(tmp_path / "wrong.inter", [(f"n{k % 9}", f"i{k % 20}") for k in range(200)], HEADER)
    (folder / "checkpoints" / "block-2" / "student.pt").write_bytes(b"")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StageTrainer, "run", killed)
        update(folder, tmp_path / "wrong.inter")
    update(folder, new_block(3)[0], replace=True)
    assert_same(folder, run_on(4, **keys), tmp_path)


def test_nor_while_nothing_else_has_arrived(copy_of, run_on, new_block, tmp_path):
    keys = {"strategy": "fine_tune", "base": "plain"}
    folder = copy_of(2, **keys)
    update(folder, new_block(2)[0])
    for name in ("student.pt", "result.json"):
        (folder / "checkpoints" / "block-2" / name).write_bytes(b"")
    with pytest.raises(Killed), killed_after(2):
        resume(folder)
    for replace in (False, True):
        with pytest.raises(
            RunError, match="block 2 of .* is being learned again, .* and is not let go of; go on"
        ):
            update(folder, new_block(3)[0], replace=replace)
    resume(folder)
    assert_same_documents(folder, run_on(3, **keys))
    update(folder, new_block(3)[0])
    assert_same(folder, run_on(4, **keys), tmp_path)
