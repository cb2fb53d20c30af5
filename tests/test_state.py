"""Files are whole or absent; a damaged one is told, never believed."""

import os
from pathlib import Path

import pytest
import torch
import yaml

from recbole_ccd import state
from recbole_ccd.errors import RunError
from recbole_ccd.state import RunDirectory


def test_atomic_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    state.atomic_write(path, "old")
    state.atomic_write(path, b"new \xff")
    assert path.read_bytes() == b"new \xff"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_keeps_the_old_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    state.atomic_write(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        state.atomic_write(path, "new")
    with pytest.raises(OSError, match="disk full"):
        state.save_tensors(path, {"a": torch.ones(2)})
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_tensors_there_and_back(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.nn.Parameter(torch.randn(3, 4)),
        "ids": torch.arange(5),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 7),
        "sparse": torch.eye(3).to_sparse(),
    }
    state.save_tensors(tmp_path / "t.pt", tensors)
    loaded = state.load_tensors(tmp_path / "t.pt")
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and not loaded[name].requires_grad
        assert torch.equal(loaded[name].to_dense(), tensor.detach().to_dense())


def test_of_a_view_only_what_it_shows_is_saved(tmp_path: Path) -> None:
    state.save_tensors(tmp_path / "t.pt", {"prefix": torch.zeros(1_000_000)[:10]})
    assert (tmp_path / "t.pt").stat().st_size < 10_000


@pytest.mark.parametrize("entry", [{"a": 1}, {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}])
def test_only_named_tensors_are_saved(tmp_path: Path, entry: dict) -> None:
    with pytest.raises(TypeError, match="named tensors"):
        state.save_tensors(tmp_path / "t.pt", entry)
    assert not list(tmp_path.iterdir())


def refused(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        state.load_tensors(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_missing_and_damaged_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    assert "missing" in refused(path)
    state.save_tensors(path, {"a": torch.arange(5000.0)})
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    refused(path)
    path.write_bytes(b"")
    refused(path)
    # one bit in the middle of the numbers: torch.load alone would read it without a word
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    assert "damaged" in refused(path)


def test_files_with_anything_but_tensors_are_refused(tmp_path: Path) -> None:
    for content in ({"a": 1}, [torch.ones(1)], {"path": Path("x")}):
        torch.save(content, tmp_path / "t.pt")
        refused(tmp_path / "t.pt")


def test_run_directory(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "a" / "b")
    assert run.checkpoints.is_dir()
    assert [p.name for p in (run.config, run.result, run.log)] == ["config.yaml", "result.json", "run.log"]
    with pytest.raises(RunError, match="not empty.*--run_dir"):
        RunDirectory.create(run.path)
    with pytest.raises(RunError, match="config.yaml"):
        RunDirectory.open(run.path)
    run.write_config({"topk": [20], "model": "BPR", "umlaut": "ü"})
    assert list(yaml.safe_load(run.config.read_text(encoding="utf-8"))) == ["topk", "model", "umlaut"]
    assert RunDirectory.open(run.path).read_config() == {"topk": [20], "model": "BPR", "umlaut": "ü"}


def test_run_directory_takes_an_empty_folder_but_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunDirectory.create(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="--run_dir"):
            RunDirectory.create(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_run_directory_that_is_not_writable(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(RunError, match="not writable"):
        RunDirectory.create(folder)


def test_json_is_stable_and_strict(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path)
    run.write_json("x.json", {"b": 1, "a": [None, 0.1]})
    first = (tmp_path / "x.json").read_bytes()
    run.write_json("x.json", {"a": [None, 0.1], "b": 1})
    assert (tmp_path / "x.json").read_bytes() == first
    assert run.read_json("x.json") == {"a": [None, 0.1], "b": 1}
    with pytest.raises(ValueError):
        run.write_json("x.json", {"a": float("nan")})
    assert (tmp_path / "x.json").read_bytes() == first


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_json_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(RunError, match="x.json"):
        RunDirectory(tmp_path).read_json("x.json")


def test_default_names_differ_within_a_second_and_are_plain(tmp_path: Path) -> None:
    names = {state.default_run_directory("ml-100k", "BPR", "ccd,static", 1, tmp_path) for _ in range(20)}
    assert len(names) == 20
    for path in names:
        assert path.parent == tmp_path and path.name.startswith("ml-100k-BPR-ccd_static-1-")
    assert state.default_run_directory("../up/x", "m", "s", 0).parent == Path("saved")
