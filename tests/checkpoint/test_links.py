"""A run directory that comes from elsewhere: nothing is written, or removed, through what it leads to."""

import os
import shutil

import pytest

from recbole_ccd import compare, resume, update
from recbole_ccd.checkpoint import RunDirectory, RunLock
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.manifest import RUN, Manifest
from recbole_ccd.report.log import RunLog
from recbole_ccd.utils.atomic_files import save_tensors
from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.owned_folder import OwnedFolder, open_owned, unshare
from tests.checkpoint.cases import Killed, killed_after, settings_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links are another matter there")


@pytest.fixture
def precious(tmp_path):
    """A folder of the user's with a few files, named as those of a run are."""
    folder = tmp_path / "precious"
    (folder / "block-0").mkdir(parents=True)
    for name in ("mine.pt", "result.json", ".x.tmp", "block-0/mine.pt"):
        (folder / name).write_text("years of work")
    return folder


def everything_in(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


FILES = ["lock", "run.log", "config.yaml", "result.json", "manifest.json", "checkpoints/stages/x.pt"]
BELOW = ["block-99", "stages", "interactions"]
FOLDERS = ["checkpoints", *(f"checkpoints/{name}" for name in BELOW), "tensorboard"]


def put(link, target):
    """Puts a link into a run directory, in the place of what was there."""
    if target.is_dir() and link.is_dir():
        # so that a run could go on by it
        shutil.copytree(link, target, dirs_exist_ok=True)
        shutil.rmtree(link)
    elif link.is_file():
        shutil.copy(link, target)
        link.unlink()
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_run_with_a_link_in_it_is_not_gone_on_with(name, part, precious):
    put(part / name, precious if name in FOLDERS else precious / "mine.pt")
    before = everything_in(precious)
    message = f"{name} is a link, and what a run keeps lies in its folder itself; put there"
    with pytest.raises(RunError, match=message) as told:
        resume(part)
    assert "\n" not in str(told.value)
    assert everything_in(precious) == before


@pytest.mark.parametrize("name", ["lock", "checkpoints/block-99"])
def test_nor_is_it_updated(name, place, tmp_path, precious):
    shutil.copytree(place / "whole", tmp_path / "whole")
    put(tmp_path / "whole" / name, precious if name in FOLDERS else precious / "mine.pt")
    before = everything_in(precious)
    (tmp_path / "new.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t2000\n")
    with pytest.raises(RunError, match=f"{name} is a link"):
        update(tmp_path / "whole", tmp_path / "new.inter")
    assert everything_in(precious) == before


def test_a_pipe_is_not_waited_for(part):
    (part / "run.log").unlink()
    os.mkfifo(part / "run.log")
    with pytest.raises(RunError, match="run.log is no plain file"):
        resume(part)


@pytest.mark.parametrize("name", ["lock", "checkpoints"])
def test_a_run_is_not_begun_in_a_folder_with_one(name, make_config, tmp_path, precious):
    empty, file = precious / "empty", precious / "mine.pt"
    empty.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(file if name == "lock" else empty)
    before = everything_in(precious)
    with pytest.raises(RunError, match=f"run/{name} is a link"):
        with RunLock(RunDirectory.create(tmp_path / "run").path):
            pass
    assert everything_in(precious) == before


@pytest.mark.parametrize("name", ["fine_tune-2020", "static-2020", "base-2020", "comparison.log"])
def test_nor_is_a_comparison_gone_on_with(name, tiny_folder, tmp_path, precious, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = settings_of("static", tiny_folder, "several")
    with pytest.raises(Killed), killed_after(3):
        compare(config_dict={**settings, "base": "plain", "strategy": ["fine_tune", "static"]})
    put(tmp_path / "several" / name, precious if "2020" in name else precious / "mine.pt")
    before = everything_in(precious)
    with pytest.raises(RunError, match=f"several/{name} is a link"):
        resume("several")
    assert everything_in(precious) == before


# wherever else a link might come from, at the place where it would be followed


def test_files_are_not_written_through_a_link(tmp_path, precious):
    before = everything_in(precious)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(precious)
    (tmp_path / "run" / "result.json").symlink_to(precious / "mine.pt")
    with pytest.raises(RunError, match="run/checkpoints is a link"):
        FileStore(tmp_path / "run").save("block-0/student.pt", lambda path: save_tensors(path, {}))
    with pytest.raises(RunError, match="run/result.json is a link"):
        RunDirectory(tmp_path / "run").write_json("result.json", {})
    assert everything_in(precious) == before


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/block-1", "checkpoints/stages"])
def test_nor_are_they_removed_through_one(name, tmp_path, precious):
    before = everything_in(precious)
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    FileStore(tmp_path / "run").prune(Manifest(RUN))
    assert everything_in(precious) == before and link.is_symlink()


def test_a_log_and_a_lock_follow_none(tmp_path, precious):
    before = everything_in(precious)
    for name in ("run.log", "lock"):
        (tmp_path / name).symlink_to(precious / "mine.pt")
    with pytest.raises(RunError, match="run.log is a link"), RunLog(tmp_path / "run.log"):
        pass
    with pytest.raises(RunError, match="lock is a link"), RunLock(tmp_path):
        pass
    assert everything_in(precious) == before
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "run.log", tmp_path / "folder"):
        with pytest.raises(RunError):
            open_owned(path, os.O_RDWR)


def test_in_a_copy_made_of_hard_links_each_has_its_own(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    for name in ("run.log", "lock"):
        (tmp_path / "one" / name).write_text("of one")
        os.link(tmp_path / "one" / name, tmp_path / "other" / name)
    with RunLock(tmp_path / "other"), RunLog(tmp_path / "other" / "run.log"):
        unshare(tmp_path / "other" / "nothing")
    assert (tmp_path / "one" / "run.log").read_text() == (tmp_path / "one" / "lock").read_text() == "of one"
    assert (tmp_path / "other" / "run.log").read_text().startswith("of one")


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "large disk")
    with RunLock(tmp_path / "run"):
        RunDirectory(tmp_path / "run").write_json("x.json", {})
        OwnedFolder(tmp_path / "run").folder("tensorboard/a")
    assert sorted(os.listdir(tmp_path / "large disk")) == ["tensorboard", "x.json"]
