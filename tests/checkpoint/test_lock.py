"""One process per folder; the lock goes with its process."""

import os
import socket

import pytest

from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.lock import LOCK, RunLock
from recbole_ccd.report.log import RunLog
from recbole_ccd.utils.atomic_files import atomic_write
from recbole_ccd.utils.errors import RunError
from tests.powers import permissions_count, skip_if_writable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no such locks")


def test_a_second_one_is_refused_until_the_first_is_left(tmp_path):
    with RunLock(tmp_path):
        message = f"is in use by process {os.getpid()} on {socket.gethostname()}; wait for its end or stop it"
        with pytest.raises(RunError, match=message), RunLock(tmp_path):
            pass
        assert (tmp_path / LOCK).is_file()
    assert not list(tmp_path.iterdir())
    with RunLock(tmp_path):
        pass


def test_a_file_that_nobody_holds_is_no_obstacle(tmp_path):
    for note in ("", '{"pid": 1, "host": "x"}', "no json"):
        (tmp_path / LOCK).write_text(note)
        with RunLock(tmp_path):
            pass
        assert not (tmp_path / LOCK).exists()


def test_it_is_let_go_of_after_an_error(tmp_path):
    with pytest.raises(ValueError), RunLock(tmp_path):
        raise ValueError
    with RunLock(tmp_path):
        pass


def test_a_lock_whose_file_is_removed_by_its_holder_is_not_taken(tmp_path, monkeypatch):
    import fcntl

    flock, removed = fcntl.flock, []

    def removing(descriptor, how):
        flock(descriptor, how)
        if not removed:
            removed.append(os.unlink(tmp_path / LOCK))

    monkeypatch.setattr(fcntl, "flock", removing)
    with RunLock(tmp_path):
        # that of a new file, which others see
        assert (tmp_path / LOCK).is_file()


def test_a_folder_that_is_not_there(tmp_path):
    message = r"nowhere/lock cannot be written \(No such file"
    with pytest.raises(RunError, match=message), RunLock(tmp_path / "nowhere"):
        pass


@pytest.fixture
def as_any_user(tmp_path):
    """Permissions count, and other users' files can be made all the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of others")
    with permissions_count():
        probe = others(tmp_path / "probe", 0o755, folder=True)
        skip_if_writable(probe)
        probe.rmdir()
        yield tmp_path


def others(path, mode, text="", folder=False):
    """A file or a folder of a user of whom nothing is known."""
    path.mkdir() if folder else path.write_text(text)
    path.chmod(mode)
    os.chown(path, 54321, -1)
    return path


NOTE = '{"pid": 7, "host": "there"}'


def test_a_lock_that_another_users_killed_process_has_left_is_no_obstacle(as_any_user):
    others(as_any_user / LOCK, 0o644, NOTE)
    with RunLock(as_any_user):
        assert (as_any_user / LOCK).stat().st_uid == os.geteuid()
    assert not (as_any_user / LOCK).exists()


def test_one_that_cannot_be_removed_names_its_owner(as_any_user):
    folder = as_any_user / "run"
    folder.mkdir()
    others(folder / LOCK, 0o644, NOTE)
    folder.chmod(0o555)
    message = (
        r"process 7 on there of user 54321, which has ended, has left .*/lock, and it cannot be removed "
        r"\(Permission denied\); it belongs to user 54321: have it made writable for you, or go on with"
    )
    with pytest.raises(RunError, match=message), RunLock(folder):
        pass


def test_one_that_another_user_holds_is_in_use(as_any_user):
    import fcntl

    path = others(as_any_user / LOCK, 0o644, NOTE)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        message = "is in use by process 7 on there of user 54321; wait for its end or stop it"
        with pytest.raises(RunError, match=message), RunLock(as_any_user):
            pass
    assert path.read_text() == NOTE


def test_one_that_may_not_be_read_names_its_owner(as_any_user):
    others(as_any_user / LOCK, 0o600, NOTE)
    message = r"lock cannot be written \(Permission denied\); it belongs to user 54321: have it made writable"
    with pytest.raises(RunError, match=message), RunLock(as_any_user):
        pass


def test_other_files_of_another_user_name_their_owner(as_any_user):
    folder = as_any_user / "run"
    folder.mkdir()
    others(folder / "run.log", 0o644)
    others(folder / "checkpoints", 0o755, folder=True)
    with pytest.raises(RunError, match="run.log cannot be written .*; it belongs to user 54321"):
        RunLog(folder / "run.log").__enter__()
    message = "a.pt cannot be saved .*; have user 54321, to whom it belongs, make it writable for you"
    with pytest.raises(RunError, match=message):
        FileStore(folder).save("a.pt", lambda path: atomic_write(path, ""))
    others(folder / "stages", 0o700, folder=True)
    with pytest.raises(RunError, match="stages cannot be read .*; it belongs to user 54321"), RunLock(folder):
        pass
    assert not (folder / LOCK).exists()
