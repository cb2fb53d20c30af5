"""What cannot be learned is refused in one line, and the run is as it was."""

import json
import shutil

import pytest

from recbole_ccd import compare, run_ccd, update
from recbole_ccd.checkpoint import RunLock
from recbole_ccd.checkpoint.manifest import BASE_MODELS, Manifest
from recbole_ccd.cli import main
from recbole_ccd.trainer import StageTrainer
from recbole_ccd.utils.errors import CCDError, ConfigError, RunError
from tests.checkpoint.cases import Killed, killed_after
from tests.checkpoint.program import execute
from tests.conftest import write_inter
from tests.experiment.update.conftest import KEYS, block_rows, suffixes
from tests.strategy.runs import HEADER

PLAIN = {"strategy": "fine_tune", "base": "plain"}
USERS, ITEMS = (sorted({row[n] for row in block_rows()[0]}) for n in (0, 1))


def text(content):
    """A case of one file with some content."""

    def write(folder):
        (folder / "new.inter").write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["--new_block=new.inter"]

    return write


def files(**contents):
    """A case of several files with some rows."""

    def write(folder):
        for name, rows in contents.items():
            write_inter(folder / f"{name.replace('_', '.')}.inter", rows, HEADER)
        return ["--new_block=" + ",".join(f"{name.replace('_', '.')}.inter" for name in contents)]

    return write


def given(*arguments):
    """A case of arguments beside a good file."""

    def write(folder):
        return [*files(new=block_rows()[3])(folder), *arguments]

    return write


ROWS = block_rows()[3]
ALL_ITEMS = [("u0", f"i{i}") for i in range(60)]
CASES = {
    "no file": (lambda folder: [], "no block is open in run; give new_block a file"),
    "an empty name": (
        lambda folder: ["--new_block="],
        "new_block is '' (command line), which is nothing; give it a value, or leave it out",
    ),
    "a file that is not there": (
        lambda folder: ["--new_block=nowhere.inter"],
        "nowhere.inter: no such file; give new_block an atomic .inter file",
    ),
    "a folder": (
        lambda folder: ["--new_block=run"],
        "run: no such file; give new_block an atomic .inter file",
    ),
    "two files": (
        files(a_train=ROWS, a_test=ROWS),
        "new_block names 2 files; give one, or three, with .train., .valid. and .test. in them",
    ),
    "three files that are no triple": (
        files(a_train=ROWS, b_train=ROWS, a_test=ROWS),
        "new_block names 3 files; give one, or three, with .train., .valid. and .test. in them",
    ),
    "no header": (
        text("u1\ti1\nu2\ti2\n"),
        "new.inter: 'u1' in the header is no name:type; write columns such as user_id:token with '\\t' "
        "(field_separator) between them",
    ),
    "no rows": (
        text(f"{HEADER}\n"),
        "new.inter: there is a header but no interaction; add rows under it",
    ),
    "nothing": (
        text(""),
        "new.inter: the first line is empty; begin it with the columns, such as user_id:token",
    ),
    "no items": (
        text("user_id:token\trating:float\nu1\t1\n"),
        "new.inter: no column 'item_id' among user_id, rating; correct the header or ITEM_ID_FIELD",
    ),
    "a row with more fields": (
        text(f"{HEADER}\nu1\ti1\nu2\ti2\ti3\n"),
        "new.inter: line 3 has 3 fields under 2 columns; give each row one per column",
    ),
    "a row with fewer fields": (
        text(f"{HEADER}\nu1\ti1\nu2\n"),
        "new.inter: 1 interactions lack user_id or item_id (first in data row 2; NA, null and the like are "
        "nothing); remove them",
    ),
    "not UTF-8": (
        text(HEADER.encode() + b"\nu1\t\xff\n"),
        "new.inter: line 2 is not UTF-8; save the file as UTF-8",
    ),
    "too little to divide": (
        files(new=[("new1", "i1"), ("new2", "i2")]),
        "new.inter: block 3 would have no test interactions; give more rows, or three files that divide them",
    ),
    "a file that the run was begun with": (
        files(new=block_rows()[1]),
        "new.inter: 488 of its 488 pairs of user and item have been given before; give what has happened "
        "since, or say by --allow_repeated=True that they have met again",
    ),
    "a user without negatives": (
        files(a_train=ALL_ITEMS, a_valid=ROWS, a_test=ROWS),
        "user 'u0' has interacted with all 60 items known in block 3, so no negative can be drawn; filter "
        "with user_inter_num_interval, or leave the user out of the block's own file",
    ),
    "no such cycle": (given("--cycle=short"), "cycle is 'short'; give one of: full, student"),
    "no truth value": (
        given("--replace=perhaps"),
        "replace is 'perhaps' (command line); give True or False",
    ),
    "no other truth value": (
        given("--allow_repeated=1"),
        "allow_repeated is '1' (command line); give True or False",
    ),
    "a key twice": (
        given("--new_block=other.inter"),
        "--new_block occurs twice (command line), with 'new.inter' and 'other.inter'; give it once",
    ),
    "a setting that matters": (
        given("--embedding_size=4"),
        "embedding_size is 4, and the run in run was begun with 8; leave it as it was, or start a new run",
    ),
    "an unknown key": (given("--new_blok=3"), "unknown key 'new_blok' (command line); did you mean 'graph'?"),
}


@pytest.fixture
def run(copy_of):
    """A finished run on three blocks."""
    return copy_of(3, **PLAIN)


def state_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_bad_files_and_arguments(case, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(StageTrainer, "run", lambda *_: pytest.fail("something was trained"))
    write, message = CASES[case]
    arguments = write(tmp_path)
    before = state_of(tmp_path)
    assert main(["--update=run", *arguments]) == 2
    error = capsys.readouterr().err
    if case == "an unknown key":
        assert error.startswith("error: unknown key 'new_blok' (command line)")
    else:
        assert error == f"error: {message}\n"
    assert state_of(tmp_path) == before


def refused(folder, file="new.inter"):
    with pytest.raises(CCDError) as caught:
        update(folder, file)
    return str(caught.value)


def test_folders_that_cannot_be_updated(run, files, tmp_path):
    write_inter(tmp_path / "new.inter", ROWS, HEADER)
    assert "nowhere is not a run directory: it holds no config.yaml" in refused(tmp_path / "nowhere")
    manifest, _ = Manifest.read(run)
    kept, manifest.rows = manifest.rows, []
    manifest.write(run)
    assert "is of an earlier version, which kept no interactions to go on from; start" in refused(run)
    manifest.rows, manifest.kind = kept, BASE_MODELS
    manifest.write(run)
    assert "holds base models and no single run; give the folder of a run" in refused(run)
    manifest.kind, manifest.status = "run", "interrupted"
    manifest.write(run)
    assert f"the run in {run} is not finished; go on with it first: --resume={run}" == refused(run)


def test_a_run_that_has_just_begun(files, tmp_path):
    keys = {
        **KEYS,
        **PLAIN,
        "dataset": "whole",
        "data_path": str(files),
        "run_dir": str(tmp_path / "load_manifest"),
    }
    with pytest.raises(Killed), killed_after(2):
        run_ccd(config_dict={**keys, "benchmark_filename": suffixes("whole", 2), "block_ratios": None})
    write_inter(tmp_path / "new.inter", ROWS, HEADER)
    assert "is not finished; go on with it first" in refused(tmp_path / "load_manifest")


def test_a_comparison(files, tmp_path):
    keys = {**KEYS, "base": "plain", "dataset": "whole", "data_path": str(files), "run_dir": "top"}
    named = {"benchmark_filename": suffixes("whole", 2), "block_ratios": None}
    compare(config_dict={**keys, "strategy": "static,fine_tune", **named})
    write_inter(tmp_path / "new.inter", ROWS, HEADER)
    message = refused("top")
    start = "top holds comparison and no single run; give the folder of a run, such as one of: "
    assert message == f"{start}static-2020, fine_tune-2020"
    assert update("top/fine_tune-2020", "new.inter").n_blocks == 3


@pytest.mark.parametrize("what", ["interactions", "vocabulary"])
def test_damaged_histories(run, tmp_path, what):
    write_inter(tmp_path / "new.inter", ROWS, HEADER)
    file = {
        "interactions": run / "checkpoints" / "interactions" / "block-1.pt",
        "vocabulary": run / "vocabulary.json",
    }[what]
    if what == "interactions":
        file.write_bytes(b"")
    else:
        file.write_text(json.dumps({"users": ["[PAD]"], "items": []}))
    before = state_of(run)
    assert f"{file} is damaged" in refused(run)
    assert f"restore it by --resume={run}, or from a copy" in refused(run)
    assert state_of(run) == before


def test_damaged_rows_that_came_by_an_update(run, new_block, tmp_path):
    update(run, new_block(3)[0])
    (run / "checkpoints" / "interactions" / "block-3.pt").write_bytes(b"")
    write_inter(tmp_path / "new.inter", [*ROWS[:50], ("late", "i1")], HEADER)
    assert "block-3.pt is damaged (0 bytes instead of" in refused(run)
    assert "restore it from a copy, or start the run anew" in refused(run)


def test_somebody_is_at_it(run, tmp_path):
    pytest.importorskip("fcntl")
    write_inter(tmp_path / "new.inter", ROWS, HEADER)
    with RunLock(run):
        assert f"{run} is in use by process" in refused(run)


def test_the_program(run, new_block, tmp_path):
    shutil.copy(new_block(3)[0], tmp_path / "today.inter")
    # nothing is read there
    away = ("--data_path=nowhere", "--show_epochs=True")
    code, shown = execute(tmp_path, "--update=run", "--new_block=today.inter", *away)
    assert code == 0, shown
    assert "after block 3 of 0..3" in shown and "Warning" not in shown and "Traceback" not in shown
    code, shown = execute(tmp_path, "--update=run", "--new_block=today.inter")
    assert code == 0 and "run: the run is finished" in shown


def test_python_says_which_argument(run, tmp_path):
    with pytest.raises(ConfigError, match="cycle is 3; give one of: full, student"):
        update(run, "new.inter", cycle=3)
    with pytest.raises(RunError):
        update(tmp_path / "nowhere", "new.inter")
