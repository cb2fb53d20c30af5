"""Runs, updates and comparisons begun at one moment in one working folder: none of them is lost."""

import json
import multiprocessing
import os
import shutil

import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

import recbole_ccd.compat
from recbole_ccd import compare, run_ccd, update
from tests.checkpoint.cases import assert_same_run, document_of, weights_of
from tests.checkpoint.program import Program
from tests.conftest import SMALL, SMALL_CCD
from tests.experiment.update.conftest import block_rows
from tests.strategy.runs import HEADER, teachers, write_files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
ROUNDS = 50
KEYS = {
    **SMALL,
    **SMALL_CCD,
    **teachers("BPR"),
    "model": "BPR",
    "dataset": "whole",
    "load_col": {"inter": ["user_id", "item_id"]},
    "checkpoint_every": 1,
    "epochs": 2,
}
SEVERAL = ["--strategy=static,fine_tune", "--base=plain"]


@pytest.fixture(scope="module")
def exclusive(tmp_path_factory):
    """A folder with a settings file, and a run that nobody has disturbed."""
    folder = tmp_path_factory.mktemp("exclusive")
    rows = block_rows()
    write_files(folder, "whole", {f"b{k}": block for k, block in enumerate(rows)})
    settings = {**KEYS, "data_path": str(folder), "benchmark_filename": ["b0", "b1"], "block_ratios": None}
    (folder / "mine.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    lines = ["\t".join(row) for row in rows[2]]
    (folder / "new.inter").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_ccd(config_dict={**settings, "run_dir": "run"})
    return folder


@pytest.fixture(scope="module")
def each_alone(exclusive):
    """The same folder, with an updated run and a comparison."""
    settings = yaml.safe_load((exclusive / "mine.yaml").read_text(encoding="utf-8"))
    shutil.copytree(exclusive / "run", exclusive / "updated")
    update(exclusive / "updated", exclusive / "new.inter")
    given = {"strategy": ["static", "fine_tune"], "base": "plain", "run_dir": str(exclusive / "compared")}
    compare(config_dict={**settings, **given})
    return exclusive


def begun_at_once(folder, *commands):
    """Begins programs in one folder at one moment; returns what each of them left behind."""
    barrier = multiprocessing.get_context("fork").Barrier(len(commands))

    def prepare():
        # as outside of tests, where curves are written
        recbole_ccd.compat.SummaryWriter = SummaryWriter
        barrier.wait(60)

    programs = [Program(folder, *arguments, prepare=prepare) for arguments in commands]
    return [program.end() for program in programs]


def assert_not_disturbed(exclusive, folder, ended):
    for code, shown in ended:
        assert code == 0 and "Traceback" not in shown, shown
    for path in folder.glob("run-*"):
        assert_same_run(exclusive / "run", path)
    for path in folder.glob("updated-*"):
        assert document_of(path)["metrics"] == document_of(exclusive / "updated")["metrics"]
        one, other = weights_of(exclusive / "updated"), weights_of(path)
        assert one.keys() == other.keys() and all(value.equal(other[key]) for key, value in one.items())
    for path in folder.glob("compared-*"):
        one, other = (
            json.loads((top / "comparison.json").read_text()) for top in (exclusive / "compared", path)
        )
        assert one["metrics"] == other["metrics"]
        for name in ("static-2020", "fine_tune-2020"):
            assert_same_run(exclusive / "compared" / name, path / name)
    for path in folder.iterdir():
        # curves of each are its own
        assert path.is_file() or list(path.glob("**/tensorboard/*/events*"))


def prepared(exclusive, folder):
    for name in ("mine.yaml", "new.inter"):
        shutil.copy(exclusive / name, folder)
    return [["--config_files=mine.yaml", f"--run_dir=run-{n}"] for n in range(2)]


def test_two_runs(exclusive, tmp_path):
    runs = prepared(exclusive, tmp_path)
    assert_not_disturbed(exclusive, tmp_path, begun_at_once(tmp_path, *runs))
    assert sorted(os.listdir(tmp_path)) == ["mine.yaml", "new.inter", "run-0", "run-1"]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_of_each_kind(number, each_alone, tmp_path):
    commands = prepared(each_alone, tmp_path)
    for n in range(2):
        shutil.copytree(each_alone / "run", tmp_path / f"updated-{n}")
        commands.append([f"--update=updated-{n}", "--new_block=new.inter"])
        commands.append(["--config_files=mine.yaml", *SEVERAL, f"--run_dir=compared-{n}"])
    assert_not_disturbed(each_alone, tmp_path, begun_at_once(tmp_path, *commands))
    kinds = [f"{kind}-{n}" for kind in ("compared", "run", "updated") for n in range(2)]
    assert sorted(os.listdir(tmp_path)) == sorted(["mine.yaml", "new.inter", *kinds])
