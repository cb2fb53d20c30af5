"""What is kept is whole, and what is damaged is told and not believed."""

import json
import logging

import pytest
import torch

from recbole_ccd.checkpoint.compatibility import versions
from recbole_ccd.checkpoint.manager import CheckpointManager
from recbole_ccd.checkpoint.manifest import MANIFEST, PREVIOUS, FileRecord, Manifest
from recbole_ccd.checkpoint.serialization import deserialize, serialize
from recbole_ccd.utils.errors import RunError


@pytest.fixture
def checkpoints(tmp_path):
    return CheckpointManager(tmp_path, Manifest("run", versions=versions()))


def again(checkpoints):
    """The journal as the next process finds it."""
    return CheckpointManager(checkpoints.folder, *Manifest.read(checkpoints.folder))


def tensors(value):
    return {"weight": torch.full((50, 4), float(value)), "count": torch.tensor(value)}


def same(one, other):
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def flip(path, at=0.5):
    """Changes one bit."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def cut(path, at=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])


DAMAGES = {
    "a bit": flip,
    "a bit at the start": lambda path: flip(path, 0.0),
    "a bit at the end": lambda path: flip(path, 0.999),
    "half": cut,
    "empty": lambda path: cut(path, 0),
    "all but the end": lambda path: cut(path, 0.99),
    "gone": lambda path: path.unlink(),
    "another file": lambda path: torch.save(tensors(9), path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def files_in(folder):
    return sorted(str(p.relative_to(folder / "checkpoints")) for p in folder.rglob("*.pt"))


def test_values_there_and_back():
    value = {
        "text": "ü", 3: [1, 2.5, None, True, (4, (5,))], "nothing": {}, "large": 2**127,
        "infinite": float("-inf"), "tensors": {"a": torch.arange(3), "b": [torch.zeros(0, 2)]},
    }  # fmt: skip
    back = deserialize(serialize(value))
    assert torch.equal(back["tensors"].pop("a"), torch.arange(3))
    assert back["tensors"].pop("b")[0].shape == (0, 2)
    assert back == {**value, "tensors": {}} and isinstance(back[3][4], tuple)
    with pytest.raises(TypeError, match="object"):
        serialize({"x": object()})
    for broken in ({}, {"structure": torch.tensor([1, 2], dtype=torch.uint8)}):
        with pytest.raises(ValueError):
            deserialize(broken)


def test_a_finished_stage_is_found_again(checkpoints):
    checkpoints.save_epochs("block-0-base", 3, {"n": 3, "x": torch.ones(2)})
    assert again(checkpoints).load_epochs("block-0-base")["n"] == 3
    assert again(checkpoints).load_epochs("block-0-other") is None
    checkpoints.save_stage("block-0-base", 0, {"epochs": 5}, tensors(1))
    found = again(checkpoints).load_stage("block-0-base")
    assert found.record == {"epochs": 5} and same(found.state, tensors(1))
    # the stage under way is one no more
    assert again(checkpoints).load_epochs("block-0-base") is None
    assert files_in(checkpoints.folder) == ["stages/block-0-base.pt"]
    assert again(checkpoints).load_stage("block-1-base") is None


def test_a_block_takes_the_place_of_its_stages_and_two_are_kept(checkpoints):
    for k in range(4):
        checkpoints.save_stage(f"block-{k}-base", k, {}, tensors(k))
        checkpoints.save_block(k, {"student": tensors(k), "teacher-0": tensors(-k)}, {"block": k})
        first = max(k - 1, 0)
        assert files_in(checkpoints.folder) == [
            f"block-{j}/{name}.pt" for j in range(first, k + 1) for name in ("student", "teacher-0")
        ]
    left = again(checkpoints).last_block()
    assert left.block == 3 and left.result == {"block": 3}
    assert same(left.states["student"], tensors(3)) and same(left.states["teacher-0"], tensors(-3))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["student.pt", "result.json"])
def test_a_damaged_block_falls_back_on_the_one_before(checkpoints, damage, name, caplog):
    for k in range(2):
        checkpoints.save_block(k, {"student": tensors(k)}, {"block": k})
    DAMAGES[damage](checkpoints.folder / "checkpoints" / "block-1" / name)
    with caplog.at_level(logging.WARNING):
        left = again(checkpoints).last_block()
    assert left.block == 0 and same(left.states["student"], tensors(0))
    assert f"block-1/{name}" in caplog.text and "going on from block 0" in caplog.text


def test_two_damaged_blocks_are_the_beginning(checkpoints, caplog):
    for k in range(2):
        checkpoints.save_block(k, {"student": tensors(k)}, {})
        flip(checkpoints.folder / "checkpoints" / f"block-{k}" / "student.pt")
    with caplog.at_level(logging.WARNING):
        assert again(checkpoints).last_block() is None
    assert "going on from the beginning" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_trained_again(checkpoints, damage, caplog):
    for k in range(2):
        checkpoints.save_stage(f"block-0-base-member-{k}", 0, {"k": k}, tensors(k))
    checkpoints.save_epochs("block-0-student_generation", 2, {"x": torch.ones(3)})
    DAMAGES[damage](checkpoints.folder / "checkpoints" / "stages" / "block-0-base-member-0.pt")
    DAMAGES[damage](checkpoints.folder / "checkpoints" / "stages" / "block-0-student_generation-epoch-2.pt")
    found = again(checkpoints)
    with caplog.at_level(logging.WARNING):
        assert found.load_stage("block-0-base-member-0") is None
        assert found.load_epochs("block-0-student_generation") is None
    assert found.load_stage("block-0-base-member-1").record == {"k": 1}
    assert "the stage is trained again" in caplog.text and "the stage begins anew" in caplog.text


@pytest.mark.parametrize("damage", ["a bit", "half", "empty", "gone", "a bit at the end"])
def test_a_damaged_manifest_falls_back_on_the_one_before(checkpoints, damage, caplog):
    checkpoints.save_stage("block-0-base", 0, {}, tensors(0))
    checkpoints.save_stage("block-1-base", 1, {}, tensors(1))
    DAMAGES[damage](checkpoints.folder / MANIFEST)
    found = again(checkpoints)
    with caplog.at_level(logging.WARNING):
        found.tell()
    assert found.load_stage("block-0-base") is not None and found.load_stage("block-1-base") is None
    assert MANIFEST in caplog.text and "going on from the one before" in caplog.text


def test_two_damaged_manifests_are_an_error_of_one_line(checkpoints):
    checkpoints.save_stage("block-0-base", 0, {}, tensors(0))
    checkpoints.finish()
    for name in (MANIFEST, PREVIOUS):
        cut(checkpoints.folder / name)
    with pytest.raises(RunError, match=f"{MANIFEST} cannot be read .*start the run anew") as caught:
        Manifest.read(checkpoints.folder)
    assert "\n" not in str(caught.value)


def test_a_manifest_of_another_format_is_refused(checkpoints):
    checkpoints.finish()
    path = checkpoints.folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(RunError, match="of format 2, and this version goes on with format 1"):
        Manifest.read(checkpoints.folder)


@pytest.mark.parametrize(
    "name", ["../x.pt", "/etc/passwd", "a/../../x.pt", "x.sh", "", ".x.pt", "a//b.pt", "a\\b.pt", "a/.b.pt"]
)
def test_names_out_of_a_manifest_lead_nowhere_else(name):
    with pytest.raises(ValueError, match="no plain name"):
        FileRecord.from_dict({"file": name, "sha256": "0", "bytes": 1})


def test_what_killed_processes_left_is_removed(checkpoints):
    checkpoints.save_stage("block-0-base", 0, {}, tensors(0))
    stages = checkpoints.folder / "checkpoints" / "stages"
    litter = [stages / ".block-0-x.pt.123.tmp", stages / "block-0-x.pt"]
    litter.append(checkpoints.folder / ".result.json.1.tmp")
    mine = checkpoints.folder / "notes.txt"
    for path in (*litter, mine):
        path.write_text("x")
    checkpoints.save_stage("block-1-base", 1, {}, tensors(1))
    assert not any(path.exists() for path in litter) and mine.exists()
    assert files_in(checkpoints.folder) == ["stages/block-0-base.pt", "stages/block-1-base.pt"]


def test_other_versions_are_told_and_their_stages_under_way_not_taken_up(checkpoints, caplog):
    checkpoints.manifest.versions["torch"] = "1.0"
    checkpoints.save_epochs("block-0-base", 1, {"x": torch.ones(1)})
    found = again(checkpoints)
    with caplog.at_level(logging.WARNING):
        found.tell()
    assert "torch 1.0 and now" in caplog.text and "last bits" in caplog.text
    assert found.load_epochs("block-0-base") is None


def test_what_cannot_be_saved_leaves_what_was(checkpoints, monkeypatch):
    checkpoints.save_stage("block-0-base", 0, {}, tensors(0))
    before = (checkpoints.folder / MANIFEST).read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"cannot be saved \(No space left on device\); free space there"):
        checkpoints.save_stage("block-1-base", 1, {}, tensors(1))
    monkeypatch.undo()
    assert (checkpoints.folder / MANIFEST).read_bytes() == before
    assert again(checkpoints).load_stage("block-0-base") is not None
    assert files_in(checkpoints.folder) == ["stages/block-0-base.pt"]


def test_the_last_good_checkpoint_is_named(checkpoints):
    assert checkpoints.last_good() == "none yet"
    checkpoints.save_block(0, {"student": tensors(0)}, {})
    assert checkpoints.last_good().endswith("checkpoints/block-0")
    checkpoints.save_stage("block-1-base", 1, {}, tensors(0))
    assert checkpoints.last_good().endswith("stages/block-1-base.pt")
    checkpoints.save_epochs("block-1-x", 4, {})
    assert checkpoints.last_good().endswith("stages/block-1-x-epoch-4.pt")
