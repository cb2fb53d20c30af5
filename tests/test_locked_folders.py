"""Folders that may not be looked into, at the door of every command."""

import pytest

from recbole_ccd.cli import main
from tests.powers import permissions_count, skip_if_readable

COMMANDS = {
    "resume": (
        ["--resume=locked"],
        "locked/manifest.json cannot be read (Permission denied); make it readable",
    ),
    "update": (
        ["--update=locked"],
        "locked/manifest.json cannot be read (Permission denied); make it readable",
    ),
    "report": (["--report=locked"], "locked holds no result.json"),
    "export": (
        ["--export=locked", "--output=o.npz"],
        "locked/manifest.json cannot be read (Permission denied); make it readable",
    ),
    "users": (
        ["--recommend=run", "--users=locked/users.txt", "--output=o.csv"],
        "locked/users.txt: Permission denied; give --users a text file",
    ),
    "output below": (
        ["--export=run", "--output=locked/in/o.npz"],
        "'locked/in/o.npz' cannot be written (Permission denied); give another --output",
    ),
    "tune": (["--tune=locked/my.hyper"], "locked/my.hyper: Permission denied; give tune a file"),
    "settings": (
        ["--config_files=locked/a.yaml"],
        "config file locked/a.yaml: Permission denied; give the path",
    ),
    "data": (
        ["--data_path=locked", "--dataset=tiny"],
        "locked/tiny: no such folder; point data_path at the folder",
    ),
    "new run": (
        ["--run_dir=locked/run"],
        "locked/run cannot be created (Permission denied); give another --run_dir",
    ),
    "a comparison": (
        ["--run_dir=locked/run", "--seed=1,2", "--strategy=static"],
        "locked/run/base-2/manifest.json cannot be read (Permission denied); make it readable",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_locked_folder_is_told_in_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, line = COMMANDS[command]
    locked = tmp_path / "locked"
    locked.mkdir()
    for name in ("users.txt", "manifest.json", "result.json", "my.hyper", "a.yaml"):
        (locked / name).write_text("{}")
    locked.chmod(0)
    try:
        with permissions_count():
            skip_if_readable(locked / "users.txt")
            assert main(arguments) == 2
    finally:
        locked.chmod(0o700)
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {line}") and shown.err.count("\n") == 1, shown.err
    assert not (tmp_path / "saved").exists()
