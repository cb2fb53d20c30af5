"""A run directory is made where there is room, and holds documents that can be read back."""

from pathlib import Path

import pytest
import yaml

from recbole_ccd import checkpoint as state
from recbole_ccd.checkpoint import RunDirectory
from recbole_ccd.utils.errors import RunError
from tests.powers import permissions_count, skip_if_writable


def test_run_directory(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "a" / "b")
    assert run.checkpoints.is_dir()
    assert [p.name for p in (run.config, run.result, run.log)] == ["config.yaml", "result.json", "run.log"]
    with pytest.raises(RunError, match="config.yaml cannot be read"):
        run.read_config()
    # what a process has left that was killed this early is as good as nothing
    for name in ("lock", ".config.yaml.0123.tmp"):
        (run.path / name).write_text("")
    RunDirectory.create(run.path)
    run.write_config({"topk": [20], "model": "BPR", "umlaut": "ü"})
    with pytest.raises(RunError, match="not empty.*--run_dir"):
        RunDirectory.create(run.path)
    assert list(yaml.safe_load(run.config.read_text(encoding="utf-8"))) == ["topk", "model", "umlaut"]
    assert RunDirectory(run.path).read_config() == {"topk": [20], "model": "BPR", "umlaut": "ü"}


def test_run_directory_takes_an_empty_folder_but_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunDirectory.create(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="--run_dir"):
            RunDirectory.create(path)


def test_run_directory_that_is_not_writable(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with permissions_count():
        skip_if_writable(folder)
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
