"""One process per folder; the lock goes with its process."""

import os
import socket

import pytest

from recbole_ccd.errors import RunError
from recbole_ccd.state.lock import LOCK, RunLock

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
