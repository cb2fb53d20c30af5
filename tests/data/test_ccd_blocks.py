"""The authors' pickles become atomic files, and what does not belong to them is told."""

import pickle
import shlex
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_ccd.cli import main
from recbole_ccd.config import CCDConfig
from recbole_ccd.data.ccd_blocks import convert, read_blocks
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import DataError
from tests.conftest import SMALL
from tests.strategy.runs import block_rows, triples

PARTS = ("train", "valid", "test")


def dump(path, content, protocol=pickle.HIGHEST_PROTOCOL):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


def blocks_of_ints():
    """The blocks of the tiny stream, users and items as numbers: of each the three dictionaries."""
    blocks = []
    for k in range(3):
        block = {}
        for part in PARTS:
            rows = defaultdict(list)
            for user, item in triples(block_rows())[f"b{k}.{part}"]:
                rows[int(user[1:])].append(int(item[1:]))
            block[part] = dict(rows)
        blocks.append(block)
    return blocks


def arrays(rows):
    return {np.int64(user): np.array(items) for user, items in rows.items()}


def renamed(block, form="{}_dict"):
    return {form.format(part): rows for part, rows in block.items()}


def one_per_block(folder, blocks):
    for k, block in enumerate(blocks):
        dump(folder / f"TASK_{k}.pickle", {**renamed(block), "n": len(block)})


def arrays_and_other_names(folder, blocks):
    for k, block in enumerate(blocks):
        names = {"train": "train_set", "valid": "val", "test": "testDict"}
        dump(
            folder / f"block{k}.pkl", {names[part]: arrays(rows) for part, rows in block.items()}, protocol=2
        )


def one_per_part(folder, blocks):
    for k, block in enumerate(blocks):
        for part, rows in block.items():
            dump(folder / f"{part}_block_{k}.pickle", defaultdict(list, rows))


def folder_per_block(folder, blocks):
    for k, block in enumerate(blocks):
        for part, rows in block.items():
            dump(folder / f"block_{k + 1}" / f"{part}.p", rows)


def list_of_blocks(folder, blocks):
    dump(folder / "total.pickle", [renamed(block) for block in blocks])


def list_per_part(folder, blocks):
    for part in PARTS:
        dump(folder / f"total_{part}_dataset.pickle", [block[part] for block in blocks])


def parts_of_blocks(folder, blocks):
    dump(folder / "all.pickle", {part: {f"D_{k}": b[part] for k, b in enumerate(blocks)} for part in PARTS})


LAYOUTS = (
    one_per_block,
    arrays_and_other_names,
    one_per_part,
    folder_per_block,
    list_of_blocks,
    list_per_part,
    parts_of_blocks,
)


def lines_of(rows):
    return [f"u{user}\ti{item}" for user, items in rows.items() for item in items]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_blocks_are_found_however_they_lie(layout, tmp_path):
    blocks = blocks_of_ints()
    layout(tmp_path / "in", blocks)
    assert read_blocks(tmp_path / "in").blocks == blocks
    convert(tmp_path / "in", tmp_path / "data" / "own")
    written = sorted(path.name for path in (tmp_path / "data" / "own").iterdir())
    assert written == sorted(f"own.block{k}.{part}.inter" for k in range(3) for part in PARTS)
    for k, block in enumerate(blocks):
        for part, rows in block.items():
            text = (tmp_path / "data" / "own" / f"own.block{k}.{part}.inter").read_text()
            assert text.splitlines() == ["user_id:token\titem_id:token", *lines_of(rows)] and text[-1] == "\n"


def test_sets_have_an_order_and_texts_stay_as_they_are(tmp_path):
    block = {"train": {"ann": {"b", "a"}}, "valid": {"ann": ("c",)}, "test": {"bob": []}}
    dump(tmp_path / "0.pickle", block)
    assert read_blocks(tmp_path).blocks == [
        {"train": {"ann": ["a", "b"]}, "valid": {"ann": ["c"]}, "test": {"bob": []}}
    ]
    convert(tmp_path, tmp_path / "own")
    assert (tmp_path / "own" / "own.block0.train.inter").read_text().splitlines()[1:] == ["ann\ta", "ann\tb"]


def test_the_program_makes_a_stream_of_them_and_says_how_to_run_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_per_block(Path("in"), blocks_of_ints())
    dump(Path("in") / "total_blocks_timestamp.pickle", [[(1, 2, 0.5)]])
    dump(Path("in") / "frame.pickle", pd.DataFrame({"a": [1]}))
    Path("in/README.md").write_text("nothing")
    assert main(["--convert=in", "--output=data/own"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("block 0 (TASK_0.pickle): 800 train, 100 valid, 100 test interactions; ")
    assert lines[3].startswith("left aside frame.pickle: it holds pandas.")
    assert lines[4] == (
        "left aside total_blocks_timestamp.pickle: it holds no train, valid or test dictionaries"
    )
    *_, arguments = lines[-1].partition("run it with ")
    names = ",".join(f"block{k}.{part}" for k in range(3) for part in PARTS)
    assert arguments == f"--dataset=own --data_path={tmp_path / 'data'} '--benchmark_filename=[{names}]'"
    config = CCDConfig(config_dict={**SMALL, "block_ratios": None}, argv=shlex.split(arguments))
    stream = create_stream(config)
    assert [len(block.train) for block in stream] == [800, 640, 640]


def test_six_blocks_under_the_papers_names_need_no_more(tmp_path):
    one_per_block(tmp_path / "in", blocks_of_ints() * 2)
    lines = convert(tmp_path / "in", tmp_path / "yelp-ccd")
    assert lines[-1].endswith(f"run it with --dataset=yelp-ccd --data_path={tmp_path}")


def refused(folder, *words, output="out/own"):
    with pytest.raises(DataError) as caught:
        convert(folder, folder.parent / output)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not any((folder.parent / "out").rglob("*.inter"))


def test_what_is_missing_or_doubled_or_no_data_is_refused_before_anything_is_written(tmp_path):
    blocks, folder = blocks_of_ints(), tmp_path / "in"
    refused(tmp_path / "nowhere", "no such folder")
    folder.mkdir()
    refused(folder, "no pickle there holds")
    one_per_block(folder, blocks)
    (folder / "TASK_1.pickle").unlink()
    refused(folder, "the train and the valid and the test part of block 1 is missing")
    dump(folder / "TASK_1.pickle", {**renamed(blocks[1]), "frame": pd.DataFrame({"a": [1]})})
    refused(folder, "of block 1 is missing", "left aside: TASK_1.pickle: it holds pandas")
    one_per_block(folder, blocks)
    dump(folder / "again" / "task0.pickle", renamed(blocks[0]))
    refused(folder, "both hold the train part of block 0", "TASK_0.pickle", "task0.pickle")
    (folder / "again" / "task0.pickle").unlink()
    dump(folder / "TASK_2.pickle", renamed({**blocks[2], "test": {1: ["a\tb"]}}))
    refused(folder, "'a\\tb' among the items can be no token")


def test_files_that_are_there_are_not_written_over(tmp_path):
    one_per_block(tmp_path / "in", blocks_of_ints())
    convert(tmp_path / "in", tmp_path / "own")
    before = {path: path.read_bytes() for path in (tmp_path / "own").iterdir()}
    with pytest.raises(DataError, match="it is there already; give another --output"):
        convert(tmp_path / "in", tmp_path / "own")
    assert {path: path.read_bytes() for path in (tmp_path / "own").iterdir()} == before


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    one_per_block(tmp_path / "in", blocks_of_ints())
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it cannot be written"):
        convert(tmp_path / "in", tmp_path / "file" / "own")
