"""What is printed: to a reader who has gone, in few characters, and where there is no room."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ccd.cli import main
from recbole_ccd.utils.console import say
from recbole_ccd.utils.errors import RunError
from recbole_ccd.utils.signals import InterruptHandler

REPOSITORY = Path(__file__).parents[2]


PROGRAM = [sys.executable, str(REPOSITORY / "run_ccd.py")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize(
    ("argument", "code"),
    [("--help", 0), ("--version", 0), pytest.param("--no_such_key=1", 2, marks=pytest.mark.slow)],
)
def test_a_reader_who_has_gone_is_no_error(argument, code):
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": writer, "stderr": subprocess.PIPE}
    if code:
        streams = {"stdout": subprocess.PIPE, "stderr": writer}
    done = subprocess.run([*PROGRAM, argument], env=ENVIRONMENT, timeout=60, **streams)
    os.close(writer)
    assert (done.returncode, done.stdout or done.stderr or b"") == (code, b"")


def in_a_shell(redirection):
    """Exit code of the program asked for its version, and what it complained of."""
    line = f"{shlex.join(PROGRAM)} --version {redirection}"
    done = subprocess.run(["bash", "-c", line], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_not_there(closed):
    assert in_a_shell(closed) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_behind_standard_output_is_told():
    reason = "(No space left on device); free space or send it elsewhere"
    assert in_a_shell("> /dev/full") == (2, f"error: standard output cannot be written {reason}\n")


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", "\\xe9\\u732b"), ("latin-1", "é\\u732b"), ("utf-8", "é猫")]
)
def test_characters_that_a_stream_does_not_have_are_escaped(encoding, expected):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    say("é猫", stream)
    assert stream.buffer.getvalue().decode(encoding) == expected + "\n"


def test_names_that_are_no_text_can_be_said(capsys):
    # as the program gets names of files that are not UTF-8
    say("a\udcffb")
    assert capsys.readouterr().out == "a\\udcffb\n"


def test_errors_are_said_in_few_characters(monkeypatch, tmp_path):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main([f"--report={tmp_path}/é"]) == 2
    assert b"\\xe9 holds no result.json" in stream.buffer.getvalue()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_pipe_without_a_reader(name, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, name, stream)
    say("words", stream)
    # what it still held goes nowhere
    stream.close()


def test_an_error_of_standard_output_alone_is_raised(monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    say("words", Full())
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(RunError, match="standard output cannot be written"):
        say("words")


def test_a_signal_is_heard_where_nobody_reads_what_is_said_of_it(monkeypatch):
    def gone(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("recbole_ccd.utils.signals.os.write", gone)
    with InterruptHandler() as stop, stop.gracefully():
        os.kill(os.getpid(), 2)
        assert stop.requested
