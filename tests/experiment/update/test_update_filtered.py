"""``val_interval`` and ``rm_dup_inter`` hold for files of blocks, and for blocks that arrive by an update."""

import numpy as np
import pytest

from recbole_ccd import run_ccd, update
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import DataError
from tests.checkpoint.cases import document_of
from tests.conftest import tiny_rows, write_inter
from tests.experiment.update.conftest import CUTS, KEYS
from tests.strategy.runs import HEADER

RATED = f"{HEADER}\trating:float\ttimestamp:float"
FILTERS = {
    "value": {"val_interval": {"rating": "[3,inf)"}},
    "first": {"rm_dup_inter": "first"},
    "both": {"rm_dup_inter": "first", "val_interval": {"rating": "[2,5]"}},
    "tokens": {"val_interval": {"user_id": [f"u{n}" for n in range(40)]}},
}


def rated_rows():
    """The tiny stream with ratings, and with times of which many are equal, out of order here and there."""
    ratings = np.random.default_rng(7).integers(1, 6, CUTS[-1])
    rows = [(u, i, r, int(t / 5)) for (u, i, t), r in zip(tiny_rows(), ratings, strict=True)]
    return [row for start in range(0, len(rows), 4) for row in rows[start : start + 4][::-1]]


ROWS = rated_rows()
BLOCKS = [ROWS[start:end] for start, end in zip(CUTS[:-1], CUTS[1:], strict=True)]


def run_on_all(folder, blocks, by_time, **keys):
    """A run on blocks, and the files that it was begun with, all in ``folder``."""
    (folder / "own").mkdir(parents=True)
    data = {"dataset": "own", "data_path": str(folder), "run_dir": str(folder / "run"), "load_col": None}
    if by_time:
        write_inter(folder / "own" / "own.inter", [row for rows in blocks for row in rows], RATED)
        boundaries = [min(row[3] for row in rows) for rows in blocks[1:]]
        data |= {"block_ratios": None, "block_boundaries": boundaries}
    else:
        names = [f"b{k}" for k in range(len(blocks))]
        for name, rows in zip(names, blocks, strict=True):
            write_inter(folder / "own" / f"own.{name}.inter", rows, RATED)
        data |= {"benchmark_filename": names, "block_ratios": None}
    run_ccd(config_dict={**KEYS, "strategy": "fine_tune", "base": "plain", **data, **keys})
    return folder / "run"


def cut_by_time():
    """The blocks at times, as rows are out of order."""
    cuts = [row[3] for row in (ROWS[k] for k in CUTS[1:-1])]
    blocks = np.searchsorted(cuts, [row[3] for row in ROWS], side="right")
    numbered = list(zip(ROWS, blocks, strict=True))
    return [[row for row, block in numbered if block == k] for k in range(len(cuts) + 1)]


def by_time(rows):
    """In order of time, and of the file where it is the same."""
    return sorted(rows, key=lambda row: row[3])


def pairs_of(stream):
    """The pairs of tokens of each block, in order of arrival."""
    data = stream.dataset
    users, items = (data.id2token(field, data.inter_feat[field].numpy()) for field in ("user_id", "item_id"))
    pairs = list(zip(users.tolist(), items.tolist(), strict=True))
    return [[pairs[n] for n in np.flatnonzero(data.block_of_row == block.index)] for block in stream]


@pytest.mark.parametrize("by_time", [False, True], ids=["files", "times"])
@pytest.mark.parametrize("case", FILTERS)
def test_an_update_is_filtered_as_all_blocks_are(case, by_time, tmp_path):
    blocks, keys = cut_by_time() if by_time else BLOCKS, FILTERS[case]
    folder = run_on_all(tmp_path / "early", blocks[:2], by_time, **keys)
    for k in (2, 3):
        write_inter(tmp_path / f"{k}.inter", blocks[k], RATED)
        update(folder, tmp_path / f"{k}.inter", allow_repeated=True)
    whole = run_on_all(tmp_path / "whole", blocks, by_time, **keys)
    if not by_time:
        one, other = (document_of(run) for run in (folder, whole))
        for document in (one, other):
            del document["config"]["data_path"], document["config"]["benchmark_filename"]
        assert one == other
        return
    assert document_of(folder)["metrics"] == document_of(whole)["metrics"]
    assert (folder / "vocabulary.json").read_text() == (whole / "vocabulary.json").read_text()


def stream_of(make_config, folder, blocks, **keys):
    (folder / "own").mkdir(parents=True)
    for name, rows in blocks.items():
        write_inter(folder / "own" / f"own.{name}.inter", rows, RATED)
    data = {"dataset": "own", "data_path": folder, "load_col": None, "benchmark_filename": list(blocks)}
    return create_stream(make_config(**data, **keys))


def numbers(stream):
    return [tuple(map(len, (block.train, block.valid, block.test))) for block in stream]


@pytest.mark.parametrize("case", FILTERS)
def test_files_of_blocks_are_filtered(case, tmp_path, make_config):
    wanted, seen = [], set()
    for rows in BLOCKS:
        left = []
        for row in rows:
            if "rm_dup_inter" in FILTERS[case] and row[:2] in seen:
                continue
            seen.add(row[:2])
            low = {"value": 3, "both": 2}.get(case, 0)
            if row[2] >= low and (case != "tokens" or int(row[0][1:]) < 40):
                left.append(row)
        wanted.append(left)
    names = [f"b{k}" for k in range(len(BLOCKS))]
    filtered = stream_of(make_config, tmp_path / "a", dict(zip(names, BLOCKS, strict=True)), **FILTERS[case])
    by_hand = stream_of(make_config, tmp_path / "b", dict(zip(names, wanted, strict=True)))
    assert numbers(filtered) == numbers(by_hand)
    assert filtered.fingerprint == by_hand.fingerprint


def test_the_last_of_a_pair_is_the_last_of_its_block(tmp_path, make_config):
    blocks, wanted = {"b0": BLOCKS[0], "b1": BLOCKS[1]}, {}
    for name, rows in blocks.items():
        last = {row[:2]: n for n, row in enumerate(rows)}
        wanted[name] = [row for n, row in enumerate(rows) if last[row[:2]] == n]
    filtered = stream_of(make_config, tmp_path / "a", blocks, rm_dup_inter="last")
    assert filtered.fingerprint == stream_of(make_config, tmp_path / "b", wanted).fingerprint


@pytest.mark.parametrize("cut", ["boundaries", "ratios"])
def test_so_it_is_where_one_file_is_cut_by_time(cut, tmp_path, make_config):
    blocks = [by_time(rows) for rows in cut_by_time()]
    by_hand = stream_of(
        make_config, tmp_path, {f"b{k}": rows for k, rows in enumerate(blocks)}, rm_dup_inter="last"
    )
    write_inter(tmp_path / "own" / "own.inter", ROWS, RATED)
    keys = {"dataset": "own", "data_path": tmp_path, "load_col": None, "rm_dup_inter": "last"}
    if cut == "boundaries":
        keys |= {"block_ratios": None, "block_boundaries": [rows[0][3] for rows in blocks[1:]]}
    else:
        keys |= {"block_ratios": [len(rows) / len(ROWS) for rows in blocks]}
    pairs = pairs_of(create_stream(make_config(**keys)))
    assert pairs == pairs_of(by_hand)
    # what comes again later is still there
    assert set(pairs[0]) & set(pairs[1])


def test_parts_of_a_block_are_filtered_together(tmp_path, make_config):
    parts = {"train": BLOCKS[0][:700], "valid": BLOCKS[0][700:800], "test": BLOCKS[0][800:]}
    # the parts of the two blocks take turns
    names = [f"b{k}.{part}" for part in parts for k in (0, 1)]
    rows = {name: parts[name.split(".")[1]] if name[1] == "0" else BLOCKS[1][:99] for name in names}
    rows["b1.train"] = [*BLOCKS[1], *BLOCKS[2]]
    rows["b1.test"] = BLOCKS[3]
    filtered = stream_of(make_config, tmp_path, rows, rm_dup_inter="first")
    pairs = filtered.dataset.inter_feat
    seen = list(zip(pairs["user_id"].tolist(), pairs["item_id"].tolist(), strict=True))
    assert len(set(seen)) == len(seen)
    assert numbers(filtered)[0][0] == len({row[:2] for row in parts["train"]})


@pytest.fixture(scope="module")
def filtered_run(tmp_path_factory):
    return run_on_all(tmp_path_factory.mktemp("filtered"), BLOCKS[:2], by_time=False, **FILTERS["both"])


def test_a_filter_needs_its_column(filtered_run, tmp_path):
    write_inter(tmp_path / "new.inter", [row[:2] for row in BLOCKS[2]], HEADER)
    with pytest.raises(DataError, match="new.inter: no column 'rating' among user_id, item_id, and"):
        update(filtered_run, tmp_path / "new.inter")


def test_a_filter_may_leave_nothing(filtered_run, tmp_path):
    write_inter(tmp_path / "new.inter", [("n1", "i1", 1, 900), *BLOCKS[1]], RATED)
    with pytest.raises(DataError, match="new.inter: rm_dup_inter and val_interval leave none of its 601"):
        update(filtered_run, tmp_path / "new.inter")
