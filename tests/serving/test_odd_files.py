"""Files that can be no users and no output, by what the operating system makes of them."""

import os

import pytest

from recbole_ccd.cli import main


def pipe():
    os.mkfifo("pipe")
    return "pipe"


def folder():
    os.mkdir("folder")
    return "folder"


USERS = {
    "a device": (lambda: "/dev/zero", "/dev/zero: it is no regular file; give --users a text file"),
    "a pipe": (pipe, "pipe: it is no regular file; give --users a text file"),
    "a folder": (folder, "folder: Is a directory; give --users a text file"),
    "a long name": (lambda: "x" * 300, "x: File name too long; give --users a text file"),
}


@pytest.mark.parametrize("what", USERS)
def test_users_come_from_a_regular_file(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make, line = USERS[what]
    before = make()
    assert main(["--recommend=nowhere", f"--users={before}", "--output=out.csv"]) == 2
    shown = capsys.readouterr().err
    assert line in shown and shown.startswith("error: ") and shown.count("\n") == 1
    assert not os.path.exists("out.csv")


@pytest.mark.parametrize("task", ["recommend", "export"])
def test_an_output_of_a_name_that_no_file_can_have(task, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.txt").write_text("u1\n")
    more = ["--users=users.txt"] if task == "recommend" else []
    assert main([f"--{task}={run_dir}", *more, f"--output={'x' * 300}.csv"]) == 2
    shown = capsys.readouterr().err
    assert "xxx.csv' cannot be written (File name too long); give another --output" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("name", ["recommend", "export", "update", "resume", "report"])
def test_folders_of_such_a_name(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.txt").write_text("u1\n")
    more = {"recommend": ["--users=users.txt", "--output=o.csv"], "export": ["--output=o.npz"]}.get(name, [])
    assert main([f"--{name}={'x' * 300}", *more]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: xxx") and shown.count("\n") == 1 and "no check knows" not in shown


def test_a_new_block_of_such_a_name(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 300, f"{'x' * 300},y,z"):
        assert main([f"--update={run_dir}", f"--new_block={name}"]) == 2
        assert ": no such file; give new_block an atomic .inter file\n" in capsys.readouterr().err
