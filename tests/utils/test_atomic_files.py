"""Files are whole or absent; a damaged one is told, never believed."""

import os
import signal
from pathlib import Path

import pytest
import torch

from recbole_ccd.utils import atomic_files as files
from recbole_ccd.utils.errors import RunError


def test_atomic_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.atomic_write(path, "old")
    files.atomic_write(path, b"new \xff")
    assert path.read_bytes() == b"new \xff"
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_keeps_the_old_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.atomic_write(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.atomic_write(path, "new")
    with pytest.raises(OSError, match="disk full"):
        files.save_tensors(path, {"a": torch.ones(2)})
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
    files.save_tensors(tmp_path / "t.pt", tensors)
    loaded = files.load_tensors(tmp_path / "t.pt")
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype and not loaded[name].requires_grad
        assert torch.equal(loaded[name].to_dense(), tensor.detach().to_dense())


def test_of_a_view_only_what_it_shows_is_saved(tmp_path: Path) -> None:
    files.save_tensors(tmp_path / "t.pt", {"prefix": torch.zeros(1_000_000)[:10]})
    assert (tmp_path / "t.pt").stat().st_size < 10_000


@pytest.mark.parametrize("entry", [{"a": 1}, {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}])
def test_only_named_tensors_are_saved(tmp_path: Path, entry: dict) -> None:
    with pytest.raises(TypeError, match="named tensors"):
        files.save_tensors(tmp_path / "t.pt", entry)
    assert not list(tmp_path.iterdir())


def refused(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        files.load_tensors(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_missing_and_damaged_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    assert "missing" in refused(path)
    files.save_tensors(path, {"a": torch.arange(5000.0)})
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


def test_a_file_written_piece_by_piece_appears_at_the_end(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a") as file:
        file.write(b"one ")
        assert not (tmp_path / "a").exists()
        file.write(b"two")
    assert (tmp_path / "a").read_bytes() == b"one two"
    with pytest.raises(ValueError), files.replacing(tmp_path / "a") as file:
        file.write(b"half")
        raise ValueError
    assert (tmp_path / "a").read_bytes() == b"one two" and len(list(tmp_path.iterdir())) == 1


def leftovers(path: Path) -> list[str]:
    return [name for name in os.listdir(path.parent) if name.startswith(f".{path.name}.")]


@pytest.mark.parametrize("name", ["out.csv", "a[b].npz", "é.csv"])
def test_what_a_killed_process_has_left_is_removed_by_the_next_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    child = os.fork()
    if not child:
        with files.replacing(path) as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(leftovers(path)) == 1
    other = tmp_path / f".other{name}.{'0' * 32}.tmp"
    other.write_text("of another name")
    files.atomic_write(path, "new")
    assert leftovers(path) == [] and path.read_text() == "new" and other.exists()


def test_what_is_being_written_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with files.replacing(path) as first:
        first.write(b"first")
        files.atomic_write(path, "second")
        assert len(leftovers(path)) == 1
    assert path.read_text() == "first" and leftovers(path) == []
