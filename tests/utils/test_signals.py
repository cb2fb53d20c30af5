"""Signals as wishes, and as orders."""

import os
import signal
import threading
import time

import pytest

from recbole_ccd.utils import signals as stopping
from recbole_ccd.utils.signals import Interrupted, InterruptHandler, resumable


def send(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_a_signal_ends_what_is_not_saved_at_once():
    with pytest.raises(Interrupted) as caught, InterruptHandler():
        send(signal.SIGTERM)
        time.sleep(5)
    assert caught.value.number == signal.SIGTERM and caught.value.folder is None


def test_a_signal_is_a_wish_where_something_is_saved():
    with InterruptHandler() as stop, stop.gracefully():
        assert not stop.requested
        stop.now()
        send()
        assert stop.requested
        with pytest.raises(Interrupted):
            stop.now()


def test_a_second_signal_is_an_order():
    with InterruptHandler() as stop, stop.gracefully():
        send()
        with pytest.raises(Interrupted):
            send()
            time.sleep(5)


def test_patience_has_an_end(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.05)
    with InterruptHandler() as stop, stop.gracefully():
        send()
        with pytest.raises(Interrupted):
            time.sleep(5)
    # and no alarm is left
    assert signal.setitimer(signal.ITIMER_REAL, 0) == (0.0, 0.0)


def test_signals_are_handled_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with InterruptHandler():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before


def test_in_another_thread_nothing_is_listened_to():
    failed = []

    def use():
        try:
            with InterruptHandler() as stop, stop.gracefully():
                stop.now()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not failed


def test_the_outermost_folder_is_told():
    with pytest.raises(Interrupted) as caught, resumable("top"), resumable("top/run"):
        raise Interrupted(2)
    assert caught.value.folder == "top"
