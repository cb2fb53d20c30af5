"""Folders that cannot be served are refused in one line."""

import json
import shutil

import pytest
import torch

from recbole_ccd import load_student, run_ccd
from recbole_ccd.utils.atomic_files import load_tensors, save_tensors
from recbole_ccd.utils.errors import ConfigError, RunError
from tests.conftest import SMALL


def refused(folder, role="student"):
    with pytest.raises((ConfigError, RunError)) as caught:
        load_student(folder, role)
    message = str(caught.value)
    assert "\n" not in message and "; " in message
    return message


def test_no_run_directory(tmp_path):
    assert "is not a run directory: it holds no manifest.json" in refused(tmp_path / "nowhere")
    (tmp_path / "precious.txt").write_text("mine")
    assert "is not a run directory" in refused(tmp_path)


def test_a_folder_of_several_runs(copied):
    document = json.loads((copied / "manifest.json").read_text())
    from recbole_ccd.checkpoint import Manifest

    manifest, _ = Manifest.read(copied)
    manifest.kind, manifest.runs = "comparison", [{"folder": "static", "label": "static"}]
    manifest.write(copied)
    assert "holds comparison and no single run" in refused(copied) and document["kind"] == "run"


def test_no_block_is_finished(copied):
    from recbole_ccd.checkpoint import Manifest

    manifest, _ = Manifest.read(copied)
    manifest.blocks = []
    manifest.write(copied)
    assert f"has finished no block yet; go on with it by --resume={copied}" in refused(copied)


def test_no_such_role(run_dir):
    assert "role is 'proxy'; give one of: student, teacher" in refused(run_dir, "proxy")


@pytest.mark.parametrize("name", ["serving.pt", "teacher-1.pt"])
def test_flipped_bits_and_missing_files(copied, name):
    role = "teacher" if "teacher" in name else "student"
    file = copied / "checkpoints" / "block-2" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    message = f"{name} is damaged (another checksum); restore it by --resume={copied}, or from a copy"
    assert message in refused(copied, role)
    file.write_bytes(content[:-9])
    assert f"{name} is damaged (" in refused(copied, role)
    file.unlink()
    assert f"{name} is missing; restore it" in refused(copied, role)


@pytest.mark.parametrize("spoil", ["another", "shorter", "no list", "not JSON"])
def test_a_foreign_vocabulary(copied, spoil):
    file = copied / "vocabulary.json"
    document = json.loads(file.read_text())
    if spoil == "another":
        document["items"][3], document["items"][4] = document["items"][4], document["items"][3]
    elif spoil == "shorter":
        document["users"].pop()
    elif spoil == "no list":
        document = 3
    file.write_text("{" if spoil == "not JSON" else json.dumps(document))
    expected = "cannot be read" if spoil == "not JSON" else "is damaged or that of another run"
    assert f"vocabulary.json {expected}" in refused(copied)


def test_a_vocabulary_that_is_ahead_of_the_checkpoint(copied, served):
    # as a kill between the two leaves it
    file = copied / "vocabulary.json"
    document = json.loads(file.read_text())
    document["users"].append("later")
    file.write_text(json.dumps(document))
    ahead = load_student(copied)
    assert ahead.recommend(["u1"]).equals(served.recommend(["u1"]))
    assert set(ahead.recommend(["later"])["source"]) == {"popular"}


def test_a_run_of_an_earlier_version(copied):
    from recbole_ccd.checkpoint import Manifest

    manifest, _ = Manifest.read(copied)
    del manifest.blocks[-1].files["serving"]
    manifest.write(copied)
    assert "is of an earlier version, which kept nothing to serve; start the run anew" in refused(copied)


def test_strategies_without_a_teacher(run_of):
    folder = run_of(model="BPR", strategy="fine_tune", base="plain", eval_part="valid")
    assert "keeps no teacher (strategy fine_tune)" in refused(folder, "teacher")


def test_models_without_gradient_steps(tiny_folder, tmp_path):
    keys = {**SMALL, "strategy": "full_batch", "model": "EASE", "run_dir": str(tmp_path / "run")}
    run_ccd(config_dict={**keys, "dataset": "tiny", "data_path": str(tiny_folder)})
    assert "keeps no weights of EASE, which is not learned by gradient steps" in refused(tmp_path / "run")


def test_a_record_that_lacks_something(copied):
    from recbole_ccd.checkpoint import Manifest
    from recbole_ccd.checkpoint.manifest import FileRecord

    file = copied / "checkpoints" / "block-2" / "serving.pt"
    tensors = load_tensors(file)
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    written = save_tensors(file, {name: value for name, value in tensors.items() if name != "known"})
    manifest, _ = Manifest.read(copied)
    manifest.blocks[-1].files["serving"] = FileRecord.at(file, copied, written)
    manifest.write(copied)
    assert "serving.pt holds no 'known'; restore it" in refused(copied)


def test_an_unfinished_run_is_served_at_its_last_block(copied, served):
    from recbole_ccd.checkpoint import Manifest

    manifest, _ = Manifest.read(copied)
    manifest.status, manifest.blocks = "running", manifest.blocks[:1]
    manifest.write(copied)
    shutil.rmtree(copied / "checkpoints" / "block-2")
    earlier = load_student(copied)
    assert earlier.block == 1
    assert len(earlier.item_tokens) <= len(served.item_tokens)
    assert earlier.item_tokens.tolist() == served.item_tokens[: len(earlier.item_tokens)].tolist()
