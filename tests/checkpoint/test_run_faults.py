"""Faults in the middle of a run, provoked for real: one line, and nothing is lost."""

import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from recbole_ccd import resume
from recbole_ccd.checkpoint.manifest import FileRecord, Manifest
from recbole_ccd.cli import main
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.atomic_files import digest_of
from tests.checkpoint.cases import assert_same_run
from tests.checkpoint.program import execute
from tests.checkpoint.test_manager import cut, flip


def last_of(part, kind):
    """A checkpoint of the run: of its last block, of a finished stage, or of the stage under way."""
    manifest, _ = Manifest.read(part)
    files = {
        "block": manifest.blocks[-1].files["student"],
        "result": manifest.blocks[-1].result,
        "stage": manifest.stages[-1].file,
        "epochs": manifest.epochs.file,
    }
    return files[kind].in_folder(part)


FALLBACKS = {
    "block": "going on from block 0",
    "result": "going on from block 0",
    "stage": "the stage is trained again",
    "epochs": "the stage begins anew",
}


# what else can be wrong with each kind of file is tried in test_manager
@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        *[("block", flip), ("stage", flip), ("epochs", os.unlink)],
        *[pytest.param(*of, marks=pytest.mark.slow) for of in (("result", cut), ("epochs", cut))],
    ],
)
def test_a_damaged_checkpoint_is_told_and_done_without(part, place, kind, spoil):
    path = last_of(part, kind)
    spoil(path)
    resume(part)
    log = (part / "run.log").read_text(encoding="utf-8")
    (warning,) = [line for line in log.splitlines() if "WARNING" in line and str(path) in line]
    assert FALLBACKS[kind] in warning
    assert_same_run(place / "whole", part)


@pytest.mark.slow
def test_everything_damaged_is_a_new_beginning(part, place):
    for path in (part / "checkpoints").rglob("*.pt"):
        cut(path)
    resume(part)
    assert "going on from the beginning" in (part / "run.log").read_text(encoding="utf-8")
    assert_same_run(place / "whole", part)


class Evil:
    """What a checkpoint of somebody else could hold."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def in_zip(path, evil):
    torch.save({"user_embedding.weight": evil}, path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def bare(path, evil):
    path.write_bytes(pickle.dumps({"user_embedding.weight": evil}))


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        *[("stage", in_zip), ("epochs", bare)],
        *[pytest.param(kind, in_zip, marks=pytest.mark.slow) for kind in ("block", "epochs")],
    ],
)
def test_a_malicious_checkpoint_runs_nothing(part, place, tmp_path, kind, write):
    path, touched = last_of(part, kind), tmp_path / "touched"
    write(path, Evil(touched))
    # whoever can write the checkpoint can write its checksum
    manifest, _ = Manifest.read(part)
    file = FileRecord.at(path, part, digest_of(path))
    if kind == "block":
        manifest.blocks[-1].files["student"] = file
    elif kind == "stage":
        manifest.stages[-1].file = file
    else:
        manifest.epochs.file = file
    manifest.write(part)
    resume(part)
    assert not touched.exists()
    assert FALLBACKS[kind] in (part / "run.log").read_text(encoding="utf-8")
    assert_same_run(place / "whole", part)


def test_a_malicious_configuration_runs_nothing(part, place, tmp_path, caplog):
    touched = tmp_path / "touched"
    text = f"model: BPR\nseed: !!python/object/apply:os.system ['touch {touched}']\n"
    (part / "config.yaml").write_text(text)
    # what it should hold is told by the checkpoints too
    resume(part)
    warning = r"config.yaml cannot be read \(could not determine a constructor.*; the settings are taken from"
    assert re.search(warning, caplog.text)
    assert not touched.exists()
    assert_same_run(place / "whole", part)


def test_pickles_of_recbole_are_not_read(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched = tmp_path / "touched"
    (tmp_path / "saved").mkdir()
    kinds = ("Dataset", "IncrementalDataset", "SequentialDataset", "for-LightGCN-dataloader")
    for name in (f"tiny-{kind}" for kind in kinds):
        (tmp_path / "saved" / f"{name}.pth").write_bytes(pickle.dumps(Evil(touched)))
    create_stream(make_config(checkpoint_dir="saved"))
    assert not touched.exists()


def test_a_loss_that_is_no_number_names_place_and_checkpoint(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [
        f"--config_files={place / 'mine.yaml'}",
        "--run_dir=run",
        "--student_update_learning_rate=1e38",
    ]
    assert main([*arguments, "--run_dir=run"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: block 1 student_update: the training loss became ")
    assert "; lower student_update_learning_rate and start anew (last good checkpoint: run/" in error
    assert (tmp_path / error.rpartition("checkpoint: ")[2].rstrip(")")).exists()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    # it is the same error again, and no other
    assert main(["--resume=run"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == error


def little_memory():
    """The child can have little more memory than it has: a real error of allocating."""
    lines = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) for line in lines if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (1024 * used + 600 * 2**20,) * 2)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_exhausted_memory_names_what_to_lower(place):
    # such a layer can be made, and no batch be taken through it
    large = ["--model=NeuMF", "--mlp_hidden_size=[300000]", "--run_dir=memory"]
    keys = yaml.safe_load((place / "mine.yaml").read_text())
    keys = {key: value for key, value in keys.items() if key not in ("model", "embedding_size")}
    (place / "neumf.yaml").write_text(yaml.safe_dump(keys))
    code, shown = execute(place, "--config_files=neumf.yaml", *large, prepare=little_memory)
    assert code == 2 and "Traceback" not in shown, shown
    error = shown.splitlines()[-1]
    assert error.startswith("error: block 0 student_generation: out of memory (")
    assert "lower eval_batch_size and go on with --resume=memory" in error and "train_batch_size" in error


def small_files():
    """Files of the child cannot be large: a real error of writing."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def ended_without_room(folder, name, **how):
    """Runs until a checkpoint cannot be saved, and returns the line that says so."""
    code, shown = execute(folder, "--config_files=mine.yaml", f"--run_dir={name}", **how)
    assert code == 2 and "Traceback" not in shown and "Logging error" not in shown, shown
    (error,) = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert f"; free space there and go on with --resume={name}" in error
    assert not list((folder / name).rglob("*.tmp"))
    return error


def test_a_checkpoint_without_room_ends_in_one_line_and_the_run_goes_on(place):
    error = ended_without_room(place, "narrow", prepare=small_files)
    assert "block-0-base-member-0-epoch-1.pt cannot be saved (File too large)" in error
    code, shown = execute(place, "--resume=narrow")
    assert code == 0, shown
    assert_same_run(place / "whole", place / "narrow")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, and what gives it more room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
    subprocess.run(["umount", str(folder)], check=False)


@pytest.mark.slow
def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(place, small_disk):
    folder, enlarge = small_disk
    error = ended_without_room(place, folder / "run")
    assert "cannot be saved (No space left on device)" in error
    enlarge()
    code, shown = execute(place, f"--resume={folder / 'run'}")
    assert code == 0, shown
    assert_same_run(place / "whole", folder / "run")
