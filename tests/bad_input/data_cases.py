"""Data that cannot be a stream, by row of docs/errors.md.

Each function writes a data set ``own`` below ``data`` in a folder and returns the arguments for it.
"""

import os

from tests.conftest import tiny_rows
from tests.powers import skip_if_readable

OWN = ["--data_path=data", "--dataset=own"]
TIMED = "user_id:token\titem_id:token\ttimestamp:float"
UNTIMED = "user_id:token\titem_id:token"
LINES = ["\t".join(map(str, row)) for row in tiny_rows(n=600)]
PAIRS = [line.rpartition("\t")[0] for line in LINES]


def text(header, lines):
    return "\n".join([header, *lines]) + "\n"


def written(files, *arguments):
    """A case: files by what follows ``own.``, as text or bytes, and more arguments."""

    def write(folder):
        (folder / "data" / "own").mkdir(parents=True)
        for suffix, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            (folder / "data" / "own" / f"own.{suffix}").write_bytes(raw)
        return [*OWN, *arguments]

    return write


def one(header=TIMED, lines=LINES, *arguments):
    """A case of one file."""
    return written({"inter": text(header, lines)}, *arguments)


def with_line(line, at=6):
    """A case of one file in which a data row, counted from 1, is another."""
    return one(TIMED, [*LINES[: at - 1], line, *LINES[at:]])


def blocks(*contents):
    """A case of one file per block."""
    names = [f"b{k}" for k in range(len(contents))]
    files = {f"{name}.inter": content for name, content in zip(names, contents, strict=True)}
    return written(files, f"--benchmark_filename=[{','.join(names)}]", "--block_ratios=~")


def locked_file(folder):
    arguments = one()(folder)
    (folder / "data" / "own" / "own.inter").chmod(0)
    skip_if_readable(folder / "data" / "own" / "own.inter")
    return arguments


def folder_for_file(folder):
    (folder / "data" / "own" / "own.inter").mkdir(parents=True)
    return OWN


BLOCK = text(UNTIMED, PAIRS)
# everybody has a few of six items, and u0 has all of them, three times
GREEDY = [f"u{u}\ti{(u + n) % 6}" for n in range(4) for u in range(30)] + [f"u0\ti{i % 6}" for i in range(18)]


def pipe_for_file(folder):
    (folder / "data" / "own").mkdir(parents=True)
    os.mkfifo(folder / "data" / "own" / "own.inter")
    return OWN


LABELLED = [f"{line}\t{n % 2}" for n, line in enumerate(LINES)]

PLACES = {
    "no-folder": lambda folder: ["--data_path=nowhere"],
    "no-network": lambda folder: [
        "--data_path=nowhere",
        "--dataset=other",
        "--dataset_url=http://127.0.0.1:1/other.zip",
    ],
    "data-set-name": lambda folder: ["--data_path=data", f"--dataset={'x' * 300}"],
    "file-is-a-pipe": pipe_for_file,
    "no-file": written({}),
    "no-block-file": written({"b0.inter": BLOCK}, "--benchmark_filename=[b0,b1]", "--block_ratios=~"),
    "file-is-a-folder": folder_for_file,
    "file-locked": locked_file,
}
HEADERS = {
    "empty-file": written({"inter": ""}),
    "blank-header": one("", LINES),
    "no-line-end": written({"inter": TIMED}),
    "byte-order-mark": written({"inter": "\ufeff" + text(TIMED, LINES)}),
    "untyped-column": one("user_id\titem_id\ttimestamp"),
    "other-separator": one(TIMED.replace("\t", ",")),
    "unknown-type": one("user_id:token\titem_id:int\ttimestamp:float"),
    "column-twice": one("user_id:token\titem_id:token\tuser_id:token"),
    "no-user-column": one("user:token\titem_id:token\ttimestamp:float"),
    "no-item-column": one("user_id:token\titem:token\ttimestamp:float"),
    "no-time-column": one("user_id:token\titem_id:token\ttime:float"),
    "column-not-loaded": one(TIMED, LINES, "--load_col.inter=[item_id,timestamp]"),
    "time-not-loaded": one(TIMED, LINES, "--load_col.inter=[user_id,item_id]"),
    "ids-as-numbers": one("user_id:float\titem_id:token\ttimestamp:float"),
    "blank-after-a-type": one("user_id:token \titem_id:token\ttimestamp:float"),
    "blank-after-a-name": one("user_id\N{NO-BREAK SPACE}:token\titem_id:token\ttimestamp:float"),
    "blank-after-the-times": one("user_id:token\titem_id:token\ttimestamp :float"),
    "times-as-tokens": one("user_id:token\titem_id:token\ttimestamp:token"),
}
ROWS = {
    "header-only": one(TIMED, []),
    "no-number": with_line("u1\ti1\tyesterday"),
    "no-number-elsewhere": one(
        TIMED + "\trating:float", [f"{line}\t{'good' if n == 8 else 5}" for n, line in enumerate(LINES)]
    ),
    "time-not-a-number": with_line("u1\ti1\tnan"),
    "time-infinite": with_line("u1\ti1\tinf"),
    "row-without-time": with_line("u1\ti1"),
    "row-without-item": with_line("u1"),
    "empty-id": with_line("\ti1\t3.0"),
    "id-that-reads-as-nothing": with_line("NA\ti1\t3.0"),
    "row-too-long": with_line("u1\ti1\t3.0\t4.0"),
    "nul-in-a-token": with_line("u1\ti1\0\t3.0"),
    "carriage-return-in-a-token": with_line("u1\ti\r1\t3.0"),
    "rows-longer-than-header": one(TIMED, [f"{line}\t1" for line in LINES]),
    "not-utf8": written({"inter": text(TIMED, LINES).encode().replace(b"u1\t", b"\xfc1\t")}),
    "header-not-utf8": written({"inter": b"\xff" + text(TIMED, LINES).encode()}),
}
STREAMS = {
    "one-moment": one(TIMED, [f"{pair}\t7" for pair in PAIRS]),
    "block-too-small": one(TIMED, LINES, "--block_ratios=[0.995,0.005]"),
    "no-test-share": one(TIMED, LINES, "--eval_args.split={RS: [0.9, 0.1, 0.0]}"),
    "empty-block-file": blocks(BLOCK, ""),
    "block-without-rows": blocks(BLOCK, text(UNTIMED, [])),
    "no-test-rows": written(
        {"b0.train.inter": BLOCK, "b0.valid.inter": BLOCK, "b0.test.inter": text(UNTIMED, [])},
        "--benchmark_filename=[b0.train,b0.valid,b0.test]",
        "--block_ratios=~",
    ),
    "block-file-without-users": blocks(BLOCK, text("item_id:token", ["i1"])),
    "no-negatives": blocks(text(UNTIMED, GREEDY), BLOCK),
}
PREPARED = {
    "filtered-away": one(TIMED, LINES, "--user_inter_num_interval=[1000,inf)"),
    "filter-of-unknown-token": one(TIMED, LINES, "--val_interval={user_id: [nobody]}"),
    "filter-of-no-column": one(TIMED, LINES, "--val_interval={price: '[0,1]'}"),
    "normalized-without-column": one(TIMED, LINES, "--normalize_field=[price]"),
    "labels": one(
        "user_id:token\titem_id:token\ttimestamp:float\tlabel:float", LABELLED, "--load_col.inter=*"
    ),
    "no-feature-file": one(TIMED, LINES, "--additional_feat_suffix=[ent]"),
    "features-without-ids": written(
        {"inter": text(TIMED, LINES), "user": text("user_id:token\tage:float", ["u1\t30"])},
        "--load_col.user=[age]",
    ),
    "features-not-readable": written(
        {"inter": text(TIMED, LINES), "item": text("item_id:token\tprice:float", ["i1\tcheap"])},
        "--load_col.item=[item_id,price]",
    ),
}
DATA_CASES = {**PLACES, **HEADERS, **ROWS, **STREAMS, **PREPARED}
