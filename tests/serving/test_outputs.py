"""What an output may be, and what is left as it is."""

import io
import json
import os
import shutil
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from recbole_ccd.checkpoint import Manifest
from recbole_ccd.cli import main
from recbole_ccd.serving.output import check_output
from tests.serving.test_command import everything, read_csv, working_folder, write_users

__all__ = ["working_folder"]
COMMANDS = ["recommend", "export"]


def start(command, run, output):
    """The exit code of a command with an output."""
    write_users("u1", "u2")
    arguments = [f"--{command}={run}", f"--output={output}"]
    return main([*arguments, "--users=users.txt", "--k=3"] if command == "recommend" else arguments)


def is_whole(command, path):
    if command == "recommend":
        return [row["user"] for row in read_csv(path)] == ["u1"] * 3 + ["u2"] * 3
    with np.load(path, allow_pickle=False) as arrays:
        return len(arrays["user_tokens"]) == len(arrays["user_embeddings"])


def by_link(device):
    """A way to a device that a fault would spoil in its place, as root may replace the device itself."""
    os.symlink(device, "link")
    return "link"


@pytest.mark.parametrize("command", COMMANDS)
def test_devices_stay_devices(command, run_dir):
    before = os.stat("/dev/null")
    assert start(command, run_dir, by_link("/dev/null")) == 0
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode) and (after.st_rdev, after.st_ino) == (before.st_rdev, before.st_ino)
    assert os.readlink("link") == "/dev/null" and everything() == ["link", "users.txt"]


@pytest.mark.parametrize("command", COMMANDS)
def test_pipes_are_written_to(command, run_dir):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    assert start(command, run_dir, "pipe") == 0
    reader.join(60)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    Path("copy").write_bytes(read[0])
    assert is_whole(command, "copy")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_takes_nothing(command, run_dir, capsys):
    assert start(command, run_dir, by_link("/dev/full")) == 2
    assert capsys.readouterr().err.startswith("error: link cannot be written (No space left on device)")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize("command", COMMANDS)
def test_links_are_followed(command, run_dir):
    Path("elsewhere").mkdir()
    for before in (None, "precious"):
        if before:
            Path("elsewhere/out").write_text(before)
        else:
            os.symlink("elsewhere/out", "link")
        assert start(command, run_dir, "link") == 0
        assert os.readlink("link") == "elsewhere/out" and is_whole(command, "elsewhere/out")
        assert os.listdir("elsewhere") == ["out"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: os.symlink("out", "out"), "cannot be written (Too many levels of symbolic links)"),
        (lambda: os.symlink("nowhere/out", "out"), "nowhere is no folder"),
        (lambda: os.symlink(".", "out"), "out is a folder"),
        (lambda: bind("out"), "out is no file, pipe or character device"),
    ],
)
def test_what_cannot_be_an_output(make, message, run_dir, capsys):
    make()
    for command in COMMANDS:
        assert start(command, run_dir, "out") == 2
        shown = capsys.readouterr().err
        assert message in shown and shown.count("\n") == 1 and "; " in shown
    assert not Path("nowhere").exists()


def bind(name):
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)


@pytest.mark.parametrize("read_only", ["out", "."])
def test_what_is_not_writable_is_left(read_only, run_dir, capsys, monkeypatch):
    Path("out").write_text("precious")
    # root may write everywhere
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not os.path.samefile(path, read_only) and real(path, mode)
    )
    assert start("export", run_dir, "out") == 2
    assert "is not writable; make it so, or give another --output" in capsys.readouterr().err
    assert Path("out").read_text() == "precious"


# what a run has or may have, by a path in its folder
NAMES = """
    lock manifest.json manifest.next.json manifest.previous.json config.yaml result.json comparison.json
    comparison.md comparison.csv COMPARISON.csv trials.json trials.csv trials.md best.yaml report.html run.log
    vocabulary.json checkpoints checkpoints/new.csv checkpoints/block-2/vectors.npz tensorboard/a/out.csv
    static-2020/out.csv anything else
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_files_that_a_run_may_have_are_refused(name, copied, capsys):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    (copied / name).parent.mkdir(parents=True, exist_ok=True)
    before = everything()
    for command in COMMANDS:
        assert start(command, copied, copied / name) == 2
        shown = capsys.readouterr().err
        wanted = "is a folder" if name == "checkpoints" else "belongs to the run; give another --output"
        assert f"{name} {wanted}" in shown
    assert everything() == sorted({*before, "users.txt"})


def kept(folder, kind):
    """A folder as a comparison, a search or base models have it."""
    folder.mkdir()
    Manifest(kind).write(folder)
    return folder


@pytest.mark.parametrize(
    "spoil", ["", "damaged", "only the one before", "only the next one", "load_manifest", "earlier version"]
)
@pytest.mark.parametrize("kind", ["run", "comparison", "search", "base models"])
def test_other_folders_of_runs_too(kind, spoil, run_dir, capsys):
    folder = kept(Path("other"), kind)
    manifest = folder / "manifest.json"
    if spoil == "damaged":
        manifest.write_bytes(manifest.read_bytes()[:-40])
    elif spoil.startswith("only"):
        manifest.rename(folder / f"manifest.{'previous' if 'before' in spoil else 'next'}.json")
    elif spoil:
        manifest.unlink()
        (folder / "checkpoints").mkdir()
        (folder / ("lock" if spoil == "load_manifest" else "config.yaml")).touch()
    (folder / "inner").mkdir()
    os.symlink(folder / "result.json", "link")
    os.symlink(folder, "way")
    for output in (
        "other/result.json",
        "other/inner/../result.json",
        "way/lock",
        "link",
        "other/inner/a.csv",
    ):
        assert start("export", run_dir, output) == 2
        assert f"error: {output} belongs to the run" in capsys.readouterr().err
    assert start("export", run_dir, "other/vectors.npz") == 0


def test_manifests_of_other_programs_are_no_runs(run_dir):
    for content in ({"name": "an app", "icons": []}, "no json"):
        Path("manifest.json").write_text(json.dumps(content) if isinstance(content, dict) else content)
        check_output("out.tsv")
        assert start("export", run_dir, "anything") == 0


def test_the_users_file_by_another_name(run_dir, capsys):
    write_users("u1")
    os.symlink("users.txt", "link")
    os.link("users.txt", "same")
    for name in ("link", "same"):
        assert main([f"--recommend={run_dir}", "--users=users.txt", f"--output={name}"]) == 2
        assert f"error: {name} is the file that is read" in capsys.readouterr().err
    shutil.copy("users.txt", "copy")
    assert main([f"--recommend={run_dir}", "--users=nowhere", "--output=copy"]) == 2
    assert "nowhere: No such file" in capsys.readouterr().err


@pytest.fixture
def printed_to(monkeypatch):
    """Sends what the process prints elsewhere, as a shell does."""
    kept = os.dup(1)

    def send(descriptor):
        os.dup2(descriptor, 1)
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(1, "wb", closefd=False)))

    yield send
    monkeypatch.undo()
    os.dup2(kept, 1)
    os.close(kept)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout")
@pytest.mark.parametrize("command", COMMANDS)
def test_standard_output_holds_the_output_alone(command, run_dir, printed_to, capsys):
    with open("whole", "wb") as file:
        printed_to(file.fileno())
        assert start(command, run_dir, by_link("/dev/stdout")) == 0
    assert is_whole(command, "whole") and "Recommender(" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_of_the_output_who_has_gone(command, run_dir, printed_to, capsys):
    reader, writer = os.pipe()
    printed_to(writer)
    os.close(reader)
    assert start(command, run_dir, by_link("/dev/stdout")) == 141
    # a file is written, whoever listens to what is said of it
    assert start(command, run_dir, "out") == 0 and is_whole(command, "out")
    assert capsys.readouterr().err == ""
    os.close(writer)


def test_few_characters_do_not_spoil_a_file_that_is_written(run_dir, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    for command in COMMANDS:
        assert start(command, run_dir, "é.npz") == 0 and is_whole(command, "é.npz")
    assert stream.buffer.getvalue().count(b"\\xe9.npz\n") == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_killed_output_has_left_goes_with_the_next_one(command, run_dir):
    Path(f".out.{'0' * 32}.tmp").write_bytes(b"half")
    assert start(command, run_dir, "out") == 0
    assert everything() == ["out", "users.txt"]
